"""Samples at each validation: written, shown and logged, without touching the training they look at."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import Callback
from toy_run import Journal, Signal, fingerprint, in_child, train

from groundup.tasks.evaluation import Results
from groundup.training.samples import Samples, as_text, spread

STEPS = (3, 6, 9)


class Answers(Callback):
    """Leaves predictions with the task, as the end of a validation does."""

    def __init__(self, rows: int = 5):
        self.rows = rows

    def on_validation_epoch_end(self, trainer, pl_module) -> None:
        pl_module.writes = "answer"
        rows = [
            {
                "index": i,
                "source": f"source {i}\nof two lines",
                "target": f"目标 {i}",
                "hypothesis": f"step {trainer.global_step}",
            }
            for i in range(self.rows)
        ]
        pl_module.validation = Results({}, rows)


def files(run: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in sorted((run / "samples").glob("*"))}


def test_source_reference_and_hypothesis_of_each_validation_are_written(tmp_path: Path) -> None:
    train(tmp_path, 9, validate_every=3, more=(Answers(), Samples(["The"])))
    written = files(tmp_path)
    assert list(written) == [f"step_{step:09d}.txt" for step in STEPS]
    for step, text in zip(STEPS, written.values(), strict=True):
        rows = text.rstrip().split("\n" + "-" * 80 + "\n")
        assert rows == [
            f"source      source {i} of two lines\nreference   目标 {i}\nhypothesis  step {step}" for i in range(5)
        ]


def test_rows_at_even_distances_are_shown_and_fifty_kept(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO, "groundup.training.samples"):
        train(tmp_path, 6, validate_every=3, more=(Answers(rows=70), Samples([], rows=2)))
    shown = [record.getMessage() for record in caplog.records if record.name == "groundup.training.samples"]
    assert [text.split("\n")[0] for text in shown] == [f"source      source {i} of two lines" for i in (0, 35)] * 2
    assert shown[-1].endswith("hypothesis  step 6")
    assert files(tmp_path)["step_000000006.txt"].count("hypothesis") == 50


def test_rows_are_spread_evenly() -> None:
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread(range(3), 3) == spread(range(3), 9) == [0, 1, 2]
    assert spread(range(3), 0) == []


def test_loggers_that_know_tables_get_one_others_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "without", 3, validate_every=3, more=(Answers(), Samples([])))
    got = []
    monkeypatch.setattr(Journal, "log_table", lambda self, **table: got.append(table), raising=False)
    train(tmp_path / "with", 6, validate_every=3, more=(Answers(2), Samples([])))
    assert [table["step"] for table in got] == [3, 6]
    assert got[0]["key"] == "validation/samples"
    assert got[0]["columns"] == ["source", "reference", "hypothesis"]
    assert got[0]["data"][1] == ["source 1\nof two lines", "目标 1", "step 3"]


def test_training_goes_on_as_without(tmp_path: Path) -> None:
    task, _ = train(tmp_path / "with", 9, validate_every=3, more=(Answers(), Samples(["The"])))
    plain, _ = train(tmp_path / "without", 9, validate_every=3)
    assert task.trace == plain.trace
    assert fingerprint(task) == fingerprint(plain)


def test_a_killed_run_writes_the_same_samples(tmp_path: Path) -> None:
    more = (Answers(), Samples(["The"]))
    train(tmp_path / "whole", 12, validate_every=3, more=more)
    killed = (*more, Signal(8))
    assert in_child(lambda: train(tmp_path / "part", 12, validate_every=3, more=killed)) == -9
    train(tmp_path / "part", 12, validate_every=3, more=more, resume=True)
    assert files(tmp_path / "part") == files(tmp_path / "whole")


def test_idle_for_a_task_that_writes_nothing(tmp_path: Path) -> None:
    train(tmp_path, 6, validate_every=3, more=(Samples(["The"]),))
    train(tmp_path / "no_rows", 6, validate_every=3, more=(Answers(rows=0), Samples(["The"])))
    assert not list(tmp_path.rglob("samples"))


def test_long_texts_are_cut_on_the_terminal_only() -> None:
    row = {"source": "a" * 400, "target": None, "hypothesis": ""}
    assert as_text(row, width=10) == f"source      {'a' * 10} …\nreference\nhypothesis"
    assert "a" * 400 in as_text(row)
