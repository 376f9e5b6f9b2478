from __future__ import annotations

import itertools
import logging
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from toy_run import Journal, ToyTask, train

from groundup.errors import UserError
from groundup.models.lora import add_adapters, is_adapter
from groundup.models.transformer import TransformerEncoder
from groundup.training.checkpoints import Checkpoints
from groundup.training.early_stopping import EarlyStopping
from groundup.training.ema import EMA
from groundup.training.freeze import Freeze
from groundup.training.nan_guard import NanGuard
from groundup.training.progress import Progress, fitting
from groundup.training.resume import saved_step
from groundup.training.step_logger import StepLogger, learning_rates
from groundup.training.swa import SWA


class Watch(Callback):
    """Keeps the weights after each optimizer step, and at each validation."""

    def __init__(self):
        self.steps: list[dict] = []
        self.validations: list[dict] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self.steps.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self.on_train_start(trainer, pl_module)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        self.validations.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})


class Scores(Callback):
    """Replaces the validation loss by given numbers."""

    def __init__(self, *scores: float):
        self.scores = iter(scores)

    def on_validation_start(self, trainer, pl_module) -> None:
        pl_module.score = next(self.scores)


# Averages of weights


def test_average_is_validated_and_kept_as_best_but_not_trained_on(tmp_path: Path) -> None:
    watch = Watch()
    task, _ = train(tmp_path / "ema", 9, accumulate=2, validate_every=None, more=(watch,))
    plain, _ = train(tmp_path / "plain", 9, accumulate=2, validate_every=None, ema=False)
    assert task.trace == plain.trace
    assert task.validated != plain.validated
    expected = watch.steps[0]
    for t, weights in enumerate(watch.steps[1:], 1):
        share = 1 - min(0.9, (1 + t) / (10 + t))
        expected = {name: value + share * (weights[name] - value) for name, value in expected.items()}
    best = torch.load(tmp_path / "ema" / "checkpoints" / "best.ckpt")["state_dict"]
    for name, parameter in task.named_parameters():
        torch.testing.assert_close(watch.validations[-1][name], expected[name])
        assert torch.equal(best[name], watch.validations[-1][name])
        assert torch.equal(parameter, watch.steps[-1][name])


def test_mean_of_the_last_steps_counts_each_alike_and_is_validated_from_its_beginning(tmp_path: Path) -> None:
    watch = Watch()
    task, _ = train(tmp_path / "swa", 12, accumulate=2, validate_every=4, ema=False, more=(SWA(start=0.5), watch))
    plain, _ = train(tmp_path / "plain", 12, accumulate=2, validate_every=4, ema=False)
    assert task.trace == plain.trace
    differ = {step for (step, one), (_, other) in zip(task.validated, plain.validated, strict=True) if one != other}
    assert differ == {8, 12}  # of 4, 8 and 12
    for name, value in watch.validations[-1].items():
        torch.testing.assert_close(value, torch.stack([weights[name] for weights in watch.steps[7:]]).mean(0))
    assert all(torch.equal(value, watch.steps[-1][name]) for name, value in task.named_parameters())


def test_mean_of_a_run_that_is_made_longer_begins_anew(tmp_path: Path) -> None:
    train(tmp_path, 4, validate_every=None, ema=False, more=(SWA(start=0.5),))
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt")["callbacks"]["SWA"]["average"]
    watch = Watch()
    train(tmp_path, 12, validate_every=1, ema=False, resume=True, more=(SWA(start=0.5), watch))
    for step in (5, 6):  # before it begins again the weights are taken as they are
        assert all(torch.equal(watch.validations[step - 5][name], one) for name, one in watch.steps[step - 4].items())
    for name, value in watch.validations[-1].items():
        torch.testing.assert_close(value, torch.stack([weights[name] for weights in watch.steps[3:]]).mean(0))


@pytest.mark.parametrize("stop", [3, 6, 9], ids=["before it begins", "where it begins", "in it"])
def test_mean_of_the_last_steps_is_exact_on_resume(stop: int, tmp_path: Path) -> None:
    train(tmp_path / "whole", 12, validate_every=None, ema=False, more=(SWA(start=0.5),))
    train(tmp_path / "part", 12, validate_every=None, ema=False, more=(SWA(start=0.5), StopAt(stop)))
    (tmp_path / "part" / "checkpoints" / "best.ckpt").unlink()
    train(tmp_path / "part", 12, validate_every=None, ema=False, resume=True, more=(SWA(start=0.5),))
    whole, part = (torch.load(tmp_path / name / "checkpoints" / "last.ckpt")["callbacks"] for name in ("whole", "part"))
    averages = [one["SWA"]["average"] for one in (whole, part)]
    assert all(torch.equal(averages[0][name], value) for name, value in averages[1].items())
    assert len(averages[0]) == len(averages[1]) > 0


def test_two_averages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"callbacks\.ema: another average .* is validated and kept\. Try ~callbacks\.ema"
    ):
        train(tmp_path, 4, more=(SWA(),))


class StopAt(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, *_) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.step


def test_weights_come_back_after_an_interrupted_validation(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_validation_batch_end(self, *_, **__) -> None:
            raise RuntimeError("stop")

    watch = Watch()
    task = []
    with pytest.raises(RuntimeError, match="stop"):
        train(tmp_path, 9, validate_every=3, more=(watch, Stop(), Catch(task)))
    assert all(torch.equal(value, watch.steps[-1][name]) for name, value in task[0].named_parameters())


class Catch(Callback):
    def __init__(self, into: list):
        self.into = into

    def setup(self, trainer, pl_module, stage) -> None:
        self.into.append(pl_module)


# Checkpoints


def test_best_checkpoint_is_that_of_the_best_score(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, 10, validate_every=2, more=(Scores(3.0, 1.0, 2.0, math.nan, 1.0),))
    assert saved_step(tmp_path / "checkpoints" / "best.ckpt") == 4
    kept = next(c for c in trainer.callbacks if isinstance(c, Checkpoints))
    assert (kept.best_score, kept.best_step) == (1.0, 4)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt")
    assert "optimizer_states" not in best
    assert "callbacks" not in best


def test_best_score_outlives_a_resume(tmp_path: Path) -> None:
    train(tmp_path, 4, validate_every=2, more=(Scores(1.0, 3.0),))
    train(tmp_path, 6, validate_every=2, resume=True, more=(Scores(2.0),))
    assert saved_step(tmp_path / "checkpoints" / "best.ckpt") == 2


@pytest.mark.parametrize("monitor", [None, "validation/loss"])
def test_without_a_score_the_last_weights_are_the_best(tmp_path: Path, monitor: str | None, caplog) -> None:
    train(tmp_path, 6, monitor=monitor, more=(Scores(float("nan")),))
    assert saved_step(tmp_path / "checkpoints" / "best.ckpt") == 6
    assert ("was never measured" in caplog.text) == (monitor is not None)


def test_metric_that_validation_does_not_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"monitor=validation/accuracy .* reports validation/loss"):
        train(tmp_path, 6, monitor="validation/accuracy")


def test_two_resumable_checkpoints_are_kept(tmp_path: Path) -> None:
    train(tmp_path, 12, every=5)
    steps = {path.name: saved_step(path) for path in (tmp_path / "checkpoints").iterdir()}
    assert steps == {"last.ckpt": 12, "previous.ckpt": 10, "best.ckpt": steps["best.ckpt"]}


# Early stopping


def test_stops_after_patience_validations_and_stays_stopped(tmp_path: Path) -> None:
    scores = (3.0, 2.0, 2.5, 1.95, 9.0, 9.0)
    _, trainer = train(tmp_path, 40, validate_every=2, more=(Scores(*scores), EarlyStopping(patience=2, min_delta=0.1)))
    assert trainer.global_step == 8
    assert saved_step(tmp_path / "checkpoints" / "last.ckpt") == 8
    task, trainer = train(
        tmp_path, 40, validate_every=2, resume=True, more=(Scores(), EarlyStopping(patience=2, min_delta=0.1))
    )
    assert trainer.global_step == 8
    assert task.trace == []


def test_nan_is_no_improvement_and_never_the_best(tmp_path: Path) -> None:
    scores = (math.nan, 3.0, 2.0, math.nan, 1.0, 1.5, math.nan)
    early = EarlyStopping(patience=2)
    _, trainer = train(tmp_path, 40, validate_every=2, more=(Scores(*scores), early))
    assert (trainer.global_step, early.best) == (14, 1.0)


def test_a_metric_that_is_never_a_number_ends_the_run_too(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, 40, validate_every=2, more=(Scores(*[math.nan] * 3), EarlyStopping(patience=3)))
    assert trainer.global_step == 6


def test_patience_counts_across_a_resume(tmp_path: Path) -> None:
    train(tmp_path, 4, validate_every=2, more=(Scores(1.0, 2.0), EarlyStopping(patience=2)))
    _, trainer = train(tmp_path, 40, validate_every=2, resume=True, more=(Scores(2.0), EarlyStopping(patience=2)))
    assert trainer.global_step == 6


def test_unknown_monitor_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="validation/f1, but validation reports validation/loss"):
        train(tmp_path, 4, validate_every=2, more=(EarlyStopping("validation/f1", "max"),))


# Step logger


def test_rows_hold_what_the_steps_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    task, trainer = train(tmp_path, 8, accumulate=2, validate_every=None)
    row = next(row for key, row in Journal(tmp_path).rows().items() if key[0] == 8 and "train/loss" in row)
    losses = [float.fromhex(loss) for step, loss, _ in task.trace if step >= 4]
    assert len(losses) == 8
    assert row["train/loss"] == pytest.approx(sum(losses) / 8)
    assert row["train/learning_rate"] == pytest.approx(0.02 * 1 / 5)  # of the 8th update: warm-up 3, then down to 0
    assert 0 < row["train/grad_norm"] == float(task.grad_norm)
    assert 0.05 < row["train/padding_share"] < 0.2
    assert row["tokens"] == pytest.approx(16 * 24 * 0.9, rel=0.1)
    logger = next(c for c in trainer.callbacks if isinstance(c, StepLogger))
    assert logger.latest["train/tokens_per_second"] * 1.0 == pytest.approx(8 * 24 * 0.9, rel=0.1)


def test_time_of_validations_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])

    class Clock(Callback):
        def on_train_batch_start(self, *_) -> None:
            clock["now"] += 1.0

        def on_validation_batch_start(self, *_, **__) -> None:
            clock["now"] += 1000.0

    _, trainer = train(tmp_path, 4, validate_every=2, more=(Clock(),))
    logger = next(c for c in trainer.callbacks if isinstance(c, StepLogger))
    assert 15 < logger.latest["train/tokens_per_second"] < 24  # 24 positions a second, a tenth of them padding


def test_kinds_with_rates_of_their_own_are_logged() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [w], "kind": kind} for w, kind in zip(weights, ("matrix", "vector"), strict=True)]
    assert learning_rates(torch.optim.SGD(groups, lr=0.1)) == {"train/learning_rate": 0.1}
    groups[0]["lr"] = 0.5
    assert learning_rates(torch.optim.SGD(groups, lr=0.1)) == {
        "train/learning_rate": 0.5,
        "train/learning_rate/matrix": 0.5,
        "train/learning_rate/vector": 0.1,
    }


# NaN guard


class Poison(Callback):
    """One number of the gradient of the update after ``step`` is no number."""

    def __init__(self, step: int):
        self.step = step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if trainer.global_step == self.step:
            next(pl_module.head.parameters()).grad[0] = math.nan


def test_loss_that_is_not_finite_stops_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss is not finite at step 8 .*optimizer\.lr") as error:
        train(tmp_path, 20, every=50, validate_every=None, more=(Poison(6), NanGuard(every=4)))
    assert "\n" not in str(error.value)


def test_broken_weights_reach_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the gradient is not finite at step 10 "):
        train(tmp_path, 20, every=5, validate_every=None, more=(Poison(9), NanGuard(every=50)))
    assert saved_step(tmp_path / "checkpoints" / "last.ckpt") == 5


# Freezing


def moved(watch: Watch, first: int, last: int, part: str) -> bool:
    before, after = watch.steps[first], watch.steps[last]
    return any(not torch.equal(value, after[name]) for name, value in before.items() if name.startswith(part))


def test_frozen_until_a_step(tmp_path: Path) -> None:
    watch = Watch()
    train(tmp_path, 8, ema=False, more=(Freeze(until=4), watch))
    assert not moved(watch, 0, 4, "model.")
    assert moved(watch, 4, 5, "model.")
    assert moved(watch, 0, 1, "head.")


def test_frozen_for_good_is_unknown_to_the_optimizer(tmp_path: Path) -> None:
    watch = Watch()
    _, trainer = train(tmp_path, 8, more=(Freeze(), watch))
    assert not moved(watch, 0, 8, "model.")
    assert moved(watch, 0, 8, "head.")
    assert sum(len(group["params"]) for group in trainer.optimizers[0].param_groups) == 2


def test_freezing_is_exact_on_resume(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", 12, more=(Freeze(until=7),))

    train(tmp_path / "part", 12, more=(Freeze(until=7), StopAt(5)))
    part, _ = train(tmp_path / "part", 12, resume=True, more=(Freeze(until=7),))
    assert part.trace == whole.trace[5:]


def test_levels_start_to_learn_from_the_top_down(make_levels) -> None:
    task, starts = make_levels
    levels = task.model.levels()
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    wanted = {
        names[id(parameter)]: 4 + 3 * (len(levels) - 1 - depth)
        for depth, level in enumerate(levels)
        for module in level
        for parameter in module.parameters()
    }
    assert len(levels) == 3
    assert {name: starts[name] for name in wanted} == wanted
    assert {start for name, start in starts.items() if name not in wanted} == {4}  # the last norm


@pytest.fixture
def make_levels() -> tuple[torch.nn.Module, dict[str, int]]:
    """A task with a Transformer, and when each parameter of this starts to learn."""
    task = torch.nn.Module()
    task.model, task.head = TransformerEncoder(20, width=8, layers=2, heads=2), torch.nn.Linear(8, 2)
    freeze = Freeze(until=4, unfreeze_every=3)
    freeze.setup(None, task, "fit")
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    return task, {names[id(one)]: start for one, start in zip(freeze._frozen, freeze._starts, strict=True)}


def test_levels_are_asked_of_models_alone(tmp_path: Path) -> None:
    assert Freeze(unfreeze_every=5).until == 5
    with pytest.raises(UserError, match=r"unfreeze_every is for models.* Try callbacks\.freeze\.what=model"):
        train(tmp_path, 4, more=(Freeze(what="head", unfreeze_every=2),))


def test_adapters_start_to_learn_later_but_are_not_frozen_for_good() -> None:
    task = torch.nn.Module()
    task.model, task.head = TransformerEncoder(20, width=8, layers=1, heads=2), torch.nn.Linear(8, 2)
    add_adapters(task.model, rank=1, alpha=1, dropout=0.0, where=["blocks"], train=[])
    freeze = Freeze(until=4)
    freeze.setup(None, task, "fit")
    adapters = [value for name, value in task.named_parameters() if is_adapter(name)]
    assert all(one is other for one, other in zip(freeze._frozen, adapters, strict=True))
    with pytest.raises(
        UserError, match=r"the adapters of lora\.rank, too, and for good\. Try callbacks\.freeze\.until=200"
    ):
        Freeze().setup(None, task, "fit")
    with pytest.raises(
        UserError, match=r"what=model\.embedding: all of that part is frozen already\. Try ~callbacks\.freeze"
    ):
        Freeze(what="model.embedding").setup(None, task, "fit")


def test_unknown_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"what=body: the task has no such part, but model, head"):
        train(tmp_path, 4, more=(Freeze(what="body"),))


# Progress


def test_lines_are_few_where_there_is_no_terminal(tmp_path: Path, caplog) -> None:
    progress = Progress(seconds=3.0)
    ticks = itertools.count()
    progress.clock = lambda: float(next(ticks))
    with caplog.at_level(logging.INFO, "groundup.training.progress"):
        train(tmp_path, 12, validate_every=4, more=(progress,))
    lines = [record.getMessage() for record in caplog.records if record.name == "groundup.training.progress"]
    assert [line.split("  ")[0] for line in lines] == ["step 3/12", "step 6/12", "step 9/12", "step 12/12"]
    assert "validation/loss" in lines[-1]
    assert "tokens/s" in lines[-1]
    assert "  0:00:06 left" in lines[1]
    assert "  0:00:00 left" in lines[-1]


def test_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    train(tmp_path, 8, more=(Progress(),))
    shown = capsys.readouterr().out
    assert "8/8" in shown
    assert "loss" in shown


def test_toy_keeps_the_contract() -> None:
    task = ToyTask()
    assert task.count_tokens({"input_ids": torch.tensor([[1, 2, 0]])}) == 2
    assert EMA().average == {}


def test_figures_of_the_progress_bar_are_never_cut():
    figures = ["loss 5.1234", "0:01:23 left", "validation/macro_f1 0.1234", "12,345 tokens/s"]
    assert fitting(figures, 200) == "  ".join(figures)
    assert fitting(figures, 80 - len("step 600/600 ") - 12) == "  ".join(figures[:3])
    assert fitting(figures, 30) == "  ".join(figures[:2])
    assert fitting(figures, 5) == ""


def test_tokens_of_before_a_resume_do_not_count_as_speed() -> None:
    clock = iter([0.0, 2.0, 2.0])
    logger = StepLogger(every=1, updates=False)
    logger.clock = lambda: next(clock)
    logger.load_state_dict({"tokens": 50, "loss": 1.0, "count": 2.0, "real": 90.0, "positions": 100.0})
    stopped = SimpleNamespace(_should_accumulate=lambda: False)
    trainer = SimpleNamespace(
        global_step=1, world_size=1, is_global_zero=True, loggers=[], fit_loop=SimpleNamespace(epoch_loop=stopped)
    )
    task = SimpleNamespace(
        device="cpu",
        step_statistics={},
        grad_norm=None,
        count_tokens=lambda batch: 10,
        count_positions=lambda batch: 20,
        modules=lambda: iter(()),
        parameters=lambda: iter(()),
    )
    task.reset_statistics = partial(ToyTask.reset_statistics, task)
    logger.setup(trainer, task, "fit")
    logger.on_train_start(trainer, task)
    logger.on_train_batch_end(trainer, task, None, {}, 0)
    assert logger.latest["train/tokens_per_second"] == 10 / 2
    assert logger.latest["tokens"] == 150 and logger.latest["train/padding_share"] == 1 - 100 / 120
