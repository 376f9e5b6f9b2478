"""What the model writes at each validation: the quickest look at what it has learned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from pydantic import Field

from groundup.decoding.sampling import Sampler
from groundup.ranges import Count
from groundup.system.files import write_text
from groundup.training.averaging import WeightAverage
from groundup.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)
_RULE = "\n" + "-" * 80 + "\n"
_KEPT = 50  # rows in a file and in a W&B table
_WIDTH = 150  # characters of a text on the terminal


class Samples(Callback):
    """Writes ``samples/step_N.txt`` at every validation: the continuation of each prompt by a causal model; source,
    reference and hypothesis of rows of the validation split by a task that answers to a source.

    The latter go to the terminal and to every logger with a ``log_table`` (W&B) too. Idle for tasks that do not write
    text, and for prompts under ``trainer=fsdp``. Training goes on exactly as it would without: prompts are continued
    with random generators of their own, and hypotheses are those that the validation has made anyway.

    Args:
        prompts: what the texts of a causal model start with.
        max_new_tokens: length of each continuation, tokens.
        temperature: of the draw; 0 is greedy.
        seed: of the first prompt, seed + 1 of the second; the same at each validation, so that texts can be compared.
        rows: sources shown on the terminal; the file and the table hold up to 50. Both are spread evenly over what was
            written, as data are often sorted by length, and are the same at each validation.
    """

    def __init__(
        self,
        prompts: list[str],
        max_new_tokens: Count = 80,
        temperature: Annotated[float, Field(ge=0)] = 0.8,
        seed: int = 0,
        rows: Annotated[int, Field(ge=0)] = 3,
    ) -> None:
        self.prompts = list(prompts)
        self.sampler = Sampler(temperature=temperature, top_p=0.95, max_new_tokens=max_new_tokens)
        self.seed = seed
        self.rows = rows

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or not trainer.is_global_zero:
            return
        rows = answered(pl_module)
        if rows:
            self._write(trainer, [as_text(row) for row in rows])
            self._show(trainer, rows)
        elif (
            pl_module.writes == "continuation" and pl_module.device_mesh is None
        ):  # one process alone has not all weights
            self._write(trainer, self._continuations(trainer, pl_module))

    def _continuations(self, trainer: Trainer, task: Any) -> list[str]:
        with WeightAverage.weights_for_use(trainer, task):
            return [
                prompt + "".join(task.continuation(prompt, self.sampler, seed=self.seed + number))
                for number, prompt in enumerate(self.prompts)
            ]

    def _write(self, trainer: Trainer, texts: Sequence[str]) -> None:
        (kept,) = (one for one in trainer.callbacks if isinstance(one, Checkpoints))  # type: ignore[attr-defined]
        file = kept.folder.parent / "samples" / f"step_{trainer.global_step:09d}.txt"
        write_text(file, _RULE.join(texts) + "\n")

    def _show(self, trainer: Trainer, rows: Sequence[dict[str, Any]]) -> None:
        for row in spread(rows, self.rows):
            log.info("%s", as_text(row, width=_WIDTH))
        columns = list(_columns(rows[0]))
        table = [list(_columns(row).values()) for row in rows]
        for logger in trainer.loggers:
            if hasattr(logger, "log_table"):
                logger.log_table(key="validation/samples", columns=columns, data=table, step=trainer.global_step)


def answered(task: Any) -> list[dict[str, Any]]:
    """Rows of the split last evaluated with what the task wrote for them; empty for other tasks."""
    rows = task.validation.predictions if task.writes == "answer" and task.validation else []
    return spread(rows, _KEPT)


def spread(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most ``most`` rows at even distances, the first among them."""
    return [rows[i * len(rows) // most] for i in range(most)] if len(rows) > most else list(rows)


def as_text(row: dict[str, Any], width: int | None = None) -> str:
    """Three lines: source, reference and hypothesis; each cut to ``width`` characters where that is given."""
    lines = []
    for name, text in _columns(row).items():
        text = " ".join(text.split())
        cut = width is not None and len(text) > width
        lines.append(f"{name:<10}  {text[:width]}{' …' if cut else ''}".rstrip())
    return "\n".join(lines)


def _columns(row: dict[str, Any]) -> dict[str, str]:
    return {"source": row["source"], "reference": row.get("target") or "", "hypothesis": row["hypothesis"]}
