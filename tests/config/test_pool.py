"""Sweeps that survive: jobs that raise, are killed or never begin; sweeps that are killed themselves; and going on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup.jobs import pool
from groundup.jobs.display import Display
from groundup.jobs.sweep_plan import Plan, PlannedJob
from groundup.runs.folder import RunFolder

STAGE = """
import logging, os, signal, time
from groundup.errors import UserError
from groundup.system.hardware import cores

def run(cfg, job):
    logging.getLogger("groundup.toy").info("logged")
    job.folder.write_json("seen.json", {
        "resuming": job.resuming, "group": job.group, "number": job.job_num, "pid": os.getpid(), "cores": cores(),
        "width": cfg.model.width,
    })
    print("printed by", cfg.seed, flush=True)
    if cfg.seed == 3:
        raise UserError("three is no seed. Try seed=4")
    if cfg.seed == 4:
        raise MemoryError("no more")
    if cfg.seed == 5 and not job.resuming:
        job.folder.checkpoints.mkdir()
        (job.folder.checkpoints / "last.ckpt").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.seed == 6:
        os._exit(3)
    if cfg.seed == 7 and not os.path.exists("go"):
        raise KeyboardInterrupt
    if cfg.seed == 8:
        raise SystemExit(9)
    limit = time.monotonic() + 60
    while cfg.seed > 100 and not os.path.exists("go") and time.monotonic() < limit:
        time.sleep(0.05)
    loss = cfg.model.width + cfg.seed / 10
    job.folder.write_json("metrics.json", {"validation/loss": {"value": loss, "ci95": [None, None], "n": 1}})
    return loss
"""
POOL = ["launcher=pool", "launcher.jobs=2"]


@pytest.fixture
def surviving(toy_processes, write_module):
    write_module("toy_stage", STAGE)
    return toy_processes


def rows_of(folder: Path) -> dict[str, dict]:
    """The table by seed."""
    return {row["seed"]: row for row in csv.DictReader((folder / "results.csv").open())}


def seen(folder: Path, number: int) -> dict:
    return json.loads((folder / str(number) / "seen.json").read_text())


@pytest.mark.slow
def test_each_job_of_a_pool_ends_alone_and_what_is_not_done_goes_on(surviving, capfd, monkeypatch):
    monkeypatch.setattr(pool, "cores", lambda: 7)
    assert surviving.groundup("pretrain", "-m", "seed=1,3,4,5,6,-1,2", "hydra.sweep.dir=sweep", *POOL) == 1
    folder = surviving.root / "sweep"
    rows = rows_of(folder)
    assert {seed: row["status"] for seed, row in rows.items()} == {
        "1": "done", "2": "done", "3": "failed", "4": "failed", "5": "died", "6": "failed", "-1": "failed"
    }  # fmt: skip
    whys = {seed: row["why"] for seed, row in rows.items()}
    assert whys["4"] == "MemoryError: no more" and whys["5"].startswith("killed by SIGKILL")
    assert "exit code 3" in whys["6"] and whys["-1"].startswith("seed = -1: must be")
    assert not (folder / "5").exists()  # refused before it began
    assert "printed by 4\n" in (folder / "2" / "run.log").read_text()
    assert (folder / "0" / "run.log").read_text().count("logged\n") == 1  # not once more as what a terminal would show
    assert "Traceback" in (folder / "2" / "run.log").read_text()
    printed = capfd.readouterr()
    assert "printed by" not in printed.out + printed.err
    assert (
        "job 0 (seed=1) begins: 0 of 7 done, 1 running\n" in printed.err and "job 1 (seed=3) failed in" in printed.err
    )
    assert "job 3: killed by SIGKILL (out of memory?) (log: sweep/3/run.log)" in printed.out
    assert printed.err.endswith("5 of 7 jobs did not finish. Go on with: groundup resume sweep=sweep\n")
    first = seen(folder, 0)
    assert (first["group"], first["number"], first["cores"]) == ("sweep", 0, min(3, os.cpu_count()))

    assert surviving.groundup("resume", "sweep=sweep") == 1  # by the launcher of the sweep
    states = {seed: row["status"] for seed, row in rows_of(folder).items()}
    assert states == {seed: "done" if seed in "125" else "failed" for seed in rows}
    assert seen(folder, 0) == first  # done jobs are left alone
    again = seen(folder, 3)
    assert again["resuming"] and again["group"] == "sweep" and again["pid"] != os.getpid()
    assert len((folder / "refused.jsonl").read_text().splitlines()) == 1


def test_a_sweep_goes_on_with_the_configuration_it_began_with(surviving, capsys):
    assert surviving.groundup("pretrain", "-m", "seed=1,8,7,2", "hydra.sweep.dir=sweep") == 130
    folder = surviving.root / "sweep"
    states = [row["status"] for row in sorted(rows_of(folder).values(), key=lambda row: row["job"])]
    assert states == ["done", "failed", "interrupted", "waiting"]
    assert not (folder / "run.lock").exists()
    printed = capsys.readouterr().err.splitlines()
    assert printed[-2:] == [
        "interrupted (Ctrl-C)",
        "3 of 4 jobs did not finish. Go on with: groundup resume sweep=sweep",
    ]
    surviving.write("model/small", "_target_: toy_parts.Net\nwidth: 32\n")
    (surviving.root / "go").touch()
    assert surviving.groundup("resume", "sweep=sweep") == 1
    rows = rows_of(folder)
    assert {seed: row["status"] for seed, row in rows.items()} == {
        "1": "done", "2": "done", "7": "done", "8": "failed"
    }  # fmt: skip
    assert rows["2"]["validation/loss"] == "16.2" and seen(folder, 3)["width"] == 16
    assert surviving.groundup("resume", "sweep=sweep", "job=3") == 0


def test_another_launcher_may_go_on(surviving):
    surviving.groundup("pretrain", "-m", "seed=7,1,2", "hydra.sweep.dir=sweep")
    (surviving.root / "go").touch()
    assert surviving.groundup("resume", "sweep=sweep", "launcher=pool", "launcher.jobs=3") == 0
    folder = surviving.root / "sweep"
    assert {row["status"] for row in rows_of(folder).values()} == {"done"}
    assert len({seen(folder, number)["pid"] for number in range(3)}) == 3
    assert Plan.read(folder).launcher["_target_"].endswith("Serial")


def test_a_job_of_a_pool_that_was_killed_is_waited_for(surviving):
    """It saves what it has, and the folder is its own till then."""
    assert surviving.groundup("pretrain", "-m", "seed=1,7,2", "hydra.sweep.dir=sweep") == 130
    held = surviving.root / "sweep" / "1"
    hold = "import sys, time, pathlib; from groundup.runs.lock import locked\nwith locked(pathlib.Path(sys.argv[1])): time.sleep(1)"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(held)])
    while not (held / "run.lock").exists():
        assert holder.poll() is None
        time.sleep(0.01)
    (surviving.root / "go").touch()
    assert surviving.groundup("resume", "sweep=sweep") == 0 and holder.wait() == 0
    assert {row["status"] for row in rows_of(surviving.root / "sweep").values()} == {"done"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_a_pool_is_the_end_of_its_jobs_in_order(surviving, number, capsys):
    folder = surviving.root / "sweep"
    words = ["pretrain", "-m", "seed=101,102,1", f"hydra.sweep.dir={folder}", *POOL]
    process = subprocess.Popen(
        [sys.executable, "-m", "groundup", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = time.monotonic() + 60
    while not all((folder / str(job) / "seen.json").exists() for job in range(2)):
        assert process.poll() is None and time.monotonic() < limit, process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal does: to all that are of its group
    said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
    if number != signal.SIGKILL:
        assert said[-1].startswith("3 of 3 jobs did not finish. Go on with: groundup resume sweep=")
        assert [row["status"] for row in rows_of(folder).values()] == ["interrupted", "interrupted", "waiting"]
        assert not (folder / "2").exists()
    limit = time.monotonic() + 20
    while any((folder / str(job) / "run.lock").exists() for job in range(2)) and time.monotonic() < limit:
        time.sleep(0.1)
    for job in range(2):
        status = RunFolder(folder / str(job)).read_json("status.json")
        assert (status["state"], status["exit_code"]) == ("interrupted", 75), status
    (surviving.root / "go").touch()
    assert surviving.groundup("resume", "sweep=last", f"paths.logs={folder.parent}") == 2  # it lies elsewhere
    assert surviving.groundup("resume", f"sweep={folder}") == 0
    assert {row["status"] for row in rows_of(folder).values()} == {"done"}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_job_whose_allocation_ends_saves_is_queued_again_and_goes_on(surviving):
    """By submitit's processes on this machine in the place of a cluster."""
    pytest.importorskip("submitit")
    folder = surviving.root / "sweep"
    words = ["pretrain", "-m", "seed=4,101", f"hydra.sweep.dir={folder}", "launcher=slurm", "launcher.cluster=local"]
    process = subprocess.Popen([sys.executable, "-m", "groundup", *words], stderr=subprocess.PIPE, text=True)

    def job() -> int | None:
        return seen(folder, 1)["pid"] if (folder / "1" / "seen.json").exists() else None

    def wait_for(moment) -> None:
        limit = time.monotonic() + 60
        while not moment():
            assert process.poll() is None and time.monotonic() < limit, process.stderr.read()
            time.sleep(0.05)

    wait_for(job)
    first = job()
    os.kill(parent_of(parent_of(first)), signal.SIGUSR2)  # as SLURM does to the allocation, whose server forked the job
    wait_for(lambda: job() != first)
    (surviving.root / "go").touch()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and "launcher" not in said
    rows = rows_of(folder)
    assert {seed: (row["status"], row["why"]) for seed, row in rows.items()} == {
        "101": ("done", ""), "4": ("failed", "MemoryError: no more"),
    }  # fmt: skip


def test_slurm_says_what_is_missing(toy, capsys, monkeypatch):
    sweep = ["pretrain", "-m", "seed=1,2", "launcher=slurm"]
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert toy.groundup(*sweep) == 2
    assert "Try pip install 'groundup[slurm]'" in capsys.readouterr().err
    assert toy.groundup(*sweep, "launcher.partition='gpu\n#SBATCH --wrap=evil'") == 2
    assert "launcher.partition" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "launcher=pool"], "launcher=pool: a launcher runs several jobs. Add -m, or leave it out"),
        (["pretrain", "-m", "seed=1,2", "launcher=pool", "launcher.jobs=0"], "launcher.jobs = 0: must be at least 1"),
        (["pretrain", "-m", "seed=1,2", "launcher=basic"], "Try launcher=pool launcher.jobs=2"),
        (
            ["pretrain", "-m", "seed=1,2", "launcher=nosuch"],
            "launcher=nosuch: no such choice. launcher can be: pool, s",
        ),
        (["pretrain", "-m", "seed=1,2", "launcher.jobs=2"], "Try launcher=pool launcher.jobs=2"),
        (["pretrain", "-m", "seed=1,2", "launcher=pool", "launcher.n_jobs=2"], "launcher.n_jobs=2"),
        (["resume"], "run: no value. Try run=last, or sweep=last"),
        (["resume", "sweep=nosuch"], "sweep=nosuch: there is no sweep.json, so it is no sweep. There is none yet"),
        (["resume", "run=x", "sweep=y"], "one at a time"),
        (["resume", "run=x", "launcher=pool"], "launcher=pool: a launcher runs several jobs"),
        (["resume", "job=3"], "Try sweep=DIR job=3"),
    ],
)
def test_what_cannot_be_launched_is_said_in_a_line(toy, words, said, capsys):
    assert toy.groundup(*words) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and "hydra" not in line
    assert not (toy.root / "logs").exists()


def test_a_run_is_no_sweep_and_a_sweep_no_run(toy, capsys):
    toy.groundup("pretrain", "-m", "seed=1,2", "hydra.sweep.dir=sweep")
    for words, advice in ((["run=sweep"], "Try sweep=sweep"), (["sweep=sweep/0"], "Try run=sweep/0")):
        assert toy.groundup("resume", *words) == 2
        assert advice in capsys.readouterr().err
    assert toy.groundup("resume", "sweep=sweep", "job=5") == 2
    assert "Its jobs are 0 to 1" in capsys.readouterr().err
    assert toy.groundup("resume", "sweep=sweep") == 0
    assert "all 2 jobs" in capsys.readouterr().err


STRANGE = [
    lambda plan: plan["jobs"][0].update(folder="../outside"),
    lambda plan: plan["jobs"][0].update(folder="/tmp/outside"),
    lambda plan: plan["jobs"][0].update(number="0"),
    lambda plan: plan["jobs"][0].update(overrides="seed=1"),
    lambda plan: plan["jobs"][0].pop("config"),
    lambda plan: plan.update(stage="predict"),
    lambda plan: plan.update(format=99),
    lambda plan: plan.update(jobs=5),
    lambda plan: plan.update(launcher={"_target_": "os.system", "command": "touch evil"}),
    lambda plan: plan["jobs"][0]["config"]["model"].update(_target_="os.system"),
]


def test_a_plan_of_a_stranger_is_data(toy, capsys):
    toy.groundup("pretrain", "-m", "seed=5,2", "hydra.sweep.dir=sweep")
    file = toy.root / "sweep" / "sweep.json"
    (file.parent / "0" / "status.json").unlink()
    sound = file.read_text()
    for change in STRANGE:
        change(plan := json.loads(sound))
        file.write_text(json.dumps(plan))
        assert toy.groundup("resume", "sweep=sweep") != 0
        assert not (toy.root / "evil").exists() and not (toy.root / "outside").exists()
        assert "Traceback" not in capsys.readouterr().err


def test_the_machine_is_dealt_out(monkeypatch):
    assert pool.deal(["0", "1", "2", "3"], 2) == [["0", "1"], ["2", "3"]]
    assert pool.deal(["4", "5"], 3) == [["4"], ["5"], ["4"]]
    assert pool.deal([], 2) == [[], []]
    monkeypatch.setattr(pool, "cores", lambda: 16)
    monkeypatch.setenv(pool.VISIBLE, "4,6,7")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plan = Plan(Path("x"), "pretrain", {})
    plan.add(PlannedJob(0, "0", [], {}, {"trainer": {"accelerator": "cpu"}}))
    assert [share[pool.SHARE] for share in pool.Pool(3).shares(plan)] == ["5", "5", "5"]
    assert not any(pool.VISIBLE in share for share in pool.Pool(3).shares(plan))
    plan.add(PlannedJob(1, "1", [], {}, {"trainer": {"accelerator": "gpu"}}))
    shares = pool.Pool(2).shares(plan)
    assert [share[pool.VISIBLE] for share in shares] == ["4", "6"]
    assert shares[0]["OMP_NUM_THREADS"] == "1" and shares[0]["RAYON_NUM_THREADS"] == "8"


def test_the_display_counts_and_estimates(tmp_path):
    plan = Plan(tmp_path, "pretrain", {})
    for number in range(6):
        plan.add(PlannedJob(number, str(number), ["a=1", f"seed={number}"], {}, {"monitor": "validation/loss"}))

    def end(number, state, loss):
        run = RunFolder(tmp_path / str(number))
        run.path.mkdir()
        run.write_json("metrics.json", {"validation/loss": {"value": loss}})
        run.set_status(state, exit_code=0)

    end(5, "done", 0.5)  # before this sweep went on
    display = Display(plan, [0, 1, 2, 3, 4], at_once=2)
    now = 0.0
    display.clock = lambda: now
    assert display.line() == "1 of 6 done; best validation/loss 0.5 (job 5)"
    for number in (0, 1):
        display.begin(number)
    now = 10.0
    end(0, "done", 0.25)
    display.end(0)
    display.begin(2)
    now = 20.0
    end(1, "failed", 0.75)
    display.end(1)  # 10 s and 20 s: 15 s a job; two to come, and 5 s of job 2
    assert display.line() == "2 of 6 done, 1 failed, 1 running; best validation/loss 0.25 (job 0); 17.5 s left"
