"""Windows of text that are damaged on purpose, for an encoder-decoder to restore: one way of pretraining.

Batches are those of pairs: ``input_ids`` (B, S) = corrupted text ``<eos>``, ``decoder_input_ids`` (B, U) = ``<bos>``
target, ``labels`` (B, U) = target ``<eos>``, ``index`` (B,), and ``attention_mask`` (B, S) where something was padded.
What becomes of a window follows from its seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from torch import Tensor

from groundup.data.collate import pad
from groundup.data.facts import Facts
from groundup.data.seeding import uniform
from groundup.ranges import Rate
from groundup.text.tokenizer import Tokenizer

SENTENCE_ENDS = tuple(".!?。！？")
CLOSING = "\"'”’」』）)"  # may follow the mark that ends a sentence


class SpanCorruptionCollator:
    """Spans of a window become one ``<mask>`` each; the target is ``<mask> span <mask> span ..``, in their order.

    ``noise_density``: share of the tokens that is missing. ``mean_span_length``: tokens. A window of T tokens loses
    round(T * noise_density) of them in round(lost / mean_span_length) spans, at least one, so that windows of one length
    need no padding. All ways to place the spans are equally likely, as long as a token stands between any two (Raffel et
    al. begin each window with text and end it with a span). One ``<mask>`` serves for their numbered sentinels, since
    the order tells the spans apart. Source: Raffel et al. 2020.
    """

    def __init__(
        self,
        facts: Facts,
        noise_density: Annotated[float, Field(gt=0, lt=1)] = 0.15,
        mean_span_length: Annotated[float, Field(ge=1)] = 3.0,
    ) -> None:
        self.facts, self.noise_density, self.mean_span_length = facts, noise_density, mean_span_length

    def __call__(self, examples: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Tensor]:
        windows = [example["input_ids"] for example in examples]
        lengths = np.array([len(window) for window in windows])
        pairs: list[Any] = [None] * len(windows)
        for length in np.unique(lengths).tolist():  # mostly one: only the last window of a split is shorter
            rows = np.flatnonzero(lengths == length)
            tokens = np.stack([windows[row] for row in rows.tolist()])
            sources, targets = self.corrupt(tokens, np.array([seeds[row] for row in rows.tolist()]))
            for row, source, target in zip(rows.tolist(), sources, targets, strict=True):
                pairs[row] = (source, target)
        return batch_of(pairs, examples, self.facts)

    def corrupt(self, tokens: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows of one length (B, T) to what stays of them (B, S) and what the spans hold (B, U), each with its marks."""
        B, T = tokens.shape
        noise = max(1, min(round(T * self.noise_density), T - 1))
        spans = max(1, min(round(noise / self.mean_span_length), noise, T - noise + 1))
        numbers = uniform(seeds, 2 * T).reshape(
            B, T, 2
        )  # two a position: a longer window keeps the numbers of a shorter
        missing = _parts(numbers[:, : noise - 1, 0], noise, spans)
        # The text before the first span and after the last may be empty, unlike that between two.
        staying = _parts(numbers[:, : T - noise + 1, 1], T - noise + 2, spans + 1)
        staying[:, [0, -1]] -= 1
        begins = np.cumsum(staying[:, :-1] + np.pad(missing[:, :-1], ((0, 0), (1, 0))), axis=1)
        first, hidden = _marked(begins, T), _marked(begins, T) - _marked(begins + missing, T)
        hidden = np.cumsum(hidden, axis=1) > 0
        mask = self.facts.mask_id
        sources = np.where(first > 0, mask, tokens)[~hidden | (first > 0)].reshape(B, -1)
        targets = np.full((B, noise + spans), mask)
        places = np.arange(noise) + np.cumsum(first, axis=1)[hidden].reshape(B, noise)
        np.put_along_axis(targets, places, tokens[hidden].reshape(B, noise), axis=1)
        return sources, targets


class DenoisingCollator:
    """Noise of three kinds, to be undone: the target is the window as it was.

    ``permute_sentences``: in each document sentences change places; they end after ``sentence_end_ids``, what is left of
    one at either end of a window counts as one. ``mask_ratio``: share of the tokens that is missing, in spans whose
    lengths are Poisson numbers of mean ``poisson_lambda``; each span becomes one ``<mask>``, also an empty one, so that
    the model must tell how much is missing. ``deletion``: chance of each token that is left to be gone without a trace.
    Source: Lewis et al. 2020.
    """

    def __init__(
        self,
        facts: Facts,
        mask_ratio: Rate = 0.3,
        poisson_lambda: Annotated[float, Field(ge=1, le=100)] = 3.0,
        deletion: Rate = 0.0,
        permute_sentences: bool = True,
        sentence_end_ids: Sequence[int] = (),
    ) -> None:
        self.facts, self.mask_ratio, self.deletion = facts, mask_ratio, deletion
        self.permute_sentences = permute_sentences
        self.ends = np.zeros(facts.vocab_size, dtype=bool)
        self.ends[[facts.eos_id, *sentence_end_ids]] = True
        counts = np.arange(1, int(poisson_lambda + 12 * poisson_lambda**0.5) + 20)
        self.cumulative = np.cumsum(math.exp(-poisson_lambda) * np.cumprod([1.0, *(poisson_lambda / counts)]))

    def __call__(self, examples: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Tensor]:
        windows = [example["input_ids"] for example in examples]
        lengths = np.array([len(window) for window in windows])
        tokens = np.full((len(windows), lengths.max()), self.facts.pad_id, dtype=np.int64)
        for row, window in zip(tokens, windows, strict=True):
            row[: len(window)] = window
        # Four numbers a position, side by side: a longer neighbour in the batch does not change a row's numbers.
        size = tokens.shape[1] + 1
        numbers = np.moveaxis(uniform(np.array(seeds), 4 * size).reshape(len(windows), size, 4), 2, 0)
        if self.permute_sentences:
            tokens = self.permute(tokens, lengths, numbers[0])
        sources = self.infill(tokens, lengths, *numbers[1:])
        return batch_of(list(zip(sources, windows, strict=True)), examples, self.facts)

    def permute(self, tokens: np.ndarray, lengths: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Sentences (B, T) in another order; each stays in its document, whose ``<eos>`` stays at its end."""
        closing, ends = tokens == self.facts.eos_id, self.ends[tokens]
        document, sentence = np.cumsum(closing, axis=1) - closing, np.cumsum(ends, axis=1) - ends
        place = np.where(closing, 1.0, np.take_along_axis(numbers, sentence, axis=1))
        keys = np.where(np.arange(tokens.shape[1]) < lengths[:, None], 2 * document + place, np.inf)
        return np.take_along_axis(tokens, np.argsort(keys, axis=1, kind="stable"), axis=1)

    def infill(
        self, tokens: np.ndarray, lengths: np.ndarray, slots: np.ndarray, spans: np.ndarray, drops: np.ndarray
    ) -> list[np.ndarray]:
        """Windows (B, T) with a ``<mask>`` for each missing span; the three arrays of numbers are (B, T + 1)."""
        B, T = tokens.shape
        column = np.arange(T + 1)
        lose = np.rint(lengths * self.mask_ratio).astype(np.int64)[:, None]
        drawn = np.searchsorted(self.cumulative, spans)
        before = np.cumsum(drawn, axis=1) - drawn
        used = (before < lose) & (column <= lengths[:, None] - lose)  # the first spans, until as much is lost as asked
        size = np.where(used, np.minimum(drawn, lose - before), 0)
        left = lengths[:, None] - size.sum(axis=1, keepdims=True)  # tokens that are in no span
        # A span lies before one of these, or at the end: no two at one place, all places equally likely.
        order = np.argsort(np.where(column <= left, slots, 2.0), axis=1, kind="stable")
        marked, hole = np.zeros_like(used), np.zeros_like(size)
        np.put_along_axis(marked, order, used, axis=1)
        np.put_along_axis(hole, order, size, axis=1)
        kept = (column < left) & (drops >= self.deletion)
        totals = (kept.sum(axis=1) + used.sum(axis=1)).tolist()
        result = np.full((B, max(totals)), self.facts.mask_id, dtype=np.int64)
        row, token = np.nonzero(kept)
        places = np.cumsum(kept, axis=1) - kept + np.cumsum(marked, axis=1)
        result[row, places[row, token]] = tokens[row, token + np.cumsum(hole, axis=1)[row, token]]
        return [ids[:total] for ids, total in zip(result, totals, strict=True)]


def sentence_end_ids(tokenizer: Tokenizer) -> list[int]:
    """Tokens at which a sentence ends: spelled with one of ``. ! ? 。 ！ ？`` at their end, or before closing quotes."""
    spelled = ((token, tokenizer.decode([token])) for token in range(tokenizer.vocab_size))
    return [token for token, text in spelled if text.strip().rstrip(CLOSING).endswith(SENTENCE_ENDS)]


def batch_of(pairs: Sequence[tuple[Any, Any]], examples: Sequence[dict[str, Any]], facts: Facts) -> dict[str, Tensor]:
    """Sources and targets, both without special tokens at their ends, as a batch."""
    rows = []
    for (source, target), example in zip(pairs, examples, strict=True):
        whole = np.concatenate([[facts.bos_id], target, [facts.eos_id]])
        row = {"input_ids": np.append(source, facts.eos_id), "decoder_input_ids": whole[:-1], "labels": whole[1:]}
        rows.append({**row, "index": example["index"]})
    return pad(rows, facts.pad_id)


def _parts(numbers: np.ndarray, total: int, parts: int) -> np.ndarray:
    """``total`` cut into ``parts`` numbers of 1 or more (B, parts), by the ranks of ``numbers`` (B, total - 1)."""
    cuts = np.sort(np.argsort(numbers, axis=1, kind="stable")[:, : parts - 1] + 1, axis=1)
    return np.diff(cuts, axis=1, prepend=0, append=total)


def _marked(places: np.ndarray, size: int) -> np.ndarray:
    """How often each of the positions (B, size) is among ``places`` (B, n); a place may be ``size`` itself."""
    B = len(places)
    flat = (places + np.arange(B)[:, None] * (size + 1)).ravel()
    return np.bincount(flat, minlength=B * (size + 1)).reshape(B, size + 1)[:, :size]
