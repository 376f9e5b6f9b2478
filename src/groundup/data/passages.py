"""A split's text in passages that no tokenizer decides: the rows on which language models are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundup.data.encoding import text_roles
from groundup.data.rows import running_text
from groundup.data.sources.source import Source
from groundup.text.pieces import cut
from groundup.text.tokenizer import Tokenizer

DOCUMENTS = 50  # from so many on each is a passage; fewer are cut
PART = 1000  # characters of a passage of few documents
_AT_ONCE = 16  # pieces tokenized together


@dataclass(frozen=True)
class Passages:
    """The texts of a split one after another, as ``PackedText`` has them.

    Attributes: ``texts``, what each passage says; ``bytes`` (P,), of it in UTF-8; ``of_token`` (N,), the passage of each
    token of the stream, which never falls. A token is of the passage in which it begins, ``<eos>`` of the one it closes.
    """

    texts: list[str]
    bytes: np.ndarray
    of_token: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str], tokenizer: Tokenizer) -> Passages:
        """Each document, or parts of ``PART`` characters where there are fewer than ``DOCUMENTS``; empty ones are none."""
        documents = [text for text in texts if text]
        size = PART if len(documents) < DOCUMENTS else max(map(len, documents))
        said: list[str] = []
        numbers: list[np.ndarray] = []
        for text in documents:
            first = len(said)
            said += [text[start : start + size] for start in range(0, len(text), size)]
            found = first + token_starts(text, tokenizer) // size
            if len(found):  # a text without a token is not closed either
                numbers.append(np.append(found.clip(max=len(said) - 1), len(said) - 1))
        if len(numbers) == 1:  # nothing to separate an only document from
            numbers = [numbers[0][:-1]]
        sizes = np.array([len(text.encode("utf-8", errors="replace")) for text in said], dtype=np.int64)
        return cls(said, sizes, np.concatenate([np.zeros(0, np.int64), *numbers]))

    def rows(
        self,
        places: np.ndarray,
        nats: np.ndarray,
        unknown: np.ndarray,
        correct: np.ndarray | None = None,
        by_bytes: bool = True,
    ) -> list[dict[str, Any]]:
        """What each passage costs, as ``predictions.jsonl`` has it; those that were not read to their end are left out.

        Args:
            places: (n,) or (windows, T), of the stream, which were read. Its first and last token are never missed.
            nats: of the tokens at these places; NaN: not scored. correct: whether they were predicted right.
            unknown: (N,) which tokens of the stream are <unk>.
            by_bytes: all tokens are scored, so that bits per byte mean something.
        """
        missed = np.ones(len(self.of_token), dtype=bool)
        missed[places[places < len(missed)]] = missed[[0, -1]] = False
        scored = ~np.isnan(nats)
        of = self.of_token[places[scored]]
        sums = {"nll": self._sums(of, nats[scored]), "scored": self._sums(of)}
        sums |= {} if correct is None else {"correct": self._sums(of, correct[scored])}
        strange = self._sums(self.of_token[unknown])
        rows = []
        for place in np.flatnonzero(self._sums(self.of_token[missed]) == 0).tolist():
            told = {name: float(values[place]) for name, values in sums.items()}
            size = int(self.bytes[place])
            shown = {"bits_per_byte": told["nll"] / math.log(2) / size, "bytes": size}
            row = shown if by_bytes else {"loss": told["nll"] / max(told["scored"], 1)}
            row |= told | ({"unknown": int(strange[place])} if strange[place] else {})
            rows.append({"text": self.texts[place], **row})
        return rows

    def _sums(self, passages: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(passages, values, minlength=len(self.texts))


def running_texts(source: Source, split: str) -> Iterator[str]:
    """The texts of a split in the order of ``PackedText``; of pairs, each side is one."""
    roles = text_roles(source)
    for number, row in enumerate(source.rows(split)):
        if number == 0 and row.get(roles[-1]) is None:
            roles = roles[:1]
        yield from (running_text(row.get(role)) for role in roles)


def token_starts(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """The character of ``text`` at which each of its tokens begins (n,)."""
    pieces, found, before = list(cut(text)), [np.zeros(0, np.int64)], 0
    for first in range(0, len(pieces), _AT_ONCE):
        block = pieces[first : first + _AT_ONCE]
        goes_on = [first + place > 0 for place in range(len(block))]
        for piece, (_, spans) in zip(block, tokenizer.encode_with_spans(block, goes_on), strict=True):
            found.append(before + np.array([begin for begin, _ in spans], dtype=np.int64))
            before += len(piece)
    return np.concatenate(found)
