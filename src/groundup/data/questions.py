"""Questions with the contexts that answer them, as training examples: long contexts in windows that overlap."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from groundup.data.answers import Answer
from groundup.data.batching import Bucketed, TokenBudget
from groundup.data.collate import IGNORE
from groundup.data.examples import Examples, SplitToEncode
from groundup.data.roles import Row, check_columns
from groundup.data.sources.source import Source
from groundup.errors import UserError

QUESTION, QUESTION_SHARED, CONTEXT, CONTEXT_SHARED = range(4)  # token_type_ids; <cls> and <sep> are of the question
_SPECIAL = 3  # <cls> question <sep> window <sep>
NONE = -1  # token of an answer that a row, or a window, does not have


class QuestionWindows(Examples):
    """``<cls> question <sep> window <sep>`` for each window of a row's context, at most ``max_length`` tokens each.

    Windows begin ``overlap`` tokens before the end of the one before them; with ``truncation`` = ``head`` there is only the
    first. Of a question the first half of ``max_length`` stays.

    An example has ``input_ids`` (T,), ``token_type_ids`` (T,): of the question or of the window, and whether the same token is in
    the other one, too (Chen et al. 2017: exact match), ``index`` (its own number; ``rows_of`` tells the row) and:
    unless the split is ``predict``, ``start_positions`` and ``end_positions``: the first and last token of the row's first
    answer, both 0 (``<cls>``) in a window that does not hold all of it, -100 where the answer has no token;
    unless it is for training, ``begins`` and ``ends`` (T,): the characters of the context that a token of the window stands
    for, 0 and 0 for all else.

    Raises ``UserError`` for an empty split, and for an ``overlap`` that leaves a window nothing new.
    """

    reads = ("question", "context")
    batchings = (Bucketed, TokenBudget)
    truncations = ("windows", "head")

    @classmethod
    def check_columns(cls, columns: Collection[str]) -> None:
        check_columns(("question", "context", "answers"), columns)

    @classmethod
    def learned_roles(cls, source: Source) -> tuple[str, ...]:
        return ("context", "question")

    def __init__(self, given: SplitToEncode) -> None:
        self.encoded = encoded = given.encoded(roles=self.reads, spans=True)
        if encoded.parts != len(self.reads):
            raise UserError("a question is answered out of a context, and there is none. Try context=COLUMN")
        self.cls_id, self.sep_id = given.tokenizer.cls_id, given.tokenizer.sep_id
        batching = given.batching
        half = (batching.max_length - _SPECIAL) // 2
        overlap = batching.max_length // 4 if batching.overlap is None else batching.overlap
        if overlap >= batching.max_length - _SPECIAL - half:
            raise UserError(
                f"batching.overlap={overlap}: windows beside a long question have {batching.max_length - _SPECIAL - half} tokens "
                f"of the context. Try batching.overlap={batching.max_length // 4}"
            )
        sizes = np.diff(encoded.offsets).reshape(-1, 2)
        self.asked = np.minimum(sizes[:, 0], half)  # (rows,) tokens of each question
        self.room = batching.max_length - _SPECIAL - self.asked  # (rows,) of a window of its context
        beyond = np.maximum(sizes[:, 1] - self.room, 0)
        self.windows = -(-beyond // (self.room - overlap)) + 1  # (rows,)
        self.truncated_rows = sizes[:, 0] > half
        if batching.truncation == "head":
            self.truncated_rows |= beyond > 0
            self.windows[:] = 1
        self.row = np.repeat(np.arange(encoded.rows), self.windows)  # (windows,)
        number = np.arange(len(self.row)) - np.repeat(np.cumsum(self.windows) - self.windows, self.windows)
        self.begin = number * (self.room - overlap)[self.row]  # (windows,) first token of the context
        self.size = np.minimum(self.room[self.row], sizes[self.row, 1] - self.begin)
        self.inexact = 0  # answers that begin or end inside a token
        self.targets = None if given.predict else self._targets(given.source.rows(given.split))  # (rows, 2) tokens

    def __len__(self) -> int:
        return len(self.row)

    def lengths(self, training: bool) -> np.ndarray:
        """Tokens of each window, special tokens and question counted."""
        return self.asked[self.row] + self.size + _SPECIAL

    def rows_of(self, indexes: np.ndarray) -> np.ndarray:
        return self.row[indexes]

    @property
    def parts(self) -> int:
        return len(self.reads)

    @property
    def bytes_per_token(self) -> float | None:
        return self.encoded.bytes_per_token

    @property
    def report(self) -> dict[str, float]:
        rows, tokens, cut = self.encoded.rows, len(self.encoded.ids), int(self.truncated_rows.sum())
        return {
            "rows": rows,
            "windows": len(self),
            "tokens": int(self.lengths(training=False).sum()),
            "bytes_per_token": self.bytes_per_token or 0.0,
            "unknown_share": self.encoded.unknown / max(tokens, 1),
            "truncated_rows": cut,
            "truncated_share": cut / max(rows, 1),
            **({} if self.targets is None else self._told()),
        }

    def statuses(self, rows: Sequence[Row]) -> list[str]:
        """``empty`` also where only the question, or only the context, is."""
        found = super().statuses(rows)
        whole = [all((row.get(role) or "").strip() for role in self.reads) for row in rows]
        return [status if there else "empty" for status, there in zip(found, whole, strict=True)]

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Examples; they are the same in every epoch. ``begins`` and ``ends`` are there outside of training (epoch -1)."""
        return [self._example(index, places=epoch < 0) for epoch, index in keys]

    def _example(self, index: int, places: bool) -> dict[str, Any]:
        row = int(self.row[index])
        ids, offsets = self.encoded.ids, self.encoded.offsets
        asked, size = int(self.asked[row]), int(self.size[index])
        first = int(offsets[2 * row + 1] + self.begin[index])
        question, window = ids[offsets[2 * row] :][:asked], ids[first : first + size]
        at = asked + 2  # where the window begins
        whole = np.full(asked + size + _SPECIAL, self.sep_id, dtype=np.int64)
        whole[0], whole[1 : at - 1], whole[at : at + size] = self.cls_id, question, window
        types = np.zeros_like(whole)
        types[1 : at - 1] = np.where(np.isin(question, window), QUESTION_SHARED, QUESTION)
        types[at : at + size] = np.where(np.isin(window, question), CONTEXT_SHARED, CONTEXT)
        example: dict[str, Any] = {"input_ids": whole, "token_type_ids": types, "index": index}
        if places:
            spans = np.zeros((len(whole), 2), dtype=np.int64)
            spans[at : at + size] = self.encoded.spans[first : first + size]
            example["begins"], example["ends"] = spans[:, 0].copy(), spans[:, 1].copy()
        if self.targets is not None:
            start, end = (self.targets[row] - self.begin[index]).tolist()
            inside = self.targets[row, 0] >= 0 and start >= 0 and end < size
            none = IGNORE if self.targets[row, 0] < NONE else 0
            example["start_positions"] = start + at if inside else none
            example["end_positions"] = end + at if inside else none
        return example

    def _targets(self, rows: Iterable[Row]) -> np.ndarray:
        """First and last token of each row's first answer in its context (rows, 2): -1 without one, -2 if it has no token."""
        found = np.full((self.encoded.rows, 2), NONE, dtype=np.int64)
        offsets = self.encoded.offsets
        for number, row in enumerate(rows):
            if row["answers"]:
                spans = self.encoded.spans[offsets[2 * number + 1] : offsets[2 * number + 2]]
                found[number] = first, last = tokens_of(row["answers"][0], spans)
                self.inexact += first < 0 or (spans[first, 0], spans[last, 1]) != place_of(row["answers"][0])
        return found

    def _told(self) -> dict[str, float]:
        """How many rows have no answer, one that no window holds whole, and one that tokens cannot say exactly."""
        assert self.targets is not None
        inside = (self.targets[self.row, 0] >= self.begin) & (self.targets[self.row, 1] < self.begin + self.size)
        reached = np.zeros(self.encoded.rows, dtype=bool)
        reached[self.row[inside & (self.targets[self.row, 0] >= 0)]] = True
        unanswerable = self.targets[:, 0] == NONE
        return {
            "unanswerable_rows": int(unanswerable.sum()),
            "cut_answers": int((~reached & ~unanswerable).sum()),
            "inexact_answers": self.inexact,
        }


def place_of(answer: Answer) -> tuple[int, int]:
    """The first character of an answer in its context, and the one behind its last; space at its ends is none of it."""
    text = answer["text"]
    begin = answer["answer_start"] + len(text) - len(text.lstrip())
    return begin, begin + len(text.strip())


def tokens_of(answer: Answer, spans: np.ndarray) -> tuple[int, int]:
    """The first and the last token that an answer touches; (-2, -2) where it touches none.

    Args:
        spans: (tokens, 2) characters of each token, see ``Tokenizer.encode_with_spans``.
    """
    begin, end = place_of(answer)
    first = int(np.searchsorted(spans[:, 1], begin, side="right"))  # both columns never fall
    last = int(np.searchsorted(spans[:, 0], end, side="left")) - 1
    return (first, last) if first <= last else (NONE - 1, NONE - 1)
