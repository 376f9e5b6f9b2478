"""Figures of training, collected at every step and logged at every n-th."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from groundup.metrics.estimate import Metric
from groundup.ranges import Count
from groundup.system.peaks import peak_flops
from groundup.training.flops import flops_per_token
from groundup.training.updates import Updates

KINDS = {
    "matrix": "hidden matrices",
    "embedding": "embeddings",
    "head": "output layer",
    "vector": "norms and biases",
}
FIGURES = (
    Metric("learning_rate", title="learning rate"),
    *(Metric(f"learning_rate/{kind}", title=words) for kind, words in KINDS.items()),
    Metric("grad_norm", title="norm of the gradient"),
    Metric("update_ratio", title="update / weight by level"),
    Metric("tokens_per_second", title="tokens a second"),
    Metric("tflops", title="TFLOP a second, forward and backward"),
    Metric("mfu", title="share of the GPU's peak"),
    Metric("padding_share", title="share of padding"),
    Metric("memory_gb", title="memory at its peak, GB"),
    Metric("tokens", title="tokens read"),
)
OF_MACHINE = ("train/tokens_per_second", "train/tflops", "train/mfu", "train/memory_gb")  # what no resume can repeat
SUMS = ("loss", "count", "real", "positions")


class StepLogger(Callback):
    """Every n optimizer steps: loss, learning rates, norm of the gradient, how far each level moved, speed, padding, memory and
    tokens seen so far.

    ``train/loss`` is the mean over all tokens scored since the last row, on all ranks. ``train/tokens_per_second``
    counts real tokens (no padding) and leaves out the time of validations. ``train/tflops`` are the operations that these
    tokens need (``flops.py``), of all ranks together, and ``train/mfu`` their share of what GPUs of a known kind can do
    (``system/peaks.py``; Chowdhery et al. 2022). An encoder-decoder has neither: its two halves read different tokens.
    ``self.log`` is not used: it costs 0.3 ms a
    metric and step. The partial sums are part of the checkpoint, so a resumed run logs the same rows (speed aside).

    Args:
        every: optimizer steps between two rows.
        updates: log how far a step moves each level, as a share of its weights. Every row copies them once.
    """

    def __init__(self, every: Count = 10, updates: bool = True):
        self.every, self.updates = every, updates
        self.clock = time.perf_counter
        self.tokens = 0  # real tokens since the run began
        self.latest: dict[str, float] = {}  # the newest row, for the progress bar
        self._real: int | Tensor = 0  # since the last row; a tensor stays on the device until then
        self._positions = 0
        self._seconds, self._mark = 0.0, 0.0
        self._rates: dict[str, float] = {}
        self._flops = 0.0  # of a token
        self._peak: float | None = None  # of all devices in a second, where that is known
        self._moved: Updates | None = None
        self._task: Any = None
        self._trainer: Trainer | None = None
        self._loaded: dict[str, float] | None = None
        self._carried = 0.0  # tokens of the current row that were read before a resume, in a time that is not known

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._task, self._trainer = pl_module, trainer

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = self.clock()
        self._seconds = 0.0
        self._moved = Updates(pl_module) if self.updates else None
        self._flops, self._peak = flops_per_token(pl_module), peak_of(trainer, pl_module.device)
        self._carried = self._loaded["real"] if self._loaded is not None else 0.0
        if self._loaded is not None and trainer.is_global_zero:  # the sums are of all ranks: one of them carries on
            self._real, self._positions = int(self._loaded["real"]), int(self._loaded["positions"])
            self._task.reset_statistics({name: self._loaded[name] for name in ("loss", "count")})
        self._loaded = None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if (trainer.global_step + 1) % self.every == 0:  # now, because the schedule moves on before the step is logged
            self._rates = learning_rates(optimizer)
            if self._moved is not None:
                self._moved.begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._real = self._real + self._task.count_tokens(batch)
        self._positions += self._task.count_positions(batch)
        if trainer.global_step % self.every or trainer.fit_loop.epoch_loop._should_accumulate():
            return
        sums = self._sums()
        self._seconds += self.clock() - self._mark
        seconds = max(self._seconds, 1e-9)
        self.tokens += int(sums["real"])
        speed = (sums["real"] - self._carried) / seconds
        row = {
            "train/loss": sums["loss"] / max(sums["count"], 1e-9),
            **self._rates,
            "train/tokens_per_second": speed,
            "train/padding_share": 1 - sums["real"] / max(sums["positions"], 1),
            "train/memory_gb": peak_memory(self._task.device) / 1e9,
            "tokens": self.tokens,
        }
        if "decoder_input_ids" not in batch:
            row["train/tflops"] = self._flops * speed / 1e12
            if self._peak is not None:
                row["train/mfu"] = self._flops * speed / self._peak
        if self._moved is not None:
            row |= {f"train/update_ratio/{level}": ratio for level, ratio in self._moved.ratios().items()}
        if self._task.grad_norm is not None:
            row["train/grad_norm"] = float(self._task.grad_norm)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)
        self.latest = row
        self._task.reset_statistics()
        self._real, self._positions, self._carried = 0, 0, 0.0
        self._seconds, self._mark = 0.0, self.clock()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._seconds += self.clock() - self._mark

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = self.clock()

    def state_dict(self) -> dict[str, Any]:
        return {"tokens": self.tokens, **self._sums()}  # called on all ranks, so the sums may be reduced

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tokens = state_dict["tokens"]
        self._loaded = {name: state_dict[name] for name in SUMS}

    def _sums(self) -> dict[str, float]:
        """Since the last row, over all ranks. Python floats hold float32 and counts exactly."""
        statistics = self._task.step_statistics
        local = [statistics.get("loss", 0.0), statistics.get("count", 0.0), self._real, self._positions]
        trainer = self._trainer
        if trainer is not None and trainer.world_size > 1:
            device = self._task.device
            together = torch.stack([torch.as_tensor(value, device=device, dtype=torch.float32) for value in local])
            local = trainer.strategy.reduce(together, reduce_op="sum").tolist()
        return {name: float(value) for name, value in zip(SUMS, local, strict=True)}


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's memory that tensors had at most, on a CPU of this process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def peak_of(trainer: Trainer, device: torch.device) -> float | None:
    """FLOP/s of all devices of a training; None on a CPU, and where the kind of GPU is not known."""
    if torch.device(device).type != "cuda":
        return None
    tf32 = torch.get_float32_matmul_precision() != "highest"
    peak = peak_flops(torch.cuda.get_device_name(device), str(trainer.precision), tf32)
    return None if peak is None else peak * trainer.world_size


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """``train/learning_rate`` is the highest; one value a kind is added where kinds have different base rates."""
    groups = [group for group in optimizer.param_groups if group["params"]]
    rates = {"train/learning_rate": max(float(group["lr"]) for group in groups)}
    base: dict[str, float] = {}
    now: dict[str, float] = {}
    for group in groups:
        kind = group.get("kind", "all")
        base[kind] = max(base.get(kind, 0.0), float(group.get("initial_lr", group["lr"])))
        now[kind] = max(now.get(kind, 0.0), float(group["lr"]))
    if len(set(base.values())) > 1:
        rates |= {f"train/learning_rate/{kind}": rate for kind, rate in now.items()}
    return rates
