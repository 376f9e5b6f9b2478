from __future__ import annotations

import errno

import pandas
import pytest
import torch

from groundup.errors import UserError
from groundup.runs.csv_logger import CsvLogger
from groundup.runs.folder import RunFolder
from groundup.runs.history import MetricsCsv, read_metrics


def test_every_value_is_on_disk_when_it_is_logged(tmp_path):
    table = MetricsCsv(tmp_path / "metrics.csv")
    expected = []
    for step in range(1, 6):
        table.write(step, {"train/loss": 1 / step})
        expected.append({"step": step, "train/loss": 1 / step})
        assert read_metrics(table.path) == expected


def test_one_row_a_step_and_columns_that_come_later(tmp_path):
    table = MetricsCsv(tmp_path / "metrics.csv")
    table.write(10, {"train/loss": 2.0})
    table.write(20, {"train/loss": 1.0})
    table.write(20, {"validation/loss": 1.5, "validation/accuracy": 0.5})
    table.write(20, {"test, with comma": 0.25})
    table.write(30, {"train/loss": 0.5})
    table.write(40, {"validation/loss": 1.25})
    table.write(40, {"train/loss": 0.125})
    frame = pandas.read_csv(table.path).set_index("step")
    assert list(frame.index) == [10, 20, 30, 40]
    assert list(frame.columns) == ["train/loss", "validation/loss", "validation/accuracy", "test, with comma"]
    assert frame["train/loss"].tolist() == [2.0, 1.0, 0.5, 0.125]
    assert frame["validation/loss"].dropna().to_dict() == {20: 1.5, 40: 1.25}


def test_a_value_logged_again_at_its_step_replaces_the_first(tmp_path):
    table = MetricsCsv(tmp_path / "metrics.csv")
    table.write(1, {"a": 123456789.123})
    table.write(2, {"a": 123456789.123})
    table.write(2, {"a": 1.0})
    assert table.path.read_text() == "step,a\n1,123456789.123\n2,1.0\n"


def test_floats_keep_every_digit(tmp_path):
    value = 0.1 + 0.2
    MetricsCsv(tmp_path / "metrics.csv").write(1, {"a": value, "b": float("nan"), "n": 3})
    row = read_metrics(tmp_path / "metrics.csv")[0]
    assert row["a"] == value
    assert row["b"] != row["b"]


def test_a_table_that_is_written_again_is_the_same(tmp_path):
    table = MetricsCsv(tmp_path / "metrics.csv")
    for step in (1, 2, 3):
        table.write(step, {"tokens": 2560 * step, "train/loss": 1 / step, "bad": float("nan")})
    before = table.path.read_bytes()
    MetricsCsv(table.path)
    assert table.path.read_bytes() == before
    CsvLogger(RunFolder(tmp_path), 2).log_metrics({"tokens": 7680, "train/loss": 1 / 3, "bad": float("nan")}, 3)
    assert table.path.read_bytes() == before


def test_a_resumed_table_ends_like_an_uninterrupted_one(tmp_path):
    def values(step):
        return {"train/loss": 1 / step} | ({"validation/loss": 2 / step} if step % 3 == 0 else {})

    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    table = MetricsCsv(whole)
    for step in range(1, 11):
        table.write(step, values(step))
    table = MetricsCsv(parts)
    for step in range(1, 8):
        table.write(step, values(step))
    with open(parts, "a") as file:
        file.write("8,0.12")  # killed while writing
    table = MetricsCsv(parts)
    table.cut(5)
    assert [row["step"] for row in read_metrics(parts)] == [1, 2, 3, 4, 5]
    for step in range(6, 11):
        table.write(step, values(step))
    assert parts.read_bytes() == whole.read_bytes()


def test_a_reopened_table_goes_on_in_its_last_row(tmp_path):
    MetricsCsv(tmp_path / "m.csv").write(5, {"train/loss": 1.0, "test/loss": 0.5})
    table = MetricsCsv(tmp_path / "m.csv")
    table.write(5, {"test/loss": 0.25})
    assert read_metrics(tmp_path / "m.csv") == [{"step": 5, "train/loss": 1.0, "test/loss": 0.25}]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    table = MetricsCsv(tmp_path / "m.csv")
    table.write(1, {"a": 1.0})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("groundup.runs.history.open", full, raising=False)
    with pytest.raises(UserError, match="no space left"):
        table.write(2, {"a": 1.0})


def test_the_logger_takes_tensors_and_leaves_epochs_out(tmp_path):
    run = RunFolder(tmp_path)
    logger = CsvLogger(run)
    logger.log_metrics({"train/loss": torch.tensor(0.5), "epoch": 3}, step=1)
    logger.log_metrics({"epoch": 3}, step=2)
    logger.log_hyperparams({"a": 1})
    assert run.metrics_csv.read_text() == "step,train/loss\n1,0.5\n"
    assert logger.log_dir == str(tmp_path)


def test_the_logger_cuts_what_a_resumed_run_will_log_again(tmp_path):
    run = RunFolder(tmp_path)
    for step in (1, 2, 3):
        CsvLogger(run).log_metrics({"a": float(step)}, step)
    CsvLogger(run, step=2).log_metrics({"a": 9.0}, 3)
    assert [row["a"] for row in read_metrics(run.metrics_csv)] == [1.0, 2.0, 9.0]


def test_lightning_logs_through_it(tmp_path):
    from lightning.pytorch import Trainer
    from lightning.pytorch.demos.boring_classes import BoringModel

    class Model(BoringModel):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)["loss"]
            self.log("train/loss", loss)
            return loss

    run = RunFolder(tmp_path)
    flags = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(
        max_steps=4, logger=CsvLogger(run), log_every_n_steps=1, limit_val_batches=0, accelerator="cpu", **flags
    )
    trainer.fit(Model())
    rows = read_metrics(run.metrics_csv)
    assert len(rows) == 4
    assert all(set(row) == {"step", "train/loss"} for row in rows)
    assert trainer.log_dir == str(tmp_path)


@pytest.mark.parametrize("line", ["x,1", "nan,1", "1e999,1", "1.5,1", "[1],1", "1,2,3", ",1"])
def test_a_row_without_a_whole_step_is_none(tmp_path, line):
    file = tmp_path / "metrics.csv"
    file.write_text(f"step,a\n1,2\n{line}\n3,4\n")
    assert read_metrics(file) == [{"step": 1, "a": 2}, {"step": 3, "a": 4}]


@pytest.mark.parametrize("content", [b"step,a\n1,\xff\n", b'step,a\n1,"' + b"y" * 200_000 + b'"\n', b"," * 10_000_001])
def test_what_is_no_table_is_said_to_be_damaged(tmp_path, content):
    file = tmp_path / "metrics.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.csv is damaged"):
        read_metrics(file)
