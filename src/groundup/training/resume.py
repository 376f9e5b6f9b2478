"""Exact resume: a run that was killed at any step ends in the same weights, bit for bit, as one that was not.

Three ideas. (1) Training is one endless stream: micro-batch k is a pure function of (seed, k, rank, world), so the
position is one number. (2) Random numbers are not stored but derived: each micro-batch is seeded by (seed, rank, k).
(3) Everything is saved at optimizer-step boundaries only, in files that are whole or absent.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.optim.lr_scheduler import LambdaLR

from groundup.data.seeding import mix, seed_step
from groundup.errors import UserError
from groundup.runs.checkpoints import LAST, PREVIOUS, load_checkpoint
from groundup.system.files import new_beside

log = logging.getLogger(__name__)


class ExactResume(Callback):
    """Counts micro-batches, seeds each one, and checks that a resumed run goes on with the same stream of data.

    Args:
        order: fingerprint of the data's order, compared with the checkpoint's.
        seed: of the run.

    Raises:
        UserError: the checkpoint was made with another seed, data or batching, or each step would have another number of batches.
    """

    def __init__(self, order: str, seed: int):
        self.order = order
        self.seed = seed
        self.batches = 0  # own counter: Lightning's batch_idx restarts in some resumes
        self._trainer: Trainer | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._trainer = trainer

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_step(mix(self.seed, trainer.global_rank, self.batches), pl_module.device)
        self._align_logger_step(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._align_logger_step(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += 1

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning's count of micro-batches, too, is that of the ranks there are now."""
        before = checkpoint["callbacks"][ExactResume.__name__]["accumulate"]
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts |= {name: count * trainer.accumulate_grad_batches // before for name, count in counts.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The rate of the next step is that of the schedule there is now, not the one that was saved."""
        for config in trainer.lr_scheduler_configs:
            schedule = config.scheduler
            if isinstance(schedule, LambdaLR):
                rates = [
                    base * f(schedule.last_epoch)
                    for base, f in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
                ]
                for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate
                schedule._last_lr = rates

    @staticmethod
    def _align_logger_step(trainer: Trainer) -> None:
        # Lightning logs a validation after step n under n - 1, and drifts by one when a finished run is extended
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches, "threads": torch.get_num_threads(), **self._stream()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        stream = self._stream()
        then, now = (one["accumulate"] * one["world"] for one in (state_dict, stream))
        if then != now:
            raise UserError(
                f"resuming would change the order of the data: {then} batches a step before, and {now} with accumulation "
                f"{stream['accumulate']} on {stream['world']} processes. {_processes(then, stream['world'])}"
            )
        changed = [
            f"{name} {state_dict.get(name)!s:.16} -> {stream[name]!s:.16}"
            for name in ("seed", "order")
            if state_dict.get(name) != stream[name]
        ]
        if changed:
            raise UserError(
                f"resuming would change the order of the data ({', '.join(changed)}). Resume with the saved "
                "config, or start a new run with init_from=RUN"
            )
        if state_dict["world"] != stream["world"]:
            log.warning(
                "resume: %d processes in the place of %d. Each step has the same rows; random numbers (dropout) are others",
                stream["world"],
                state_dict["world"],
            )
        if state_dict["threads"] != torch.get_num_threads():
            log.info("resume: %d CPU threads, as before (another number changes the last bits)", state_dict["threads"])
            torch.set_num_threads(state_dict["threads"])
        self.batches = state_dict["batches"] * stream["accumulate"] // state_dict["accumulate"]

    def _stream(self) -> dict[str, Any]:
        trainer = self._trainer
        if trainer is None:
            raise RuntimeError("ExactResume is used through Trainer(callbacks=...)")
        return {
            "seed": self.seed,
            "order": self.order,
            "accumulate": trainer.accumulate_grad_batches,
            "world": trainer.world_size,
        }


class AtomicIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent: written beside their place, flushed, renamed. Read as data, never as code.

    The ``last.ckpt`` that is replaced lives on as ``previous.ckpt``, so two are kept at any moment.

    Raises:
        UserError: the disk is full. What was there before stays as it was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = new_beside(path)
        try:
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST:
                _keep_previous(path)
            os.replace(temporary, path)
        except BaseException as error:
            free = _full_disk(error, path.parent)
            temporary.unlink(missing_ok=True)
            if free is None:
                raise
            raise UserError(
                f"disk full while saving {path} ({free:,} bytes free); the checkpoint before it is kept. Free some "
                f"space, then: groundup resume run={path.parent.parent}"
            ) from error
        _flush_folder(path.parent)

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> Any:
        # As data, whatever the caller or TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD says: a checkpoint may come from anyone
        return load_checkpoint(path, map_location or "cpu")


def saved_step(path: str | Path) -> int:
    """Optimizer steps done when a checkpoint was saved; its tensors are not read."""
    return load_checkpoint(path, mmap=True)["global_step"]


def saved_batches(path: str | Path, accumulate: int) -> int:
    """Micro-batches that each rank had seen when ``last.ckpt`` was saved, if each step had ``accumulate`` of them."""
    saved = load_checkpoint(path, mmap=True)["callbacks"][ExactResume.__name__]
    return saved["batches"] * accumulate // saved["accumulate"]


def _processes(batches: int, world: int) -> str:
    """How the same ``batches`` a step are had, on ``world`` processes if they can be shared."""
    if batches % world:
        return f"Try trainer.devices=1 trainer.accumulate_grad_batches={batches}"
    return f"Try trainer.accumulate_grad_batches={batches // world}"


def _keep_previous(last: Path) -> None:
    """last.ckpt -> previous.ckpt by a second name for the same file: there is no moment without a ``last.ckpt``."""
    if not last.exists():
        return
    previous = last.with_name(PREVIOUS)
    link = new_beside(previous)
    try:
        os.link(last, link)
    except OSError:  # a file system without hard links: a short moment with previous.ckpt only
        os.replace(last, previous)
    else:
        os.replace(link, previous)


def _full_disk(error: BaseException, folder: Path) -> int | None:
    """Free bytes if ``error`` comes from a full disk, else None. torch.save may hide the OSError in a RuntimeError."""
    if not isinstance(error, (OSError, RuntimeError)):
        return None
    free = shutil.disk_usage(folder).free  # measured while the half-written file is still there
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno in (errno.ENOSPC, errno.EDQUOT):
            return free
        chain = chain.__cause__ or chain.__context__
    hidden = isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error)
    return free if hidden and free < 1 << 20 else None


def _flush_folder(folder: Path) -> None:
    """A rename is safe against a power cut only once the folder itself is on disk."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
