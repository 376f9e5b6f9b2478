"""Pairs of texts as training examples: two sequences for an encoder-decoder, or one for a decoder alone."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from groundup.data.batching import Bucketed, TokenBudget
from groundup.data.collate import IGNORE
from groundup.data.encoding import PAIR_ROLES, EncodedText
from groundup.data.examples import Examples, SplitToEncode
from groundup.data.roles import check_columns
from groundup.data.sources.source import Source

ROOM = 10  # tokens that every output may have, however short its source


class Side:
    """One side of pairs: texts closed by ``<eos>``, of each at most ``room`` tokens, ``<eos>`` counted.

    Attributes: ``lengths`` (rows,) tokens that stay; ``truncated`` (rows,) bool.
    """

    def __init__(self, encoded: EncodedText, unk_id: int, room: int, truncation: str) -> None:
        self.encoded, self.unk_id = encoded, unk_id
        full = np.diff(encoded.offsets)
        self.lengths = np.minimum(full, room)
        self.gaps = full - self.lengths  # tokens left out of each text
        self.heads = {"head": self.lengths, "tail": 0 * full, "head_tail": self.lengths // 4}[truncation]

    @property
    def truncated(self) -> np.ndarray:
        return self.gaps > 0

    @cached_property
    def unknown(self) -> np.ndarray:
        """``<unk>`` in each whole text (rows,)."""
        before = np.concatenate([[0], np.cumsum(self.encoded.ids == self.unk_id)])
        return before[self.encoded.offsets[1:]] - before[self.encoded.offsets[:-1]]

    def take(self, rows: np.ndarray, first: int | None = None, last: int | None = None) -> list[np.ndarray]:
        """Tokens of ``rows``: ``first`` is put before each, ``last`` takes the place of the last of each."""
        begins, lengths = self.encoded.offsets[rows], self.lengths[rows]
        lead = int(first is not None)
        cuts = np.concatenate([[0], np.cumsum(lengths + lead)])
        # A lead lies before the text, where another one ends (or, before the first, at the very end): written over.
        positions = np.arange(cuts[-1]) + np.repeat(begins - lead - cuts[:-1], lengths + lead)
        if (gaps := self.gaps[rows]).any():
            resumes = np.repeat(begins + self.heads[rows], lengths + lead)
            positions += np.where(positions >= resumes, np.repeat(gaps, lengths + lead), 0)
        tokens = self.encoded.ids[positions].astype(np.int64)
        if first is not None:
            tokens[cuts[:-1]] = first
        if last is not None:
            tokens[cuts[1:] - 1] = last
        return [tokens[begin:end] for begin, end in pairwise(cuts.tolist())]


class PairedText(Examples):
    """For an encoder-decoder: source ``s1 .. sm <eos>``, target ``t1 .. tn <eos>``, each at most ``max_length`` tokens.

    An example has ``input_ids`` (S,), ``decoder_input_ids`` (U,) = ``<bos> t1 .. tn``, ``labels`` (U,) =
    ``t1 .. tn <eos>`` and ``index`` (its row); in the split ``predict`` only ``input_ids`` and ``index``. ``truncation``
    says what of a long source stays (its ``<eos>`` stays in any case). Of a long target the beginning stays, without
    ``<eos>``: a text that goes on must not teach the model to stop. Raises ``UserError`` for an empty split.
    """

    reads = PAIR_ROLES[:1]
    batchings = (Bucketed, TokenBudget)
    two_vocabularies = True
    special = 1  # special tokens of a source

    @classmethod
    def check_columns(cls, columns: Collection[str]) -> None:
        check_columns(PAIR_ROLES, columns)

    @classmethod
    def learned_roles(cls, source: Source) -> tuple[str, ...]:
        return PAIR_ROLES

    def __init__(self, given: SplitToEncode) -> None:
        tokenizer, batching = given.tokenizer, given.batching
        self.bos_id, self.eos_id, self.sep_id = tokenizer.bos_id, tokenizer.eos_id, tokenizer.sep_id
        room = batching.max_length + 1 - self.special  # what takes the place of <eos> is of the room
        texts = given.encoded(close=True, roles=("source",))
        self.source = Side(texts, tokenizer.unk_id, room, batching.truncation or "head")
        self.target = None
        if not given.predict:
            texts = given.encoded(given.target_tokenizer, close=True, roles=("target",))
            self.target = Side(texts, tokenizer.unk_id, batching.max_length, "head")

    def __len__(self) -> int:
        return len(self.source.lengths)

    def lengths(self, training: bool) -> np.ndarray:
        """Tokens of each example, special tokens counted: (rows, 2), source and target; (rows,) without targets."""
        if self.target is None:
            return self.source.lengths
        return np.stack([self.source.lengths, self.target.lengths], axis=1)

    @property
    def length_ratio(self) -> float | None:
        """Beside ``ROOM``, what 999 of 1,000 rows do not exceed.

        Half of ``ROOM`` is kept for texts to come. Source and target may be made of words and of characters.
        """
        if self.target is None:
            return None
        needed = (self.target.lengths - ROOM // 2) / self.source.lengths
        return max(1.0, math.ceil(100 * np.quantile(needed, 0.999, method="higher")) / 100)

    @property
    def truncated_rows(self) -> np.ndarray:
        """Whose source was too long (rows,) bool."""
        return self.source.truncated

    @property
    def unknown_tokens(self) -> np.ndarray:
        """Of each source (rows,)."""
        return self.source.unknown

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of the target for each scored token, ``<eos>`` counted."""
        return None if self.target is None else self.target.encoded.bytes / max(len(self.target.encoded.ids), 1)

    @property
    def report(self) -> dict[str, float]:
        """Counts and shares for the log. A row counts as truncated, or empty, if either side is."""
        sides = [side for side in (self.source, self.target) if side is not None]
        rows, tokens = len(self), sum(len(side.encoded.ids) - len(self) for side in sides)
        cut = [int(side.truncated.sum()) for side in sides]
        truncated = int(np.any([side.truncated for side in sides], axis=0).sum())
        return {
            "rows": rows,
            "tokens": int(self.lengths(training=False).sum()),
            "bytes_per_token": self.bytes_per_token or 0.0,
            "unknown_share": sum(side.encoded.unknown for side in sides) / max(tokens, 1),
            "truncated_rows": truncated,
            "truncated_share": truncated / max(rows, 1),
            "source_truncated_rows": cut[0],
            "target_truncated_rows": cut[1] if len(cut) > 1 else 0,
            "empty_rows": int(np.any([np.diff(side.encoded.offsets) == 1 for side in sides], axis=0).sum()),
        }

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Examples; they are the same in every epoch. The cost is that of a few array operations."""
        rows = np.array([index for _, index in keys])
        sources = self.source.take(rows, last=self.eos_id)
        if self.target is None:
            return [{"input_ids": ids, "index": index} for ids, index in zip(sources, rows.tolist(), strict=True)]
        targets = self.target.take(rows, first=self.bos_id)
        return [
            {"input_ids": ids, "decoder_input_ids": target[:-1], "labels": target[1:], "index": index}
            for ids, target, index in zip(sources, targets, rows.tolist(), strict=True)
        ]


class PromptedText(PairedText):
    """For a decoder alone, P(target | source) in one sequence: ``<bos> s1 .. sm <sep> t1 .. tn``.

    ``labels`` are the token after each from ``<sep>`` on (t1, .., tn, ``<eos>``) and -100 before it: only the target is
    scored. In the split ``predict`` an example ends with ``<sep>``. Each side may take ``max_length`` tokens, so that an
    example takes at most ``2 * max_length - 1``. Else as ``PairedText``; needs one joint vocabulary.
    """

    two_vocabularies = False
    special = 2

    def lengths(self, training: bool) -> np.ndarray:
        """Tokens of each example (rows,), special tokens counted."""
        sources = self.source.lengths + 1
        return sources if self.target is None else sources + self.target.lengths - 1

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        rows = np.array([index for _, index in keys])
        prompts = self.source.take(rows, first=self.bos_id, last=self.sep_id)
        if self.target is None:
            return [{"input_ids": ids, "index": index} for ids, index in zip(prompts, rows.tolist(), strict=True)]
        examples = []
        for prompt, target, index in zip(prompts, self.target.take(rows), rows.tolist(), strict=True):
            whole = np.concatenate([prompt, target])
            labels = whole[1:].copy()
            labels[: len(prompt) - 1] = IGNORE
            examples.append({"input_ids": whole[:-1], "labels": labels, "index": index})
        return examples
