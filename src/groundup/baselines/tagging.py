"""Classical taggers, which take seconds: the most frequent tag of each word, and a hidden Markov model."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from groundup.baselines.baseline import Baseline, Texts
from groundup.data.roles import Row
from groundup.metrics.estimate import Results
from groundup.metrics.sections import Section
from groundup.metrics.tagging import tagging_metrics, tagging_sections
from groundup.text.schemes import Scheme, SchemeChoice, chosen_scheme, forbidden

_RARE = 10  # a word seen as often at most is like one that was never seen
_LEFT, _RIGHT = slice(None, -1), slice(1, None)
_SUFFIX = 5  # characters of a word's end that tell its tag


class Tagger(Baseline):
    """A way to learn tags. ``scheme``: as for ``Tagging``; how tags spell entities, which are scored then."""

    tasks = ("tagging",)
    quick = True

    def __init__(self, scheme: SchemeChoice = "auto") -> None:
        self.scheme = scheme

    @abstractmethod
    def tagger(self, train: Sequence[Row], scheme: Scheme | None) -> Callable[[Sequence[str]], list[str]]:
        """Learns from rows with ``tokens`` and ``tags``. Returns a function from words to their tags."""

    def learn(self, data: Texts) -> Callable[[str], Results]:
        train = data.texts("train")
        scheme = self.scheme_of(train)
        tags = self.tagger(train, scheme)

        def results(split: str) -> Results:
            rows = data.texts(split)
            said = [tags(row["tokens"]) for row in rows]
            told = [{"index": index, "predicted": one} for index, one in enumerate(said)]
            return Results(tagging_metrics([row["tags"] for row in rows], said, scheme), told)

        return results

    def sections(self, rows: list[dict[str, Any]], data: Texts, split: str) -> list[Section]:
        train = data.texts("train")
        return tagging_sections(rows, self.scheme_of(train), train)

    def scheme_of(self, rows: Sequence[Row]) -> Scheme | None:
        return chosen_scheme(self.scheme, Counter(tag for row in rows for tag in row["tags"]))


class MostFrequentTag(Tagger):
    """Of each word the tag that it has most often; of one that was never seen, that of all words."""

    name = "most frequent tag"

    def tagger(self, train: Sequence[Row], scheme: Scheme | None) -> Callable[[Sequence[str]], list[str]]:
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in train:
            for word, tag in zip(row["tokens"], row["tags"], strict=True):
                counts[word][tag] += 1
        common = Counter(tag for row in train for tag in row["tags"]).most_common(1)[0][0]
        best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        return lambda words: [best.get(word, common) for word in words]


class HiddenMarkovTagger(Tagger):
    """The likeliest tags of a sentence, by a ``HiddenMarkov`` model."""

    name = "hidden Markov model"

    def tagger(self, train: Sequence[Row], scheme: Scheme | None) -> Callable[[Sequence[str]], list[str]]:
        return HiddenMarkov(train, scheme).tags

    def simpler(self) -> Baseline | None:
        return MostFrequentTag(self.scheme)


class HiddenMarkov:
    """Tags follow each other (bigrams), and each emits its word; rules of a ``scheme`` of entities hold.

    Counts are smoothed by the next simpler model, with as much weight as they have different outcomes (Witten and Bell
    1991): a tag by the one before it, then by itself; the tag of a word by the word, then by shape and ever shorter ends of
    it, learned from rare words. Source: Brants 2000 (TnT), with bigrams.
    """

    def __init__(self, train: Sequence[Row], scheme: Scheme | None = None) -> None:
        self.names = sorted({tag for row in train for tag in row["tags"]})
        C = len(self.names)
        number = {tag: place for place, tag in enumerate(self.names)}
        self._words: dict[str, int] = {}
        words = [self._words.setdefault(word, len(self._words)) for row in train for word in row["tokens"]]
        sequences = [
            [C, *(number[tag] for tag in row["tags"]), C] for row in train
        ]  # C: where a sentence begins and ends
        tags = np.array([tag for sequence in sequences for tag in sequence[1:-1]], dtype=np.int64)
        self._seen = _counted(np.array(words, dtype=np.int64), tags, len(self._words), C)
        before, after = (
            np.array([tag for sequence in sequences for tag in sequence[part]]) for part in (_LEFT, _RIGHT)
        )
        pairs = _counted(before, after, C + 1, C + 1)
        self._prior = self._seen.sum(0) / len(tags)
        self._log_prior = np.log(self._prior)
        follow = np.log(_smoothed(pairs, (pairs.sum(0) + 1) / (pairs.sum() + C + 1)))
        if scheme is not None:
            start, matrix, end = forbidden(scheme, self.names)
            follow[C, :C][start], follow[:C, :C][matrix], follow[:C, C][end] = (-1e4,) * 3
        self.start, self.transitions, self.end = follow[C, :C], follow[:C, :C], follow[:C, C]
        self._endings: dict[Hashable, np.ndarray] = {}
        for word, place in self._words.items():
            for ending in endings(word) if self._seen[place].sum() <= _RARE else ():
                if ending in self._endings:
                    self._endings[ending] += self._seen[place]
                else:
                    self._endings[ending] = self._seen[place].copy()
        self._known: dict[str, np.ndarray] = {}

    def emission(self, word: str) -> np.ndarray:
        """``log p(tag | word) - log p(tag)`` (C,): up to a constant, how likely each tag is to emit the word."""
        if word not in self._known:
            share = self._prior
            for ending in endings(word):
                if ending in self._endings:
                    share = _smoothed(self._endings[ending], share)
            if word in self._words:
                share = _smoothed(self._seen[self._words[word]], share)
            self._known[word] = np.log(share) - self._log_prior
        return self._known[word]

    def tags(self, words: Sequence[str]) -> list[str]:
        """The likeliest tags of a sentence (Viterbi 1967)."""
        if not words:
            return []
        score, pointers = self.start + self.emission(words[0]), []
        for word in words[1:]:
            ways = score[:, None] + self.transitions
            pointers.append(ways.argmax(0))
            score = ways.max(0) + self.emission(word)
        path = [int((score + self.end).argmax())]
        for pointer in reversed(pointers):
            path.append(int(pointer[path[-1]]))
        return [self.names[place] for place in reversed(path)]


def endings(word: str) -> Iterator[Hashable]:
    """The shape of a word, then with ever longer ends of it: ``Xx``, then ``Xx`` and ``s``, ``ks``, ..."""
    kinds = ("d" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in word)
    shape = "".join(kind for kind, _ in groupby(kinds))[:6]
    yield shape
    for length in range(1, min(_SUFFIX, len(word)) + 1):
        yield shape, word[-length:].lower()


def _counted(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """How often each row meets each column, (height, width)."""
    return np.bincount(rows * width + columns, minlength=height * width).reshape(height, width).astype(float)


def _smoothed(counts: np.ndarray, simpler: np.ndarray) -> np.ndarray:
    """Shares of counts (..., C), with those of a simpler model (C,) as much as there are different outcomes."""
    kinds = np.maximum((counts > 0).sum(-1, keepdims=True), 1)
    return (counts + kinds * simpler) / (counts.sum(-1, keepdims=True) + kinds)
