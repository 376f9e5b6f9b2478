"""A language model that counts: n-grams of tokens with modified Kneser-Ney smoothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from groundup.baselines.baseline import Baseline, Texts
from groundup.data.packing import PackedText
from groundup.data.passages import Passages, running_texts
from groundup.data.text_data import TextData
from groundup.metrics.estimate import Results
from groundup.metrics.language import language_metrics

USUAL = (0.5, 1.0, 1.5)  # discounts where counts are too few to tell them (Heafield et al. 2013, KenLM's fallback)


class KneserNey(Baseline):
    """P(token | the ``order - 1`` tokens before it), interpolated with ever shorter contexts, the last of them being none.

    It is scored on the stream of tokens that a causal language model is scored on: each but the first, ``<eos>`` between
    documents too. Its context does not end where a window does.

    Source: Chen and Goodman 1998, "An empirical study of smoothing techniques for language modeling".
    """

    tasks = ("causal_lm",)

    def __init__(self, order: Annotated[int, Field(ge=1, le=32)] = 5) -> None:
        self.order = order
        self.name = "unigram frequencies" if order == 1 else f"Kneser-Ney {order}-grams"

    def simpler(self) -> Baseline | None:
        return KneserNey(order=1) if self.order > 1 else None

    def learn(self, data: Texts) -> Callable[[str], Results]:
        assert isinstance(data, TextData)  # what else has tokens?
        model = NGrams(stream(data, "train").encoded.ids, self.order, data.tokenizer.vocab_size)

        def results(split: str) -> Results:
            scored = stream(data, split)
            nll = -model.log_probabilities(scored.encoded.ids)[1:]
            sizes = scored.lengths(training=False)  # intervals resample windows, as those of a network do
            sums = np.add.reduceat(nll, np.cumsum(sizes) - sizes)
            passages = Passages.of(running_texts(data.source, split), data.tokenizer)
            unknown = scored.encoded.ids == data.tokenizer.unk_id
            rows = passages.rows(np.arange(1, scored.size), nll, unknown)  # of the first token nothing is said
            return Results(language_metrics(sums, sizes, bytes_per_token=scored.bytes_per_token), rows)

        return results


def stream(data: TextData, split: str) -> PackedText:
    examples = data.examples(split)
    assert isinstance(examples, PackedText)
    return examples


@dataclass(frozen=True)
class Level:
    """The n-grams of one length. Each is stored as two numbers: that of its context, an n-gram one shorter, and its last token.

    grams: (U,) int64, context x V + token, rising. discounted: (U,) their counts less a discount, not below 0.
    total, left: (contexts,) of each context the sum of its counts, and of its discounts.
    """

    grams: np.ndarray
    discounted: np.ndarray
    total: np.ndarray
    left: np.ndarray


class NGrams:
    """Interpolated modified Kneser-Ney smoothing over ``vocab_size`` tokens, learned from one stream ``ids`` (N,).

    The longest n-grams count as often as they occur; shorter ones by how many different tokens stand before them. A
    discount of D1, D2 or D3 is taken off counts of one, two, and three or more, and given to the shorter context:
    p(w | h) = (c(hw) - D) / c(h) + (sum of D) / c(h) x p(w | h without its first token); below one token it is 1 / V.
    """

    def __init__(self, ids: np.ndarray, order: int, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        tokens = ids.astype(np.int64)
        numbers = np.zeros(
            len(tokens), dtype=np.int64
        )  # of the (n-1)-gram that begins at each place; the empty one is 0
        found = []  # of each length: its n-grams, where each begins first, and which of them begins at each place
        for n in range(1, min(order, len(tokens)) + 1):
            keys = numbers[: len(tokens) - n + 1] * vocab_size + tokens[n - 1 :]
            grams, first, numbers = np.unique(keys, return_index=True, return_inverse=True)
            found.append((grams, first, numbers))
        self.levels = []
        shorter = 1
        for n, (grams, _, numbers) in enumerate(found, 1):
            occurrences = numbers if n == len(found) else numbers[found[n][1] + 1]  # or once for each longer n-gram
            counts = np.bincount(occurrences, minlength=len(grams))
            discounts = np.array([0.0, *discounts_of(counts)])[np.minimum(counts, 3)]
            contexts = grams // vocab_size
            total, left = (np.bincount(contexts, values, minlength=shorter) for values in (counts, discounts))
            self.levels.append(Level(grams, counts - discounts, total, left))
            shorter = len(grams)

    def log_probabilities(self, ids: np.ndarray) -> np.ndarray:
        """Of each token of a stream given those before it (N,), nats; the first ones have a shorter context."""
        tokens = ids.astype(np.int64)
        probability = np.full(len(tokens), 1 / self.vocab_size)
        context = np.zeros(len(tokens), dtype=np.int64)  # number of the context of each token; -1: never seen
        for level in self.levels:
            total, left = (np.append(values, 0.0)[context] for values in (level.total, level.left))
            keys = context * self.vocab_size + tokens
            place = np.searchsorted(level.grams, keys).clip(max=len(level.grams) - 1)
            place[level.grams[place] != keys] = -1
            known = total > 0
            own = np.append(level.discounted, 0.0)[place]
            probability[known] = (own[known] + left[known] * probability[known]) / total[known]
            context = np.concatenate([[-1], place[:-1]])
        return np.log(probability)


def discounts_of(counts: np.ndarray) -> tuple[float, float, float]:
    """The discounts D1, D2 and D3, from how many of the counts (U,) are 1, 2, 3 and 4; ``USUAL`` where they cannot be estimated."""
    n = np.bincount(counts, minlength=5)[:5].astype(float)
    if not n[1:].all():
        return USUAL
    share = n[1] / (n[1] + 2 * n[2])
    found = tuple(k - (k + 1) * share * n[k + 1] / n[k] for k in (1, 2, 3))
    return found if all(0 < one <= k for k, one in enumerate(found, 1)) else USUAL
