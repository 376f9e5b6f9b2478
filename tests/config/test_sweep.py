"""A multirun: every job on its own, and one table of all."""

from __future__ import annotations

import csv

import pytest

from groundup.jobs.sweep import Ranking, Row, as_text, over_seeds, read, summarise
from groundup.jobs.sweep_plan import Plan, PlannedJob
from groundup.metrics.estimate import Estimate, Metric
from groundup.runs.folder import RunFolder


def sweep_of(toy):
    (folder,) = (toy.root / "logs" / "pretrain" / "multirun").iterdir()
    return folder


def test_failed_jobs_do_not_stop_the_others(toy, capsys):
    assert toy.groundup("pretrain", "-m", "seed=3,4,2,1") == 1
    folder = sweep_of(toy)
    assert [RunFolder(folder / str(job)).status()["state"] for job in range(4)] == ["failed", "failed", "done", "done"]
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["job"] for row in rows] == ["3", "2", "0", "1"]  # best first, failed ones last
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed"]
    assert rows[0]["validation/loss"] == "16.1"
    assert rows[2]["why"] == "three is no seed. Try seed=4"
    printed = capsys.readouterr()
    assert "| 3   | 1    | done   | 16.1            | 0.06211       |" in printed.out
    assert "job 0 failed: three is no seed. Try seed=4" in printed.err
    assert printed.err.endswith(
        f"2 of 4 jobs did not finish. Go on with: groundup resume sweep={folder.relative_to(toy.root)}\n"
    )


def test_a_job_is_composed_once(toy, monkeypatch):
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    compose, composed = ConfigLoaderImpl.load_sweep_config, []

    def count(self, master_config, sweep_overrides):
        composed.append(list(sweep_overrides))
        return compose(self, master_config, sweep_overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", count)
    assert toy.groundup("pretrain", "-m", "seed=1,2", "model=small,big", "hydra.sweep.dir=sweep") == 0
    assert len(composed) == 4 == len({tuple(words) for words in composed})
    widths = [job.config["model"]["width"] for job in Plan.read(toy.root / "sweep").jobs.values()]
    assert widths == [16, 64, 16, 64]
    assert [row.changed["seed"] for row in read(Plan.read(toy.root / "sweep"))[0]] == ["1", "2", "1", "2"]


def test_equal_jobs_are_jobs_of_their_own(toy):
    assert toy.groundup("pretrain", "-m", "seed=1,1,2,1", "hydra.sweep.dir=sweep") == 0
    jobs = Plan.read(toy.root / "sweep").jobs
    assert [job.folder for job in jobs.values()] == ["0", "1", "2", "3"]
    assert [job.config["seed"] for job in jobs.values()] == [1, 1, 2, 1]


def test_budgets_in_one_word_are_swept(toy, capsys):
    assert toy.groundup("pretrain", "-m", "budget=7steps,2e6tokens,0.5epochs") == 0
    folder = sweep_of(toy)
    saved = [RunFolder(folder / str(job)).read_config()["budget"] for job in range(3)]
    given = [{unit: amount for unit, amount in budget.items() if amount is not None} for budget in saved]
    assert given == [{"steps": 7}, {"tokens": 2_000_000}, {"epochs": 0.5}]
    assert all(budget.keys() == {"steps", "tokens", "epochs", "minutes"} for budget in saved)
    assert "| 2   | 0.5epochs " in capsys.readouterr().out


def test_exit_codes_of_sweeps(toy):
    assert toy.groundup("pretrain", "-m", "seed=1,2") == 0
    assert toy.groundup("pretrain", "-m", "seed=1,3") == 2
    assert toy.groundup("pretrain", "-m", "seed=1", "model=small,nosuch") == 2


def test_wrong_value_fails_its_job_alone_and_leaves_no_folder(toy, capsys):
    assert toy.groundup("pretrain", "-m", "model.width=0,4") == 2
    folder = sweep_of(toy)
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "1", "multirun.yaml", "refused.jsonl", "report.html", "results.csv", "results.md", "sweep.json",
    ]  # fmt: skip
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [(row["job"], row["status"]) for row in rows] == [("1", "done"), ("0", "failed")]
    assert rows[1]["why"].startswith("model.width = 0: must be at least 1")
    printed = capsys.readouterr()
    assert printed.err.count("job 0 failed: model.width = 0: must be at least 1") == 1


def test_used_folder_of_a_sweep_is_refused(toy, capsys):
    assert toy.groundup("pretrain", "-m", "seed=1,2", "hydra.sweep.dir=sweep") == 0
    before = sorted(toy.root.glob("sweep/**/*"))
    assert toy.groundup("pretrain", "-m", "seed=1,2", "hydra.sweep.dir=sweep") == 2
    assert "hydra.sweep.dir=sweep is not empty" in capsys.readouterr().err
    assert sorted(toy.root.glob("sweep/**/*")) == before


def test_sweep_without_a_job_leaves_nothing(toy):
    assert toy.groundup("pretrain", "-m", "model=small,nosuch", "hydra.sweep.dir=sweep") == 2
    assert not (toy.root / "sweep").exists()


def test_interrupt_ends_the_sweep_and_leaves_the_table(toy):
    assert toy.groundup("pretrain", "-m", "seed=1,5,2") == 130
    rows = list(csv.DictReader((sweep_of(toy) / "results.csv").open()))
    assert [(row["job"], row["status"]) for row in rows] == [("0", "done"), ("1", "interrupted"), ("2", "waiting")]


def test_mean_over_seeds_when_only_the_seed_differs(toy, capsys):
    toy.groundup("pretrain", "-m", "model=small,big", "seed=1,2")
    text = (sweep_of(toy) / "results.md").read_text()
    assert "| mean ± std | small | 2    | 16.15 ± 0.071   |" in text
    assert text.index("| mean ± std | small") < text.index("| mean ± std | big")


def test_each_job_knows_its_sweep(toy, monkeypatch):
    (toy.root / "package" / "toy_stage.py").write_text(
        "def run(cfg, job):\n    job.folder.write_json('job.json', [job.job_num, job.group, str(job.sweep_dir)])\n"
    )
    toy.groundup("pretrain", "-m", "seed=1,2")
    folder = sweep_of(toy)
    assert RunFolder(folder / "1").read_json("job.json") == [1, folder.name, str(folder)]


def plan_of(folder, **configs):
    """A plan of jobs that differ in their seed, as a sweep writes it."""
    plan = Plan(folder, "pretrain", {})
    for number, config in enumerate(configs.values()):
        plan.add(PlannedJob(number, str(number), [f"seed={number}"], {}, config))
    return plan


def row(number, loss, **changed):
    return Row(number, changed, "done", metrics={"validation/loss": loss})


def test_best_first_depends_on_the_mode():
    assert sorted([0.3, None, 0.1], key=Ranking("m", "min").key) == [0.1, 0.3, None]
    assert sorted([0.3, None, 0.1], key=Ranking("m", "max").key) == [0.3, 0.1, None]


def test_standard_deviation_is_that_of_a_sample():
    rows = [row(n, loss, seed=str(n)) for n, loss in enumerate((1.0, 2.0, 3.0))]
    assert over_seeds(rows, ["validation/loss"], Ranking("validation/loss")) == [["mean ± std", "3", "2 ± 1"]]
    assert over_seeds(rows[:1], ["validation/loss"], Ranking()) == []
    assert "| 2   | 2    | done   | 3 " in as_text(rows, Ranking("validation/loss"))


def test_killed_job_is_in_the_table(tmp_path):
    run = RunFolder(tmp_path / "0")
    run.path.mkdir()
    run.set_status("running", job_num=0, overrides=["seed=1"])
    run.write_json("status.json", {**run.read_json("status.json"), "pid": 2**22 + 1})
    assert summarise(plan_of(tmp_path, first={}, second={})) == 1
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [(row["status"], "killed?" in row["why"]) for row in rows] == [("died", True), ("waiting", False)]


@pytest.mark.parametrize(("better", "first"), [("max", 1), ("min", 0), (None, 0)])
def test_the_order_is_the_direction_that_the_results_keep(tmp_path, better, first):
    for number, value in enumerate((0.25, 0.5)):
        run = RunFolder(tmp_path / str(number))
        run.path.mkdir()
        run.write_json(
            "metrics.json", {"validation/mine": Estimate(value, None, None, 9, metric=Metric("mine", better))}
        )
        run.set_status("done", job_num=number, overrides=[f"seed={number}"])
    config = {"monitor": "validation/mine", "monitor_mode": None}
    rows, ranking = read(plan_of(tmp_path, first=config, second=config))
    assert [row.number for row in rows] == [first, 1 - first] and ranking.monitor == "validation/mine"


def test_a_narrow_terminal_shows_the_first_metrics_whole():
    rows = [Row(n, {"model": "transformer_encoder", "optimizer.lr": "1e-3"}, "done") for n in range(2)]
    for row in rows:
        row.metrics = {"validation/loss": 1.25, **{f"test/metric_{n}": 0.5 for n in range(6)}}
    ranking = Ranking("validation/loss")
    narrow = as_text(rows, ranking, 80)
    assert max(map(len, narrow.splitlines())) <= 80 and "validation/loss" in narrow and "1.25" in narrow
    assert len(as_text(rows, ranking).splitlines()[0]) > 80


def test_several_sets_of_one_evaluation_are_a_sweep_and_one_set_is_none():
    from groundup.jobs.words import for_several_sets

    assert for_several_sets(["run=x", "data=sst2,imdb"]) == ["-m", "run=x", "data=sst2,imdb"]
    assert for_several_sets(["-m", "data=sst2,imdb"]) == ["-m", "data=sst2,imdb"]
    for words in (["data=files", "data.test='a,b.csv'"], ["data=[a,b]"], ["run=a,b"]):
        assert for_several_sets(words) == words


def test_a_job_without_a_test_split_has_figures_in_the_table_too():
    from groundup.jobs.sweep import Ranking, Row, columns

    rows = [Row(0, {}, "done", metrics={"test/f1": 1.0}), Row(1, {}, "done", metrics={"validation/f1": 1.0})]
    assert columns(rows, Ranking()) == ["test/f1", "validation/f1"]
    assert columns(rows[:1], Ranking()) == ["test/f1"]


ADAPTIVE = "task_adaptive: false\ntask_adaptive_epochs: 5\n"


def test_a_key_that_changes_nothing_in_any_job_is_refused_before_the_first(toy, capsys):
    file = toy.conf / "pretrain.yaml"
    file.write_text(file.read_text() + ADAPTIVE)
    for words in (["seed=1,2", "task_adaptive_epochs=7"], ["task_adaptive_epochs=7,8"]):
        assert toy.groundup("pretrain", "-m", *words, "hydra.sweep.dir=sweep") == 2
        error = capsys.readouterr().err
        assert error == (
            "error: job 0: task_adaptive_epochs=7: nothing is adapted. Try task_adaptive=true task_adaptive_epochs=7\n"
        )
    assert not (toy.root / "sweep").exists()


def test_a_key_that_changes_nothing_in_some_jobs_is_told_once(toy, capsys):
    file = toy.conf / "pretrain.yaml"
    file.write_text(file.read_text() + ADAPTIVE)
    assert toy.groundup("pretrain", "-m", "task_adaptive=true,false", "task_adaptive_epochs=7,8", "seed=1,2") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "changes nothing" in line]
    assert told == ["task_adaptive_epochs changes nothing in 4 of 8 jobs (job 4, job 5, job 6, ...)"]
