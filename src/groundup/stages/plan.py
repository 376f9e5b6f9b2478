"""What a training would take: parameters, memory by part, operations, time. A few steps are made, and thrown away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.text_data import UNLABELLED
from groundup.stages.build import (
    build_data,
    build_optimization,
    build_task,
    check_model_fits,
    prepare_process,
    quiet_lightning,
    source_of,
)
from groundup.stages.inheritance import inherit, inherited_tokenizers, open_parents
from groundup.stages.self_training import mean_teacher
from groundup.stages.train import batches_of, count_steps
from groundup.system.hardware import memory_limit
from groundup.tasks.base import Task
from groundup.training.budget import measure_seconds_per_step
from groundup.training.fit import count_processes
from groundup.training.flops import flops_per_token
from groundup.training.groups import parameter_groups

TOKENS_PER_PARAMETER = 20  # of compute-optimal training (Hoffmann et al. 2022)
ALONE = {"devices": 1, "num_nodes": 1, "strategy": "auto"}  # one process of those that would train together
ADAM = 8  # bytes of two moments for each trained number: what is assumed where no step can be made
KINDS = {"embedding": "embeddings", "matrix": "matrices", "head": "output layer", "vector": "norms and biases"}


@dataclass(frozen=True)
class Memory:
    """Bytes of one process. ``activations``: what the forward pass keeps for the backward one; None: not measured."""

    weights: int
    gradients: int
    optimizer: int
    activations: int | None
    limit: int | None

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + (self.activations or 0)

    @property
    def fits(self) -> bool:
        return self.limit is None or self.total < self.limit


@dataclass(frozen=True)
class Plan:
    """``parameters``: kind -> numbers. ``flops``: of a step of all processes. ``seconds``: of a step; None: not measured."""

    model: str
    parameters: dict[str, int]
    tokens: float
    flops: float
    memory: Memory
    processes: int
    steps: int
    budget: str
    seconds: float | None

    def __str__(self) -> str:
        total = sum(self.parameters.values())
        kinds = ", ".join(f"{KINDS[kind]} {amount(count).strip()}" for kind, count in self.parameters.items())
        rows = {
            "model": f"{self.model}, {amount(total).strip()} parameters: {kinds}",
            "step": f"{self.tokens:,.0f} tokens, {amount(self.flops)}FLOP forward and backward",
            "memory": self._memory(),
        }
        if self.processes > 1:
            rows["processes"] = f"{self.processes}, measured in one; they share the cores of a CPU, not of a GPU"
        if self.seconds is not None:
            speed = f"{self.tokens / self.seconds:,.0f} tokens/s, {amount(self.flops / self.seconds)}FLOP/s"
            rows["speed"] = f"{self.seconds:.3g} s a step here: {speed}"
        rows["budget"] = self.budget + (f": {duration(self.steps * self.seconds)}" if self.seconds else "")
        best = TOKENS_PER_PARAMETER * total
        far = f", {duration(best / self.tokens * self.seconds)} at this speed" if self.seconds else ""
        rows["optimum"] = f"{amount(best)} tokens for so many parameters ({TOKENS_PER_PARAMETER} each){far}"
        return "\n".join(f"{name:<10} {said}" for name, said in rows.items())

    def _memory(self) -> str:
        parts = {name: getattr(self.memory, name) for name in ("weights", "gradients", "optimizer", "activations")}
        said = ", ".join(f"{name} {amount(count)}B" for name, count in parts.items() if count is not None)
        limit = "" if self.memory.limit is None else f" of {amount(self.memory.limit)}B"
        line = f"{said}: {amount(self.memory.total)}B{limit}"
        if self.memory.fits:
            return line
        less = (
            "Try size=small, or trainer=fsdp on several GPUs"
            if self.memory.activations is None
            else "Try half of batching.batch_size"
        )
        return f"{line}: it will not fit. {less}"


def plan(cfg: Config, overrides: tuple[str, ...]) -> Plan:
    """Prepares the data, builds the model, and makes some steps where its weights leave room for them.

    ``cfg``: of ``pretrain`` or ``finetune``; ``overrides``: what was typed after it.
    """
    quiet_lightning()
    processes = count_processes(partial(instantiate, cfg.trainer, "trainer"))
    prepare_process(cfg.threads, processes.here)
    parents = open_parents(cfg)
    inherit(cfg, parents, overrides)
    check_model_fits(cfg)
    data = build_data(cfg, source_of(cfg), *inherited_tokenizers(cfg, parents))
    data.prepare()
    if mean_teacher(cfg) is not None:
        data.examples(UNLABELLED)
    with torch.device("meta"):
        shapes = build_task(cfg, data.facts, data.target_tokenizer)
    groups = parameter_groups(shapes, lr=1.0)
    counts: dict[str, int] = {}
    for group in groups:
        counts[group["kind"]] = counts.get(group["kind"], 0) + sum(p.numel() for p in group["params"])
    weights = sum(p.numel() * p.element_size() for p in shapes.parameters())
    trained = sum(p.numel() for group in groups for p in group["params"])
    accelerator = str(cfg.trainer.get("accelerator"))
    limit = memory_limit(accelerator)
    memory = Memory(weights, 4 * trained, ADAM * trained, None, limit)
    seconds = None
    if memory.fits:
        memory, seconds = make_steps(cfg, data, memory)
    micro_batches = cfg.trainer.accumulate_grad_batches * processes.world
    tokens = data.tokens_per_batch * micro_batches
    steps, said = count_steps(cfg, data, processes.world, mean_teacher(cfg))
    flops = flops_per_token(shapes) * tokens
    return Plan(type(shapes.model).__name__, counts, tokens, flops, memory, processes.world, steps, said, seconds)


def make_steps(cfg: Config, data: Any, memory: Memory) -> tuple[Memory, float]:
    """Memory with what was measured, and seconds of an optimizer step of one process."""
    trial = build_task(cfg, data.facts, data.target_tokenizer, build_optimization(cfg, total_steps=10_000))
    batches = batches_of(cfg, data, trial, 1_000_000).train_dataloader()
    activations = kept_for_backward(trial, next(islice(batches, 1)))
    build = partial(instantiate, {**cfg.trainer, **ALONE}, "trainer")
    seconds = measure_seconds_per_step(trial, batches, build, mean_teacher(cfg))
    states = trial.trainer.optimizers[0].state.values()
    held = [value for state in states for value in state.values() if isinstance(value, Tensor)]
    optimizer = sum(value.numel() * value.element_size() for value in held)
    return Memory(memory.weights, memory.gradients, optimizer, activations, memory.limit), seconds


def kept_for_backward(task: Task, batch: dict[str, Any]) -> int:
    """Bytes that the forward pass of a micro-batch keeps, its weights not counted; each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in task.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    task.train()
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        task.loss(batch)
    return sum(kept.values())


def amount(number: float) -> str:
    """``1.27 M``: three digits, and the letter of their unit before a blank."""
    units = ["", "k", "M", "G", "T", "P"]
    while abs(number) >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.3g} {units[0]}"


def duration(seconds: float) -> str:
    """``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    return f"{days} days {hours} h" if days else f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
