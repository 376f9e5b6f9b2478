"""Sentences of words with a tag each as training examples, one a row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from groundup.data.batching import Bucketed, TokenBudget
from groundup.data.collate import IGNORE
from groundup.data.examples import Examples, SplitToEncode
from groundup.data.roles import Row
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.text.word_bytes import spelled
from groundup.text.words import word_spans

log = logging.getLogger(__name__)
_SHOWN = 8  # names of tags in a message


class TaggedText(Examples):
    """One example a sentence: ``<cls> words <sep>``, of the words as many as fit whole into ``max_length`` tokens.

    An example has ``input_ids`` (T,), ``first`` (T,), 1 where a word begins, ``characters`` (T, L), how that word is spelled
    (see ``text.word_bytes``), ``index`` (its row) and, unless the split is ``predict``, ``labels`` (T,): a word's tag at its
    first token, -100 elsewhere (Devlin et al. 2019). A word without a token is ``<unk>``.
    Tags that training did not know are told, and are -100. Raises ``UserError`` for words without a tag, or an empty split.
    """

    reads = ("tokens",)
    batchings = (Bucketed, TokenBudget)
    truncations = ("head",)  # a text is read from its beginning
    words_apart = True
    cuts_text = True
    spells = True

    @classmethod
    def of_text(cls, text: str) -> Row:
        """Its words (see ``text.words``), and the text itself."""
        return {"tokens": [text[begin:end] for begin, end in word_spans(text)], "text": text}

    @classmethod
    def check_columns(cls, columns: Collection[str]) -> None:
        if "tokens" not in columns:
            raise UserError(
                f"this task needs words with their tags, but the data has {' and '.join(columns)}. "
                "Try data.tokens=COLUMN data.tags=COLUMN, or another task"
            )

    @classmethod
    def learned_roles(cls, source: Source) -> tuple[str, ...]:
        return ("tokens",)

    @classmethod
    def label_names(cls, source: Source) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Sorted, ``O`` first."""
        if "tags" not in source.columns:
            raise UserError("the data has no tags: name their column, as in data.tags=COLUMN")
        counts = Counter(tag for row in source.rows("train") for tag in row["tags"])
        names = sorted(counts, key=lambda name: (name != "O", name))
        return tuple(names), tuple(counts[name] for name in names)

    def __init__(self, given: SplitToEncode) -> None:
        tokenizer = given.tokenizer
        words = given.encoded(roles=("tokens",), label="tags", apart=True)
        self.words, self.unk_id, self.cls_id, self.sep_id = words, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id
        sizes = np.maximum(np.diff(words.offsets), 1)  # tokens of each word
        ends = np.concatenate([[0], np.cumsum(sizes)])
        begins = words.row_offsets[:-1]
        room = ends[begins] + given.batching.max_length - 2
        self.kept = np.minimum(np.searchsorted(ends, room, side="right") - 1, words.row_offsets[1:]) - begins
        self.truncated_rows = self.kept < np.diff(words.row_offsets)
        self._lengths = ends[begins + self.kept] - ends[begins] + 2
        self.targets = None if given.predict else self._classes(given.labels, given.split)
        numbers: dict[str, int] = {}  # a word is spelled once
        self.spellings = np.array(
            [
                numbers.setdefault(word, len(numbers))
                for row in given.source.rows(given.split)
                for word in row["tokens"]
            ],
            dtype=np.int32,
        )
        self.spelled = spelled([*numbers])

    def __len__(self) -> int:
        return self.words.rows

    def lengths(self, training: bool) -> np.ndarray:
        return self._lengths

    @property
    def bytes_per_token(self) -> float | None:
        return self.words.bytes_per_token

    @property
    def report(self) -> dict[str, float]:
        tokens, cut = len(self.words.ids), int(self.truncated_rows.sum())
        return {
            "rows": len(self),
            "tokens": int(self._lengths.sum()),
            "bytes_per_token": self.bytes_per_token or 0.0,
            "unknown_share": self.words.unknown / max(tokens, 1),
            "truncated_rows": cut,
            "truncated_share": cut / max(len(self), 1),
        }

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Examples; they are the same in every epoch."""
        return [self._example(index) for _, index in keys]

    def _example(self, index: int) -> dict[str, Any]:
        begin = int(self.words.row_offsets[index])
        words = range(begin, begin + int(self.kept[index]))
        pieces = [self.words.ids[self.words.offsets[word] : self.words.offsets[word + 1]] for word in words]
        pieces = [piece if len(piece) else np.array([self.unk_id]) for piece in pieces]
        ids = np.concatenate([[self.cls_id], *pieces, [self.sep_id]]).astype(np.int64)
        places = np.cumsum([1, *map(len, pieces)])[:-1]
        first = np.zeros_like(ids)
        first[places] = 1
        characters = np.zeros((len(ids), self.spelled.shape[1]), dtype=np.int64)
        characters[places] = self.spelled[self.spellings[begin : begin + len(pieces)]]
        example: dict[str, Any] = {"input_ids": ids, "first": first, "characters": characters, "index": index}
        if self.targets is not None:
            example["labels"] = np.full_like(ids, IGNORE)
            example["labels"][places] = self.targets[begin : begin + len(pieces)]
        return example

    def _classes(self, labels: Sequence[str], split: str) -> np.ndarray:
        """Class of each word (words,) int64; -100 for a tag that training did not know: it cannot be predicted."""
        number = {name: place for place, name in enumerate(labels)}
        known = np.array([number.get(name, IGNORE) for name in self.words.label_names], dtype=np.int64)
        if len(self.words.labels) < self.words.row_offsets[-1] or (self.words.labels < 0).any():
            raise UserError(
                f"the {split} split has words without a tag: name the column that holds them, data.tags=COLUMN"
            )
        if not len(known):
            return np.zeros(0, dtype=np.int64)
        counts = np.bincount(self.words.labels, minlength=len(known))
        if strange := [
            f"{name} {counts[place]:,}" for place, name in enumerate(self.words.label_names) if known[place] < 0
        ]:
            _tell_strange(split, strange)
        return known[self.words.labels]


@rank_zero_only
def _tell_strange(split: str, strange: Sequence[str]) -> None:
    rest = f", ... ({len(strange)} in all)" if len(strange) > _SHOWN else ""
    names = ", ".join(strange[:_SHOWN])
    log.warning(
        "%s has tags that training lacks, and a model cannot give: %s%s; its words count as wrong", split, names, rest
    )
