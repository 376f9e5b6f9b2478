"""What a job leaves behind, however it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from groundup.config.compose import compose
from groundup.errors import UserError
from groundup.jobs.job import run_job
from groundup.jobs.logs import log_to_run
from groundup.jobs.ranks import ready_for_ranks
from groundup.jobs.resume import drift
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.system.signals import Interrupted, ending_in_order, held_back


def only_run(toy) -> RunFolder:
    (run,) = toy.runs()
    return RunFolder(run)


def test_finished_run_has_everything(toy):
    assert toy.groundup("pretrain", "seed=2", "model=big") == 0
    run = only_run(toy)
    assert run.path.parent == toy.root / "logs" / "pretrain" / "big"
    assert run.status()["state"] == "done"
    assert run.status()["stage"] == "pretrain"
    assert run.status()["overrides"] == ["seed=2", "model=big"]
    assert run.read_config()["model"] == {"_target_": "toy_parts.Net", "width": 64, "dropout": 0.1, "cell": "lstm"}
    assert "hydra" not in run.read_config()
    assert run.command.read_text() == "groundup pretrain seed=2 model=big\n"
    assert run.status()["choices"]["model"] == "big"


@pytest.mark.parametrize(
    ("seed", "code", "state", "why"),
    [
        (1, 0, "done", None),
        (3, 2, "failed", "three is no seed. Try seed=4"),
        (4, 1, "failed", "ValueError: four\nis a bug"),
        (5, 130, "interrupted", "Ctrl-C"),
    ],
)
def test_status_and_exit_code_say_how_a_run_ended(toy, seed, code, state, why):
    assert toy.groundup("pretrain", f"seed={seed}") == code
    status = only_run(toy).status()
    assert (status["state"], status["why"]) == (state, why)
    assert status["ended"] >= status["started"]


def test_exit_75_passes_through_as_interrupted(toy):
    with pytest.raises(SystemExit) as exit:
        toy.groundup("pretrain", "seed=6")
    assert exit.value.code == 75
    assert only_run(toy).status()["state"] == "interrupted"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sections.json", "[5]"),
        ("baselines.json", '{"other": 5}'),
        ("provenance.json", '{"packages": 5}'),
        ("measures.json", "{"),
        ("sections.json", '[{"title": "a", "parts": [{"kind": "script"}]}]'),
        ("samples", "no folder"),
    ],
)
def test_a_report_that_cannot_be_written_does_not_fail_the_run(toy, capsys, name, content):
    toy.groundup("pretrain")
    first = only_run(toy)
    (first.path / name).write_text(content)
    RunFolder(first.path).set_status("interrupted", choices=[1], started=1e300)
    config = first.read_config()
    run_job("pretrain", config, first.path, resuming=True)
    assert first.status()["state"] == "done"
    assert "no report.html: " in capsys.readouterr().err


def test_any_other_exit_of_a_stage_is_a_failure(toy):
    with pytest.raises(SystemExit):
        toy.groundup("pretrain", "seed=7")
    assert only_run(toy).status()["why"] == "the stage left with exit code 9"


def test_bug_is_one_line_on_the_terminal_and_a_traceback_in_the_log(toy, capsys):
    toy.groundup("pretrain", "seed=4")
    run = only_run(toy)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"ValueError: four is a bug (traceback: {os.path.relpath(run.log)})"
    assert not any("Traceback" in line for line in lines)
    log = run.log.read_text()
    assert "Traceback (most recent call last)" in log
    assert 'raise ValueError("four' in log


def test_a_log_with_a_second_name_elsewhere_is_left_as_it_is(toy):
    toy.groundup("pretrain")
    run = only_run(toy)
    kept = toy.root / "kept.log"
    os.link(run.log, kept)
    before = kept.read_text()
    run_job("pretrain", run.read_config(), run.path, resuming=True)
    assert kept.read_text() == before
    assert run.log.read_text().startswith(before) and len(run.log.read_text()) > len(before)


def test_log_holds_all_and_terminal_holds_ours(toy, capsys):
    toy.groundup("pretrain")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "working" and second.startswith("report: ")
    log = only_run(toy).log.read_text()
    assert "INFO groundup.toy: working" in log
    assert "INFO other.package: chatter" in log


def test_lightning_prints_through_our_terminal_only(toy, capsys):
    (toy.root / "package" / "toy_stage.py").write_text(
        "import logging\nlogging.getLogger('lightning').addHandler(logging.StreamHandler())\n"
        "def run(cfg, job):\n    logging.getLogger('lightning.pytorch').warning('careful')\n"
        "    logging.getLogger('lightning.fabric').info('chatter')\n"
    )
    toy.groundup("pretrain")
    assert capsys.readouterr().err.splitlines()[0] == "careful"
    assert "chatter" in only_run(toy).log.read_text()


def test_logging_is_left_as_it_was(toy):
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    toy.groundup("pretrain")
    toy.groundup("pretrain", "seed=4")
    assert logging.getLogger().handlers == before
    assert logging.getLogger().level == level


def test_user_says_where_the_run_goes(toy):
    assert toy.groundup("pretrain", "hydra.run.dir=here/it/is") == 0
    assert RunFolder(toy.root / "here/it/is").status()["state"] == "done"
    assert not (toy.root / "logs").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["model.width=0"],
        ["model.widht=4"],
        ["model=nosuch"],
        ["seed=-1"],
        ["run_name=${nowhere}"],
        ["init_from=nosuch"],
    ],
)
@pytest.mark.parametrize("where", [[], ["hydra.run.dir=new/run"]])
def test_wrong_value_leaves_no_folder(toy, wrong, where):
    before = sorted(toy.root.rglob("*.yaml"))
    assert toy.groundup("pretrain", *wrong, *where) == 2
    assert not (toy.root / "logs").exists() and not (toy.root / "new").exists()
    assert sorted(toy.root.rglob("*.yaml")) == before


def test_folder_of_a_run_is_not_used_again(toy, capsys):
    toy.groundup("pretrain", "hydra.run.dir=here")
    before = {file: file.read_bytes() for file in (toy.root / "here").iterdir()}
    assert toy.groundup("pretrain", "seed=2", "hydra.run.dir=here") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "hydra.run.dir=here holds a run of `groundup pretrain` (done)" in line
    assert line.endswith("Name another folder")  # it is done: there is nothing to resume
    assert {file: file.read_bytes() for file in (toy.root / "here").iterdir()} == before


@pytest.mark.parametrize(
    "place", ["file/x", pytest.param("/proc/x", marks=pytest.mark.skipif(sys.platform != "linux", reason="no /proc"))]
)
def test_a_folder_that_cannot_be_written_is_refused_with_one_that_can(toy, capsys, place):
    (toy.root / "file").write_text("...")
    for words, other in (
        ([f"hydra.run.dir={place}"], "hydra.run.dir=logs/x"),
        ([f"paths.logs={place}"], "paths.logs=logs"),
        (["-m", "seed=1,2", f"hydra.sweep.dir={place}"], "hydra.sweep.dir=logs/x"),
    ):
        assert toy.groundup("pretrain", *words) == 2
        said, _, advice = capsys.readouterr().err.splitlines()[-1].partition(" Try ")
        assert said.startswith(f"error: {words[-1]}: no folder can be made there ({place}") and advice == other
        assert not (toy.root / "logs").exists()
    assert toy.groundup("pretrain", other) == 0


def test_folder_with_other_files_is_refused_and_an_empty_one_is_not(toy, capsys):
    (toy.root / "notes").mkdir()
    assert toy.groundup("pretrain", "hydra.run.dir=notes") == 0
    (toy.root / "thesis").mkdir()
    (toy.root / "thesis" / "chapter.tex").write_text("...")
    assert toy.groundup("pretrain", "hydra.run.dir=thesis") == 2
    line = "error: hydra.run.dir=thesis is not empty (chapter.tex). Try hydra.run.dir=thesis/run"
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert [file.name for file in (toy.root / "thesis").iterdir()] == ["chapter.tex"]
    assert toy.groundup("pretrain", "hydra.run.dir=thesis/run") == 0
    for full in ("thesis", "/"):  # no folder is named that is there already, and none beside those of the system
        assert toy.groundup("pretrain", f"hydra.run.dir={full}") == 2
        assert capsys.readouterr().err.endswith("). Name a new folder\n")


def test_runs_started_together_have_folders_of_their_own(toy):
    for _ in range(3):
        toy.groundup("pretrain")
    assert len(toy.runs()) == 3


def test_experiment_names_the_folder(toy):
    toy.write("experiment/mine", "# @package _global_\nseed: 2\n")
    toy.groundup("pretrain", "+experiment=mine")
    assert only_run(toy).path.parent.name == "mine"


def test_secrets_are_masked_in_everything_that_is_written(toy, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef-very-secret")
    stage = toy.root / "package" / "toy_stage.py"
    stage.write_text(
        "import logging\ndef run(cfg, job):\n    logging.getLogger('groundup').info('key %s', cfg.prompt)\n"
        "    raise ValueError(cfg.prompt)\n"
    )
    toy.groundup("pretrain", "prompt=0123456789abcdef-very-secret")
    files = [file for file in (toy.root / "logs").rglob("*") if file.is_file()]
    assert len(files) >= 4
    assert [file.name for file in files if b"very-secret" in file.read_bytes()] == []
    assert "very-secret" not in capsys.readouterr().err


def test_run_job_in_code_takes_a_composed_configuration(toy):
    cfg = compose("pretrain", ["seed=2"])
    value = run_job("pretrain", cfg, toy.root / "step", ["seed=2"])
    assert value == pytest.approx(16.2)
    run = RunFolder(toy.root / "step")
    assert run.status()["state"] == "done"
    with pytest.raises(UserError, match="three is no seed"):
        run_job("pretrain", compose("pretrain", ["seed=3"]), toy.root / "other")
    assert RunFolder(toy.root / "other").status()["exit_code"] == 2


def test_resuming_keeps_the_saved_configuration_and_command(toy):
    run = RunFolder(toy.root / "run")
    run_job("pretrain", compose("pretrain", ["seed=2"]), run.path, ["seed=2"])
    before = run.config_file.read_bytes(), run.command.read_bytes()
    run_job("pretrain", {**run.read_config(), "seed": 1}, run.path, ["seed=2"], resuming=True)
    assert (run.config_file.read_bytes(), run.command.read_bytes()) == before


def test_pipeline_runs_jobs_inside_a_job(toy, monkeypatch):
    from groundup import cli

    (toy.root / "package" / "toy_pipeline.py").write_text(
        "from groundup.config.compose import compose\n"
        "from groundup.jobs.job import run_job\n"
        "def run(cfg, job):\n"
        "    for seed in (1, 3):\n"
        "        run_job('pretrain', compose('pretrain', [f'seed={seed}']), job.folder.path / str(seed))\n"
    )
    monkeypatch.setitem(cli.STAGES, "pipeline", ("toy_pipeline", ""))
    toy.write("pipeline", "defaults: [{paths: default}, {hydra: default}]\n")
    assert toy.groundup("pipeline", "hydra.run.dir=pipe") == 2
    states = {name: RunFolder(toy.root / "pipe" / name).status()["state"] for name in ("", "1", "3")}
    assert states == {"": "failed", "1": "done", "3": "failed"}
    assert "working" in (toy.root / "pipe" / "1" / "run.log").read_text()
    assert "working" in (toy.root / "pipe" / "run.log").read_text()


def test_job_survives_the_way_to_another_process(toy, tmp_path):
    job = Job("pretrain", RunFolder(tmp_path), ("a=1",), {"model": "small"}, tmp_path / "sweep", 3, "group", True)
    copy = Job.from_dict(json.loads(json.dumps(job.as_dict())))
    assert copy.as_dict() == job.as_dict()
    assert copy.sweep_dir == tmp_path / "sweep"


def test_other_ranks_write_no_status(toy, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run_job("pretrain", compose("pretrain"), toy.root / "run")
    assert not (toy.root / "run" / "status.json").exists()
    assert not (toy.root / "run" / "config.yaml").exists()


@pytest.fixture
def spawned(toy, monkeypatch):
    """A process that Lightning has started as rank 1 of a run with ``seed``."""

    def start(seed: int) -> tuple[int, RunFolder]:
        run = RunFolder(toy.root / "run")
        run.path.mkdir()
        run.set_status("running")
        run.write_config(compose("pretrain", [f"seed={seed}"]))
        monkeypatch.setenv("GROUNDUP_RANK_JOB", json.dumps(Job("pretrain", run).as_dict() | {"parent": os.getppid()}))
        monkeypatch.setenv("LOCAL_RANK", "1")
        # What Lightning repeats does not matter: the job comes from rank 0.
        return toy.groundup("pretrain", "model=nosuch", 'hydra.run.dir="x"'), run

    return start


def test_spawned_rank_runs_the_configuration_of_rank_0(spawned, toy):
    code, run = spawned(2)
    assert code == 0
    assert run.read_json("metrics.json")["validation/loss"]["value"] == pytest.approx(16.2)
    assert run.status()["state"] == "running"
    assert not (toy.root / "logs").exists()


def test_spawned_rank_says_why_it_failed(spawned):
    code, run = spawned(4)
    assert code == 1
    assert run.status()["why"] == "rank 1: ValueError: four\nis a bug"
    assert "Traceback" in run.log.read_text()


def test_spawned_rank_that_saved_on_a_signal_does_not_get_rank_0_killed(spawned):
    assert spawned(6)[0] == 0


def test_child_command_is_the_module_and_the_environment_is_left_clean(toy, monkeypatch):
    stage = toy.root / "package" / "toy_stage.py"
    stage.write_text(
        "import os, sys, json, __main__\n"
        "from lightning.fabric.strategies.launchers.subprocess_script import _hydra_subprocess_cmd\n"
        "def run(cfg, job):\n"
        "    command, cwd = _hydra_subprocess_cmd(local_rank=1)\n"
        "    os.environ['LOCAL_RANK'] = '0'\n"
        "    job.folder.write_json('command.json', [command[1:4], cwd, os.environ['GROUNDUP_RANK_JOB']])\n"
    )
    argv = sys.argv
    assert toy.groundup("pretrain", "hydra.run.dir=run") == 0
    command, cwd, passed = RunFolder(toy.root / "run").read_json("command.json")
    assert command == ["-m", "groundup.__main__", "pretrain"]
    assert cwd == str(toy.root)
    assert json.loads(passed)["folder"] == str(toy.root / "run")
    assert sys.argv is argv
    assert not {"LOCAL_RANK", "GROUNDUP_RANK_JOB", "MASTER_PORT", "PYTHONSAFEPATH"} & os.environ.keys()


def test_processes_that_another_launcher_started_keep_its_port(toy, monkeypatch, tmp_path):
    job = Job("pretrain", RunFolder(tmp_path))
    monkeypatch.setenv("MASTER_PORT", "1234")
    with ready_for_ranks(job):
        assert os.environ["MASTER_PORT"] != "1234"
    with ready_for_ranks(job, machines=2):
        assert os.environ["MASTER_PORT"] == "1234"
    monkeypatch.setenv("LOCAL_RANK", "0")
    with ready_for_ranks(job):
        assert os.environ["MASTER_PORT"] == "1234"


def test_columns_that_the_files_turned_out_to_have_are_no_change(monkeypatch):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)
    typed = ["data=files", "data.train=x.csv"]
    saved = compose("finetune", typed)
    saved.data.label = "class"
    assert drift(saved, "finetune", typed) == []
    named = [*typed, "data.label=sort"]
    assert drift(saved, "finetune", named) == ["data.label: saved class, today sort"]


def test_a_signal_in_an_import_waits_for_its_end():
    done = []

    def imports(number: int) -> None:
        with held_back():
            signal.raise_signal(number)
            done.append(number)

    with ending_in_order(), pytest.raises(Interrupted, match="SIGUSR1"):
        imports(signal.SIGUSR1)
    with pytest.raises(KeyboardInterrupt):
        imports(signal.SIGINT)
    assert done == [signal.SIGUSR1, signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_spawned_rank_leaves_a_signal_before_the_training_to_rank_0(number, spawned, toy):
    """Which waits for it; what is signalled to all must not end the one that is waited for."""
    stage = toy.root / "package" / "toy_stage.py"
    sent = f"import signal\nsignal.raise_signal({int(number)})\n"
    stage.write_text(
        sent + stage.read_text().replace("    loss =", f"    signal.raise_signal({int(number)})\n    loss =")
    )
    code, run = spawned(2)
    assert code == 0 and run.read_json("metrics.json")["validation/loss"]["value"] == pytest.approx(16.2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full, which Linux has")
def test_a_log_on_a_full_disk_ends_nothing_and_is_told_once(capsys):
    with log_to_run(Path("/dev/full")):
        for _ in range(3):
            logging.getLogger("groundup").info("a line")
    assert capsys.readouterr().err == "a line\n" + "/dev/full lacks lines: No space left on device\n" + 2 * "a line\n"
