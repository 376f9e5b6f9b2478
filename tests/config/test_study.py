"""``sweep=optuna``, ``random`` and ``halving``: real studies of small jobs, killed ones too, and trials that end early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup import cli
from groundup.errors import UserError
from groundup.jobs.study import check_idle_in_all, distributions, middle, parted
from groundup.runs.trial import DATABASE, FILE, StudyFile, Trial, pruner_of, trial_of

optuna = pytest.importorskip("optuna")
BASELINE = "baseline -m data=files data.train=train.csv data.validation=dev.csv data.test=dev.csv threads=1 logger=none".split()
NETWORK = (
    "finetune -m data=files data.train=train.csv data.validation=dev.csv model=bag_of_ngrams size=nano threads=1 logger=none "
    "callbacks=none budget.steps=12 validate_every=2 batching.batch_size=16"
).split()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small set that can be learned, where commands are typed."""
    rows = [f"{'good fine' if i % 2 else 'bad awful'} film number {i},{'pos' if i % 2 else 'neg'}" for i in range(80)]
    (tmp_path / "train.csv").write_text("text,label\n" + "\n".join(rows[:60]) + "\n")
    (tmp_path / "dev.csv").write_text("text,label\n" + "\n".join(rows[60:]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trials(sweep: Path) -> list:
    return StudyFile.read(sweep).open(sweep).get_trials()


def test_a_key_that_changes_nothing_whatever_is_proposed_is_refused():
    words = [*BASELINE[2:], "data.labelled_seed=5"]
    with pytest.raises(UserError, match=r"^job 0: data\.labelled_seed=5 says which rows keep their label"):
        check_idle_in_all("baseline", words, {"baseline.words": "1,2"})
    assert check_idle_in_all("baseline", words, {"data.labelled": "null,40"}).data.labelled is None


def test_a_study_proposes_from_the_space_and_keeps_every_trial(place, capsys):
    words = [
        "baseline.C=tag(log,interval(1e-3,100))",
        "baseline.words=1,2",
        "sweep=optuna",
        "sweep.trials=5",
        "hydra.sweep.dir=s",
    ]
    assert cli.run([*BASELINE, *words]) == 0
    found = trials(place / "s")
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 5
    assert all(1e-3 <= trial.params["baseline.C"] <= 100 and trial.params["baseline.words"] in "12" for trial in found)
    assert len({trial.params["baseline.C"] for trial in found}) == 5
    for number, trial in enumerate(found):
        run = place / "s" / str(number)
        saved = json.loads((run / "metrics.json").read_text())["validation/loss"]["value"]
        assert trial.value == saved and trial.user_attrs["job"] == f"s/{number}"
        assert f"baseline.words: {trial.params['baseline.words']}" not in (run / "command.txt").read_text()
        assert f"baseline.words={trial.params['baseline.words']}" in (run / "command.txt").read_text()
    assert "| baseline.C" in capsys.readouterr().out
    page = place / "s" / "report.html"
    html = page.read_text(encoding="utf-8")
    assert "What the score depends on" in html and html.count('<path class="line') == 5
    page.unlink()
    assert cli.run(["report", "s"]) == 0 and page.read_text(encoding="utf-8") == html
    capsys.readouterr()
    assert cli.run(["report", "s", "format=csv"]) == 0
    assert (
        capsys.readouterr().out.splitlines() == (place / "s" / "results.csv").read_text(encoding="utf-8").splitlines()
    )
    assert cli.run(["report", "s", "format=latex"]) == 0
    told = capsys.readouterr().out
    assert told.count(r" \\") == 6 and r"validation/loss" in told
    (place / "s").rename(place / "moved")
    assert cli.run(["resume", "sweep=moved"]) == 0 and len(trials(place / "moved")) == 5


def test_one_seed_proposes_the_same_and_another_otherwise(place):
    found = []
    for name, seed in (("a", 1), ("b", 2)):
        words = [
            "baseline.C=interval(0.1,9.0)",
            "sweep=random",
            "sweep.trials=2",
            f"sweep.seed={seed}",
            f"hydra.sweep.dir={name}",
        ]
        assert cli.run([*BASELINE, *words]) == 0
        found.append([trial.params for trial in trials(place / name)])
    again = StudyFile("baseline", "x", [], {}, "validation/loss", "min", sampler="random").open(place)
    assert again.ask(distributions({"baseline.C": "interval(0.1,9.0)"})).params == found[0][0] != found[1][0]


def test_a_study_that_is_killed_goes_on_to_its_trials(place):
    words = ["baseline.C=interval(0.1,9.0)", "sweep=optuna", "sweep.trials=4", "hydra.sweep.dir=s"]
    command = [sys.executable, "-m", "groundup", *BASELINE, *words]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(2400):  # two minutes
        if (place / "s" / "1" / "status.json").exists():
            break
        time.sleep(0.05)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    before = {trial.number: trial.params for trial in trials(place / "s")}
    assert 0 < len(before) < 4
    assert cli.run(["resume", "sweep=s"]) == 0
    found = trials(place / "s")
    assert [trial.state.name for trial in found if trial.state.name != "FAIL"].count("COMPLETE") >= 3 and len(
        found
    ) == 4
    assert all(found[number].params == params for number, params in before.items())
    jobs = [trial.user_attrs.get("job") for trial in found if trial.state.name == "COMPLETE"]
    assert len(jobs) == len(set(jobs))
    assert cli.run(["resume", "sweep=s"]) == 0 and len(trials(place / "s")) == 4


def test_two_sweeps_share_a_study(place):
    words = ["baseline.C=interval(0.1,9.0)", "sweep=optuna", "sweep.storage=sqlite:///shared.db", "sweep.study=both"]
    assert cli.run([*BASELINE, *words, "sweep.trials=2", "hydra.sweep.dir=a"]) == 0
    assert cli.run([*BASELINE, *words, "sweep.trials=5", "hydra.sweep.dir=b"]) == 0
    assert [trial.user_attrs["job"] for trial in trials(place / "b")] == ["a/0", "a/1", "b/0", "b/1", "b/2"]


def test_a_hopeless_trial_ends_early_and_is_pruned(place, monkeypatch, capsys):
    monkeypatch.setattr(Trial, "hopeless", lambda self, step, value: self._trial.number == 1 and step >= 4)
    words = ["optimizer.lr=interval(1e-3,1e-2)", "sweep=halving", "sweep.trials=3", "hydra.sweep.dir=s"]
    assert cli.run([*NETWORK, *words]) == 0
    assert [trial.state.name for trial in trials(place / "s")] == ["COMPLETE", "PRUNED", "COMPLETE"]
    status = json.loads((place / "s" / "1" / "status.json").read_text())
    assert status["pruned"] == 4 and not (place / "s" / "1" / "metrics.json").exists()
    assert "| pruned |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pruner", "ended"), [("median", "no no no yes"), ("third", "no no yes yes"), ("none", "no no no no")]
)
def test_a_trial_is_judged_by_those_that_ran_to_their_end(pruner, ended):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(pruner=pruner_of(pruner))
    said = []
    for value in (0.1, 0.2, 0.4):  # three are needed
        trial = study.ask()
        trial.report(value, 5)
        assert not trial.should_prune()
        study.tell(trial, value)
    for value in (0.05, 0.15, 0.19, 0.3):
        trial = study.ask()
        trial.report(value, 5)
        said.append("yes" if trial.should_prune() else "no")
    assert " ".join(said) == ended


def test_a_job_reports_its_validations_to_its_own_trial(place):
    file = StudyFile("finetune", "s", [], {}, "validation/loss", "min", pruner="median", sweep=place.name)
    file.save(place)
    study = file.open(place)
    for number in range(5):
        study.ask().set_user_attr("job", f"{place.name}/{number}")
    for number in range(4):  # good ones: three are needed before one can be judged
        trial = trial_of(place, number)
        assert not any(trial.hopeless(step, 0.1) for step in (10, 20))
        study.tell(number, 0.1)
    last = trial_of(place, 4)
    assert not last.hopeless(10, 9.0) or last.hopeless(20, 9.0)
    assert last.hopeless(20, 9.0)
    assert study.get_trials()[4].intermediate_values == {10: 9.0, 20: 9.0}
    assert trial_of(place, 99) is None and trial_of(None, 1) is None and trial_of(place / "none", 1) is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sweep=optuna", "baseline.C=1"], "optimizer.lr"),
        (["sweep=optuna", "baseline.C=interval(9,1)"], "baseline.C=interval(9,1)"),
        (["sweep=optuna", "baseline.C=interval(1,9)", "sweep.pruner=best"], "pruner"),
        (["sweep=optuna", "baseline.C=interval(1,9)", "sweep.trials=0"], "trials"),
        (["sweep=optuna", "baseline.D=interval(1,9)"], "baseline.D"),
        (["sweep=nosuch", "baseline.C=1,2"], "nosuch"),
    ],
)
def test_what_cannot_be_studied_is_a_line(words, line, place, capsys):
    assert cli.run([*BASELINE, *words, "hydra.sweep.dir=s"]) == 2
    assert line in capsys.readouterr().err
    assert not (place / "s" / "0").exists()


def test_a_study_lies_in_its_folder_whatever_that_is_called_and_a_damaged_one_is_a_line(tmp_path):
    sweep = tmp_path / "研究 ?a=1&#%41"
    sweep.mkdir()
    file = StudyFile("baseline", "s", [], {"baseline.C": "1,2"}, "validation/loss", "min")
    file.open(sweep).ask()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["study.db", sweep.name]
    assert len(file.open(sweep).trials) == 1
    (sweep / DATABASE).write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"study\.db does not answer: file is not a database.* groundup resume sweep="):
        file.open(sweep)


def test_a_study_that_has_lost_its_trials_is_a_line(place, capsys):
    words = ["baseline.C=1,10", "sweep=random", "sweep.trials=1", "hydra.sweep.dir=s"]
    assert cli.run([*BASELINE, *words]) == 0
    (place / "s" / DATABASE).write_bytes(b"")
    assert cli.run(["resume", "sweep=s"]) == 2
    assert "knows nothing of job 0" in capsys.readouterr().err
    assert cli.run(["report", "s", "format=csv"]) == 0


def test_a_study_file_of_a_stranger_is_refused(place):
    StudyFile("finetune", "s", [], {}, "validation/loss", "min").save(place)
    saved = json.loads((place / FILE).read_text())
    for change in ({"sampler": "os.system"}, {"trials": "many"}, {"words": "rm"}, {"better": None}):
        (place / FILE).write_text(json.dumps(saved | change))
        with pytest.raises(UserError, match="is damaged"):
            StudyFile.read(place)


def test_the_space_is_read_in_the_words_of_hydra():
    words, space = parted(
        ["seed=1", "a=x,y", "b=int(interval(1,5))", "c=tag(log,interval(1e-4,1e-2))", "d=range(2,8,2)"]
    )
    assert words == ["seed=1"] and list(space) == ["a", "b", "c", "d"]
    found = distributions(space)
    assert found["a"].choices == ("x", "y")
    assert isinstance(found["b"], optuna.distributions.IntDistribution) and (found["b"].low, found["b"].high) == (1, 5)
    assert found["c"].log and (found["c"].low, found["c"].high) == (1e-4, 1e-2)
    assert (found["d"].low, found["d"].high, found["d"].step) == (2, 6, 2)
    assert middle("tag(log,interval(1e-4,1e-2))") == "0.0001"
