"""Metrics of language models with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torchmetrics.text import Perplexity

from groundup.metrics.estimate import LOSS, Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, as_array, bootstrap
from groundup.metrics.paired import Judged, Statistic

ACCURACY = Metric("accuracy", "max", shown="table", also=("acc",))
PERPLEXITY = Metric("perplexity", "min", shown="table", also=("ppl",))
BITS_PER_BYTE = Metric("bits_per_byte", "min", shown="table", also=("bpb",))
LANGUAGE = (ACCURACY, PERPLEXITY, BITS_PER_BYTE, LOSS)
PER_TOKEN = (ACCURACY, PERPLEXITY, LOSS)
MISSING_PARTS = PER_TOKEN  # of a text; they are not the text, so its bytes say nothing of them
# Of a text given its source: it is judged by what is written, and the accuracy of texts is another thing.
CONDITIONAL = (Metric("token_accuracy", "max"), PERPLEXITY, replace(BITS_PER_BYTE, shown="curve"), LOSS)


class PerplexityOfSums(Perplexity):
    """torchmetrics' perplexity, fed with sums: the logits of a whole split are never held."""

    def update(self, nll_sums: torch.Tensor, token_counts: torch.Tensor) -> None:
        self.total_log_probs = self.total_log_probs + nll_sums.sum()
        self.count = self.count + token_counts.sum()


def language_metrics(
    nll_sums,
    token_counts,
    bytes_per_token: float | None = None,
    correct=None,
    metrics: Sequence[Metric] = LANGUAGE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Loss (nats a scored token), perplexity, and where possible bits per byte and accuracy.

    Args:
        nll_sums: (N,) negative log-likelihood summed over the scored tokens of each window, nats.
        token_counts: (N,) scored tokens of each window.
        bytes_per_token: UTF-8 bytes of the text a scored token stands for; makes bits per byte, which does not depend on the tokenizer.
        correct: (N,) scored tokens predicted right.
        metrics: what they are called and how they are shown: ``LANGUAGE``, or ``CONDITIONAL`` beside metrics of texts.

    ``n`` is the number of scored tokens. Intervals come from resampling windows, as tokens of a window are not independent.

    Raises:
        ValueError: no scored tokens, or lengths that differ.
    """
    nll, tokens = as_array(nll_sums), as_array(token_counts)
    scored = int(tokens.sum())
    if len(nll) != len(tokens) or scored == 0:
        raise ValueError(f"{len(nll)} sums and {len(tokens)} counts with {scored} scored tokens in all")
    loss = _ratio_estimate(nll, tokens, scored, seed, resamples)
    perplexity = _through(math.exp, loss)
    measured = PerplexityOfSums().set_dtype(torch.float64)
    measured.update(torch.from_numpy(nll), torch.from_numpy(tokens))
    bits = None if not bytes_per_token else _through(lambda nats: nats / math.log(2) / bytes_per_token, loss)
    accuracy = None if correct is None else _ratio_estimate(as_array(correct), tokens, scored, seed, resamples)
    perplexity = replace(perplexity, value=float(measured.compute()))
    return labelled(dict(zip(metrics, (accuracy, perplexity, bits, loss), strict=True)))


def _ratio_estimate(above: np.ndarray, below: np.ndarray, n: int, seed: int, resamples: int) -> Estimate:
    """sum(above) / sum(below) with the windows resampled; both (N,)."""
    estimate = bootstrap(_ratio(above, below), len(above), seed, resamples)
    return Estimate(estimate.value, estimate.low, estimate.high, n)


def _ratio(above: np.ndarray, below: np.ndarray) -> Statistic:
    """sum(above) / sum(below) of weighted rows; both (N,). NaN where nothing is below."""
    both = np.stack([above, below])

    def ratio(weights: np.ndarray) -> np.ndarray:
        top, bottom = both @ weights
        return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)

    return ratio


def judge_passages(rows: Sequence[Mapping]) -> Judged:
    """Figures of language models on passages of a text; a row is the better, the fewer nats it takes.

    Args:
        rows: as in ``predictions.jsonl``: ``nll``, nats of the ``scored`` tokens of a passage; how many of them are
            predicted ``correct``, where that is known; ``bytes`` of the passage in UTF-8, where all of it was scored.
    """
    nll, tokens = (np.array([row[key] for row in rows], dtype=float) for key in ("nll", "scored"))
    loss = _ratio(nll, tokens)
    statistics: dict[Metric, Statistic] = {PERPLEXITY: lambda weights: np.exp(loss(weights)), LOSS: loss}
    if all("correct" in row for row in rows):
        statistics[ACCURACY] = _ratio(np.array([row["correct"] for row in rows], dtype=float), tokens)
    if all("bytes" in row for row in rows):
        size = np.array([row["bytes"] for row in rows], dtype=float)
        statistics[BITS_PER_BYTE] = _ratio(nll / math.log(2), size)
        return Judged(-nll / np.maximum(size, 1), statistics)
    return Judged(-nll / np.maximum(tokens, 1), statistics)


def _through(function, estimate: Estimate) -> Estimate:
    """A rising function of an estimate: percentiles go through it unchanged."""

    def safe(value: float) -> float:
        try:
            return function(value)
        except OverflowError:
            return math.inf

    low, high = (None if end is None else safe(end) for end in (estimate.low, estimate.high))
    return Estimate(safe(estimate.value), low, high, estimate.n)
