"""What the answer to one row comes from: tokens that speak for it, or where the model looked in its source while it wrote."""

from __future__ import annotations

import time
from typing import Any, Literal

from groundup.data.roles import Row
from groundup.data.seeding import mix
from groundup.serving.request_error import RequestError
from groundup.stages.answering import Answering
from groundup.stages.network import NetworkRun
from groundup.tasks.attention_maps import attention_map
from groundup.tasks.attribution import Explained
from groundup.tasks.base import Task
from groundup.tasks.sequence_to_sequence import SequenceToSequence

Kind = Literal["tokens", "attention"]
SECONDS = 10.0  # of work at most: all others wait meanwhile


def kind_of(run: Answering) -> Kind | None:
    """What a run can tell besides its answers."""
    if not isinstance(run, NetworkRun):
        return None
    if isinstance(run.task, SequenceToSequence):
        return "attention" if run.task.paired else None
    return "tokens" if type(run.task).answer_score is not Task.answer_score else None


def explained(run: NetworkRun, row: Row, accelerator: str, seed: int) -> dict[str, Any]:
    """The answer of ``answer`` to a row, and an ``explanation``, None where there is nothing to tell.

    Of ``tokens``: their ``weights`` for the ``answer``, in integrated gradients, which add up to ``difference``, the score of the
    text minus that of one without words. Of ``attention``: ``source``, ``target`` and ``weights`` (target x source).
    Raises RequestError where it would take too long.
    """
    (answer,) = run.answer([row], 1, accelerator, seed)
    if answer["status"] == "empty":
        return {**answer, "explanation": None}
    task, until = run.task, time.monotonic() + SECONDS
    (batch,) = run.data.rows_loader([run.row(row)], task.collator(), batch_size=1)[0]
    batch = {name: values.to(task.device) for name, values in batch.items()}
    if isinstance(task, SequenceToSequence):  # as it has written for the answer
        return {**answer, "explanation": attention_map(task, run.data, batch, [mix(seed, 0) % 2**62])}

    def watch() -> None:
        if time.monotonic() > until:
            raise RequestError(503, f"not explained within {SECONDS:g} seconds: ask for a shorter text")

    found = Explained(task, batch, run.tokenizer, watch)
    weights, difference = found.by_gradients()
    about = {"answer": found.answer, "tokens": found.tokens, "weights": weights, "difference": round(difference, 5)}
    return {**answer, "explanation": about}
