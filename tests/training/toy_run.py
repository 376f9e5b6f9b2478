"""A small task and an endless stream that keep the contract of tasks and data modules, and ways to kill a run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from seed import SEED
from torch import nn
from torch.utils.data import DataLoader

from groundup.metrics.estimate import LOSS, Metric
from groundup.training.checkpoints import Checkpoints
from groundup.training.ema import EMA
from groundup.training.fit import fit, make_trainer
from groundup.training.groups import parameter_groups
from groundup.training.muon import MuonAdamW
from groundup.training.resume import saved_batches
from groundup.training.schedules import Constant, Linear, Schedule
from groundup.training.step_logger import OF_MACHINE, StepLogger

VOCABULARY, ROWS, LENGTH, BATCH = 17, 22, 6, 4
ORDER = f"{ROWS} rows, {BATCH} a batch"


class Rows(torch.utils.data.Dataset):
    """Random tokens; what replaces some of them is keyed by (epoch, row). Token 0 is padding."""

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        epoch, index = key
        tokens = np.random.default_rng([7, index]).integers(1, VOCABULARY, LENGTH + 1)
        rng = np.random.default_rng([9, epoch + 1, index])
        inputs = np.where(rng.random(LENGTH) < 0.1, 0, tokens[:-1])
        return {"input_ids": torch.as_tensor(inputs), "labels": torch.as_tensor(tokens[1:])}


class Stream:
    """Batch sampler: micro-batch k is a pure function of (seed, k, rank, world); ``__iter__`` may be called twice."""

    def __init__(self, total: int, start: int, seed: int, rank: int, world: int):
        self.total, self.start, self.seed, self.rank, self.world = total, start, seed, rank, world

    def __len__(self) -> int:
        return self.total

    def __iter__(self):
        for k in range(self.start, self.total):
            epoch, i = divmod(k * self.world + self.rank, ROWS // BATCH)
            order = np.random.default_rng([self.seed, epoch]).permutation(ROWS)
            yield [(epoch, int(j)) for j in order[i * BATCH : (i + 1) * BATCH]]


class StreamLoader(DataLoader):
    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class ToyData(LightningDataModule):
    def __init__(self, total: int, start: int = 0, seed: int = 3, num_workers: int = 0):
        super().__init__()
        self.total, self.start, self.seed, self.num_workers = total, start, seed, num_workers

    def train_dataloader(self) -> DataLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        stream = Stream(self.total, self.start, self.seed, rank, world)
        return StreamLoader(Rows(), batch_sampler=stream, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Rows(), batch_sampler=[[(-1, i) for i in range(ROWS)]])


class ToyTask(LightningModule):
    reports = (LOSS, Metric("accuracy", "max"))  # one more than it measures
    writes = None
    validation = None

    def __init__(self, optimizer: str = "adamw", lr: float = 0.02, schedule: type[Schedule] = Linear, width: int = 8):
        super().__init__()
        self.model = nn.Sequential(
            nn.Embedding(VOCABULARY, width), nn.Linear(width, width), nn.GELU(), nn.Dropout(0.2), nn.LayerNorm(width)
        )
        self.head = nn.Linear(width, VOCABULARY)
        self.optimizer, self.lr, self.schedule = optimizer, lr, schedule
        self.step_statistics: dict[str, torch.Tensor] = {}
        self.grad_norm: torch.Tensor | None = None
        self.trace: list[tuple] = []
        self.validated: list[tuple] = []
        self.score: float | None = None  # what validation reports instead of its loss

    def reset_statistics(self, sums: dict | None = None) -> None:
        self.step_statistics = {name: torch.as_tensor(value) for name, value in (sums or {}).items()}

    def count_tokens(self, batch: dict) -> int:
        return int((batch["input_ids"] != 0).sum())

    def count_positions(self, batch: dict) -> int:
        return batch["input_ids"].numel()

    def losses(self, batch: dict) -> torch.Tensor:
        logits = self.head(self.model(batch["input_ids"]))
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="none")

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        losses = self.losses(batch)
        seen, total, count = self.step_statistics, losses.detach().sum(), torch.tensor(losses.numel())
        self.step_statistics = {
            "loss": seen["loss"] + total if seen else total,
            "count": seen["count"] + count if seen else count,
        }
        digest = hashlib.md5(batch["input_ids"].numpy().tobytes()).hexdigest()[:8]
        self.trace.append((self.trainer.global_step, losses.mean().item().hex(), digest))
        return losses.mean()

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        loss = self.losses(batch).mean()
        self.validated.append((self.trainer.global_step, loss.item().hex()))
        self.log("validation/loss", loss if self.score is None else torch.tensor(self.score))

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        self.grad_norm = nn.utils.clip_grad_norm_(self.parameters(), 1.0)

    def configure_optimizers(self) -> dict:
        groups = parameter_groups(self, self.lr, weight_decay=0.1)
        if self.optimizer == "muon":
            optimizer = MuonAdamW(groups, lr=0.02, adamw_lr=self.lr)
        else:
            optimizer = torch.optim.AdamW(groups, lr=self.lr, fused=True)
        schedule = self.schedule(warmup=3)(optimizer, self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fingerprint(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


class Signal(Callback):
    """Sends this process a signal at optimizer step ``step``.

    ``when``: in the middle of the step (``backward``), right after it (``end``), or in the next ``validation``.
    """

    def __init__(self, step: int, number: int = signal.SIGKILL, when: str = "backward"):
        self.step, self.number, self.when, self.sent = step, number, when, False

    def _send(self, when: str, now: bool) -> None:
        if self.when == when and now and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)

    def on_after_backward(self, trainer, pl_module) -> None:
        self._send("backward", trainer.global_step == self.step)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._send("end", trainer.global_step == self.step)

    def on_validation_start(self, trainer, pl_module) -> None:
        self._send("validation", trainer.global_step >= self.step)


class Journal(Logger):
    """Rows appended to ``<run>/rows.jsonl``, on disk at once."""

    def __init__(self, run: Path):
        super().__init__()
        self.file = run / "rows.jsonl"

    name = version = None

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict, step: int | None = None) -> None:
        with open(self.file, "a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def rows(self) -> dict[tuple, dict]:
        """The newest row for each step and set of names; speeds left out."""
        rows = [json.loads(line) for line in self.file.read_text().splitlines()]
        plain = [{k: v for k, v in row.items() if k not in (*OF_MACHINE, "epoch")} for row in rows]
        return {(row["step"], *sorted(row)): row for row in plain}


def train(
    run: Path,
    steps: int = 24,
    accumulate: int = 1,
    workers: int = 0,
    optimizer: str = "adamw",
    schedule: type[Schedule] = Linear,
    lr: float = 0.02,
    every: int = 5,
    validate_every: int | None = 7,
    ema: bool = True,
    monitor: str | None = "validation/loss",
    more: tuple[Callback, ...] = (),
    resume: bool | Path = False,
    seed: int = 3,
    strategy: str = "auto",
    devices: int = 1,
    precision: Any = "32-true",
) -> tuple[ToyTask, Trainer]:
    """Trains the toy in ``run``, with everything that a real run has."""
    torch.manual_seed(SEED)
    run.mkdir(exist_ok=True)
    task = ToyTask(optimizer, lr, schedule)
    callbacks: dict[str, Callback | None] = {
        "ema": EMA(0.9) if ema else None,
        "step_logger": StepLogger(every=4),
        **{str(i): callback for i, callback in enumerate(more)},
    }
    places = {"accelerator": "cpu", "devices": devices, "strategy": strategy, "precision": precision}
    build = partial(Trainer, **places, accumulate_grad_batches=accumulate)
    checkpoints = Checkpoints(run / "checkpoints", monitor, every=every)
    trainer = make_trainer(build, ORDER, checkpoints, callbacks, [Journal(run)], steps, validate_every, seed)
    last = run / "checkpoints" / "last.ckpt" if resume is True else resume
    last = last if last and last.exists() else None
    start = saved_batches(last, accumulate) if last else 0
    fit(trainer, task, ToyData(steps * accumulate, start, num_workers=workers), last)
    return task, trainer


def in_child(function: Callable[[], Any]) -> int:
    """Exit code of a forked process that calls ``function``; negative = killed by that signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            function()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


__all__ = ["Constant", "Journal", "Linear", "Signal", "ToyData", "ToyTask", "fingerprint", "in_child", "train"]
