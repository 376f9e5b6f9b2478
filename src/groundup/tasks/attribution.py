"""Which tokens an answer comes from: integrated gradients, and what changes when a token is hidden.

Both compare the text with itself under ``<mask>`` tokens. The gradients are taken with respect to what the model's
``embedding`` gives, along the straight line between both; a library for this (captum) would be forty lines of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.metrics.sections import Highlights, Section
from groundup.tasks.attention_maps import spelled
from groundup.text.tokenizer import Tokenizer

Batch = dict[str, Tensor]
Score = Callable[[Batch], Tensor]  # a batch of B examples -> how much speaks for one fixed answer (B,)
POINTS, MOST_POINTS = 32, 512  # at which gradients are taken; doubled until they add up
TOLERANCE = 0.02  # share of the difference of scores that may be missing
_AT_ONCE, _TOKENS = 16, 4096  # copies of an example in a batch, and tokens, at most


def integrated_gradients(embedding: nn.Embedding, score: Score, batch: Batch, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """How much each token adds to the score, and the difference of scores that they add up to, but for ``TOLERANCE``.

    Args:
        embedding: of the model that ``score`` asks.
        batch: one example; ``input_ids`` (R, T), R being 1, or 2 for a pair that is read apart.
        hidden: (R, T) the ids of the text that says nothing.

    Returns:
        (R, T) and (): the score of the text minus that of ``hidden``.

    Source: Sundararajan et al. 2017, "Axiomatic attribution for deep networks".
    """
    with torch.no_grad():
        start, end = embedding(hidden), embedding(batch["input_ids"])  # (R, T, E)
        ends = torch.stack([start, end], dim=1).flatten(0, 1)
        with reading(embedding, ends):
            low, high = score(copies(batch, 2))
    points, size = POINTS, _at_once(hidden)
    while True:
        gradient = torch.zeros_like(start)
        nodes, weights = np.polynomial.legendre.leggauss(points)
        for first in range(0, points, size):
            share = torch.from_numpy((nodes[first : first + size] + 1) / 2).to(start)
            weight = torch.from_numpy(weights[first : first + size] / 2).to(start)
            between = torch.lerp(start[:, None], end[:, None], share[None, :, None, None]).requires_grad_()
            # cuDNN's recurrent layers give no gradients outside of training.
            with (
                torch.enable_grad(),
                torch.backends.cudnn.flags(enabled=False),
                reading(embedding, between.flatten(0, 1)),
            ):
                total = (score(copies(batch, len(share))) * weight).sum()
            gradient += torch.autograd.grad(total, between)[0].sum(dim=1)
        found = (gradient * (end - start)).sum(-1)
        if points >= MOST_POINTS or abs(found.sum() - (high - low)) <= TOLERANCE * abs(high - low):
            return found, high - low
        points *= 2


@torch.no_grad()
def occlusion(score: Score, batch: Batch, hidden: Tensor) -> Tensor:
    """What the score loses when a token alone is hidden (R, T); 0 where ``hidden`` is the token itself."""
    ids = batch["input_ids"]
    places = (hidden != ids).nonzero()
    whole, found = score(batch)[0], torch.zeros(ids.shape, device=ids.device)
    for part in places.split(_at_once(ids)) if len(places) else ():  # nothing of an empty text can be hidden
        changed = copies(batch, len(part))
        rows = changed["input_ids"].view(len(ids), len(part), -1)
        for copy, (row, place) in enumerate(part.tolist()):
            rows[row, copy, place] = hidden[row, place]
        found[part[:, 0], part[:, 1]] = whole - score(changed)
    return found


def _at_once(ids: Tensor) -> int:
    """How many copies of an example are read together: gradients of a long text take much memory."""
    return max(1, min(_AT_ONCE, _TOKENS // max(ids.numel(), 1)))


def copies(batch: Batch, count: int) -> Batch:
    """An example ``count`` times; the rows of a pair stay in two blocks."""
    return {name: values.repeat_interleave(count, 0) for name, values in batch.items()}


@contextmanager
def reading(embedding: nn.Embedding, vectors: Tensor) -> Iterator[None]:
    """While the block runs, the model reads ``vectors`` (B, T, D) instead of what its embedding gives."""
    handle = embedding.register_forward_hook(lambda *_: vectors)
    try:
        yield
    finally:
        handle.remove()


def explanations(task: Any, data: TextData, split: str, rows: Sequence[Mapping[str, Any]], count: int) -> list[Section]:
    """Coloured texts of ``count`` rows, half of them the worst mistakes, half the surest that are right.

    ``task``: a Task with ``answer_score``.
    """
    if not any("index" in row for row in rows):
        raise UserError(
            f"explain={count} is for tasks that answer each row, not for {type(task).__name__}. Try explain=0"
        )
    quality = task.judge(rows).quality
    sure = np.array([row.get("probability") or 0.0 for row in rows])
    worst, best = np.lexsort((-sure, quality)), np.lexsort((-sure, -quality))
    chosen = list(dict.fromkeys([*worst[: -(-count // 2)].tolist(), *best.tolist()]))[:count]
    texts = data.texts(split)
    loader, _ = data.rows_loader([texts[rows[place]["index"]] for place in chosen], task.collator(), batch_size=1)
    told: dict[int, list[Highlights]] = {}
    for batch in loader:
        batch = {name: values.to(task.device) for name, values in batch.items()}
        place = int(batch["index"][0])
        told[place] = explained(task, batch, data, str(rows[chosen[place]].get(task.columns[-1])))
    note = (
        "Blue speaks for the answer, orange against it; the darker, the more. Integrated gradients share out the difference of "
        "scores between the text and one of <mask> tokens; occlusion hides one token at a time."
    )
    return [Section("What answers come from", note, [part for place in sorted(told) for part in told[place]])]


def explained(task: Any, batch: Batch, data: TextData, right: str) -> list[Highlights]:
    """Both ways for one example; ``right``: the true answer."""
    found = Explained(task, batch, data.tokenizer)
    weights, difference = found.by_gradients()
    sums = f"integrated gradients: they add up to {sum(weights):+.3f} of {difference:+.3f}"
    return [
        Highlights(f"{found.answer} (true: {right})", sums, found.tokens, weights),
        Highlights("", "occlusion", found.tokens, found.by_occlusion()),
    ]


class Explained:
    """The ``answer`` to a batch of one example, and the ``tokens`` of its text, which have a weight each in every way below.

    ``task``: a Task with ``answer_score``. ``watch`` is called before each batch that the model reads; what it raises ends the
    work.
    """

    def __init__(self, task: Any, batch: Batch, tokenizer: Tokenizer, watch: Callable[[], None] | None = None) -> None:
        self.answer, score = task.answer_score(batch)

        def watched(batch: Batch) -> Tensor:
            if watch is not None:
                watch()
            return score(batch)

        facts, ids = task.facts, batch["input_ids"]
        marks = torch.tensor([facts.pad_id, facts.cls_id, facts.sep_id, facts.bos_id, facts.eos_id]).to(ids)
        kept = torch.isin(ids, marks)
        self._embedding, self._score, self._batch = task.model.embedding, watched, batch
        self._hidden, self._shown = torch.where(kept, ids, facts.mask_id), (~kept).flatten()
        self.tokens = [spelled(tokenizer, token) for token in ids.flatten()[self._shown].tolist()]

    def by_gradients(self) -> tuple[list[float], float]:
        """See ``integrated_gradients``."""
        added, difference = integrated_gradients(self._embedding, self._score, self._batch, self._hidden)
        return self._listed(added), float(difference)

    def by_occlusion(self) -> list[float]:
        """See ``occlusion``."""
        return self._listed(occlusion(self._score, self._batch, self._hidden))

    def _listed(self, weights: Tensor) -> list[float]:
        return [round(weight, 5) for weight in weights.flatten()[self._shown].tolist()]
