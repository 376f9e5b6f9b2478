"""Labelled texts as training examples, one a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from groundup.data.batching import Bucketed, TokenBudget
from groundup.data.encoding import TEXT_ROLES, EncodedText
from groundup.data.examples import Examples, SplitToEncode
from groundup.data.roles import check_columns
from groundup.data.sources.labels import label_names
from groundup.data.sources.source import Source
from groundup.errors import UserError


class LabelledText(Examples):
    """One example a row: ``<cls> text <sep>``, or ``<cls> text <sep> text_pair <sep>``, at most ``max_length`` tokens.

    An example has ``input_ids`` (T,) int64, ``index`` (its row) and, unless the split is ``predict``, ``labels`` (an int); of a
    source with weights also ``weights``, a number by which its loss counts. ``truncation`` says what of a long text stays:
    its ``head``, its ``tail``, or the first quarter and the last
    three quarters (``head_tail``; Sun et al. 2019 kept 128 + 382 of 510). Of a pair, the longer text gives way first.
    Raises ``UserError`` for a row without a label, a label that training did not know, or an empty split.
    """

    reads = TEXT_ROLES
    batchings = (Bucketed, TokenBudget)
    learns = "label"  # the role that holds what is to be answered
    words_may_move = True

    @classmethod
    def check_columns(cls, columns: Collection[str]) -> None:
        check_columns(("text", cls.learns), columns)

    @classmethod
    def label_names(cls, source: Source) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return label_names(source)

    def __init__(self, given: SplitToEncode) -> None:
        self.encoded = encoded = given.encoded(label=self.learns)
        self.cls_id, self.sep_id = given.tokenizer.cls_id, given.tokenizer.sep_id
        full = np.diff(encoded.offsets).reshape(encoded.rows, encoded.parts)
        self.kept = _share(full, given.batching.max_length - 1 - encoded.parts)  # (rows, parts) tokens that stay
        self.heads = _heads(given.batching.truncation or "head", self.kept, full)
        self.truncated_rows = np.any(self.kept < full, axis=1)  # (rows,) bool
        self._lengths = self.kept.sum(axis=1) + 1 + encoded.parts
        self.targets = None if given.predict else self.targets_of(given)
        self.weights = None
        if given.split == "train" and given.source.weighted:
            self.weights = np.array([row.get("weight", 1.0) for row in given.source.rows("train")], dtype=np.float64)

    def targets_of(self, given: SplitToEncode) -> np.ndarray:
        """What is to be answered for each row: its class (rows,) int64."""
        if len(self.encoded.labels) > self.encoded.rows:
            raise UserError(f"the {given.split} split has lists of labels: try task=multilabel")
        return _targets(self.encoded, given.labels, given.split)

    def __len__(self) -> int:
        return self.encoded.rows

    @property
    def parts(self) -> int:
        return self.encoded.parts

    def lengths(self, training: bool) -> np.ndarray:
        """Tokens of each example (rows,), special tokens counted."""
        return self._lengths

    def positions_apart(self) -> np.ndarray:
        return self.parts * (self.kept.max(axis=1) + 2)

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes a token, special tokens not counted."""
        return self.encoded.bytes_per_token

    @property
    def report(self) -> dict[str, float]:
        """Counts and shares for the log."""
        rows, tokens, truncated = self.encoded.rows, len(self.encoded.ids), int(self.truncated_rows.sum())
        return {
            "rows": rows,
            "tokens": int(self._lengths.sum()),
            "bytes_per_token": self.bytes_per_token or 0.0,
            "unknown_share": self.encoded.unknown / max(tokens, 1),
            "truncated_rows": truncated,
            "truncated_share": truncated / max(rows, 1),
        }

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Examples; they are the same in every epoch."""
        indexes = np.array([index for _, index in keys])
        ids, parts = self.encoded.ids, self.encoded.parts
        texts = indexes[:, None] * parts + np.arange(parts)  # (B, parts)
        begins, ends = self.encoded.offsets[texts], self.encoded.offsets[texts + 1]
        heads, kept = self.heads[indexes], self.kept[indexes]
        rows = [np.empty(length, dtype=np.int64) for length in self._lengths[indexes].tolist()]
        # Plain ints from here on: arithmetic on NumPy scalars would take most of the time.
        spans = np.stack([begins, ends, heads, kept], axis=-1).tolist()
        for row, texts_of_row in zip(rows, spans, strict=True):
            row[0], at = self.cls_id, 1
            for begin, end, head, keep in texts_of_row:
                row[at : at + head] = ids[begin : begin + head]
                if keep > head:
                    row[at + head : at + keep] = ids[end - (keep - head) : end]
                row[at + keep] = self.sep_id
                at += keep + 1
        examples = [{"input_ids": row, "index": index} for row, index in zip(rows, indexes.tolist(), strict=True)]
        if self.targets is not None:
            for example, target in zip(examples, self.targets[indexes].tolist(), strict=True):
                example["labels"] = target
        if self.weights is not None:
            for example, weight in zip(examples, self.weights[indexes].tolist(), strict=True):
                example["weights"] = weight
        return examples


def _share(full: np.ndarray, room: int) -> np.ndarray:
    """Tokens each text keeps, (rows, parts), so that a row keeps at most ``room``; the longer text gives way first."""
    if full.shape[1] == 1:
        return np.minimum(full, room)
    first, second = full[:, 0], full[:, 1]
    kept_second = np.minimum(second, np.maximum(room // 2, room - first))
    return np.stack([np.minimum(first, room - kept_second), kept_second], axis=1)


def _heads(truncation: str, kept: np.ndarray, full: np.ndarray) -> np.ndarray:
    """How many of the ``kept`` tokens come from the beginning of a text; the others come from its end."""
    share = {"head": kept, "tail": np.zeros_like(kept), "head_tail": kept // 4}[truncation]
    return np.where(kept == full, kept, share)


def _targets(encoded: EncodedText, labels: Sequence[str], split: str) -> np.ndarray:
    """Class of each row (rows,) int64."""
    if (missing := np.flatnonzero(encoded.labels < 0)).size:
        if missing.size == encoded.rows:
            raise UserError(f"the {split} split has no labels: name the column that holds them, data.label=COLUMN")
        raise UserError(f"row {missing[0] + 1} of the {split} split has no label: label it, or remove it")
    classes = {name: number for number, name in enumerate(labels)}
    known = np.array([classes.get(name, -1) for name in encoded.label_names], dtype=np.int64)
    targets = known[encoded.labels]
    if (strange := np.flatnonzero(targets < 0)).size:
        name = encoded.label_names[encoded.labels[strange[0]]]
        shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        raise UserError(
            f"row {strange[0] + 1} of the {split} split has the label '{name}', which training does not know "
            f"(it knows {shown}): mend the label, or remove the row"
        )
    return targets
