"""Learning the pieces of a unigram language model, with the same result each time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import tokenizers
from tokenizers import models

_SEEDS = 4  # candidates to start from, as a multiple of the final number
_KEEP = 0.7  # share of the candidates that survives a round
_LONGEST = 16  # characters of a piece
_UNK_ID = 1


def learn_pieces(
    words: Counter[str], specials: Sequence[str], letters: Sequence[str], size: int, min_count: int
) -> list[tuple[str, float]]:
    """Pieces and their log-probabilities, specials first, then the likeliest; at most ``size`` of them.

    words: how often each stretch of text occurs; pieces never cross their ends. letters: single characters that stay
    whatever happens. Candidates are frequent substrings. In each round every word is cut into its likeliest pieces,
    the pieces' counts give new probabilities, and those whose loss would cost the least likelihood go. The counts are
    of the best cut only (hard EM), so they are whole numbers and their sum does not depend on the order of addition.
    Source: Kudo 2018, https://arxiv.org/abs/1804.10959
    """
    letters = list(letters)[: size - len(specials)]
    wanted = size - len(specials) - len(letters)
    counts = _candidates(words, _SEEDS * wanted, max(2, min_count))
    counts.update(dict.fromkeys(letters, 1))
    if not counts:
        return [(name, 0.0) for name in specials]
    scores = _log_probabilities(counts)
    while True:
        counts = _cut(words, specials, scores)
        scores = _log_probabilities(
            {piece: max(1, counts[piece]) for piece in scores if counts[piece] or len(piece) == 1}
        )
        longer = [piece for piece in scores if len(piece) > 1]
        if len(longer) <= wanted:
            return [(name, 0.0) for name in specials] + sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
        loss = {piece: counts[piece] * (scores[piece] - _without(piece, scores)) for piece in longer}
        kept = sorted(longer, key=lambda piece: (-loss[piece], piece))[: max(wanted, int(_KEEP * len(longer)))]
        scores = {piece: scores[piece] for piece in [*letters, *kept]}


def _candidates(words: Counter[str], number: int, min_count: int) -> Counter[str]:
    """Frequent substrings, by the characters they cover. Longer ones are tried only where both halves are frequent."""
    frequent: Counter[str] = Counter()
    level: Counter[str] | None = None
    for length in range(2, _LONGEST + 1):
        found: Counter[str] = Counter()
        for word, count in words.items():
            for start in range(len(word) - length + 1):
                piece = word[start : start + length]
                if level is None or (piece[:-1] in level and piece[1:] in level):
                    found[piece] += count
        level = Counter({piece: count for piece, count in found.items() if count >= min_count})
        if not level:
            break
        frequent.update(level)
    best = sorted(frequent, key=lambda piece: (-frequent[piece] * len(piece), piece))[:number]
    return Counter({piece: frequent[piece] for piece in best})


def _cut(words: Counter[str], specials: Sequence[str], scores: dict[str, float]) -> Counter[str]:
    """How often each piece is used when every word is cut into its likeliest pieces."""
    vocabulary = [*((name, 0.0) for name in specials), *sorted(scores.items())]
    backend = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=_UNK_ID))
    counts: Counter[str] = Counter()
    pairs = list(words.items())
    for start in range(0, len(pairs), 4096):  # an encoding of every word at once would be large
        chunk = pairs[start : start + 4096]
        for (_, count), encoding in zip(chunk, backend.encode_batch_fast([word for word, _ in chunk]), strict=True):
            for token in encoding.ids:
                counts[vocabulary[token][0]] += count
    return counts


def _log_probabilities(counts: dict[str, int]) -> dict[str, float]:
    total = math.log(sum(counts.values()))
    return {piece: math.log(count) - total for piece, count in counts.items()}


def _without(piece: str, scores: dict[str, float]) -> float:
    """The likeliest way to write a piece if it were gone: in two known parts, or letter by letter."""
    floor = -30.0  # of a letter that is not in the vocabulary
    best = sum(scores.get(letter, floor) for letter in piece)
    for cut in range(1, len(piece)):
        left, right = scores.get(piece[:cut]), scores.get(piece[cut:])
        if left is not None and right is not None:
            best = max(best, left + right)
    return best
