"""A stream of text cut into windows of equal length, without padding: what language models train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from groundup.data.batching import Batching, Packed
from groundup.data.encoding import text_roles
from groundup.data.examples import Examples, SplitToEncode
from groundup.data.seeding import mix
from groundup.errors import UserError

EVALUATION = -1  # the "epoch" in which documents stand in their own order and every token but the first is scored


@dataclass(frozen=True)
class Order:
    """One epoch's stream: documents in an order, from an offset on.

    Position p of the stream lies in the document d with ``begins[d] <= p < begins[d + 1]``, at ``p + shift[d]`` on
    disk.
    """

    begins: np.ndarray  # (documents + 1,)
    shift: np.ndarray  # (documents,)
    phase: int  # position of the first window

    @property
    def opened(self) -> np.ndarray:
        """``begins`` where the ``<eos>`` before a document opens it, as it does when a text is scored or written alone."""
        begins = self.begins - 1
        begins[0], begins[-1] = 0, self.begins[-1]
        return begins


@dataclass(frozen=True)
class Pieces:
    """What windows hold of each document they touch, one window after another (P,)."""

    documents: np.ndarray  # which document
    numbers: np.ndarray  # its number within the window
    begins: np.ndarray  # stream position of its first token in the window
    sizes: np.ndarray  # tokens

    @classmethod
    def of(cls, bounds: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> Pieces:
        """Windows ``[begins, ends)`` (windows,) of a stream whose documents are ``[bounds[d], bounds[d + 1])``."""
        first = np.searchsorted(bounds, begins, side="right") - 1  # document in which each window begins
        count = np.searchsorted(bounds, ends, side="left") - first  # documents it touches
        numbers = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        documents = np.repeat(first, count) + numbers
        piece_begins = np.maximum(bounds[documents], np.repeat(begins, count))
        piece_ends = np.minimum(bounds[documents + 1], np.repeat(ends, count))
        return cls(documents, numbers, piece_begins, piece_ends - piece_begins)


class PackedText(Examples):
    """Documents (of pairs, each side is one) one after another, each closed by ``<eos>``, cut into windows of ``batching.length`` tokens.

    An example has ``input_ids`` (T,) and ``labels`` (T,), the token after each; with ``mask_documents`` also
    ``document_ids`` (T,), 0 for the window's first document, and ``position_ids`` (T,), counted within the document. There
    an ``<eos>`` is the first token of the document after it, so that a text begins as it does in the split ``predict``.
    Each epoch has its own order of documents and its own phase, so that windows never begin at the same places again
    (also where the corpus is one document); at most two windows' worth of tokens, others each time, is left out of an
    epoch. Evaluation keeps the natural order and scores every token but the first once; its last window may be
    shorter. In the split ``predict`` each row is a window by itself: ``<eos> text``, labels ``text <eos>``, cut to
    ``length``. Raises ``UserError`` if there is no text.
    """

    reads = ("text",)  # a language model scores each text by itself
    batchings = (Packed,)
    without_labels = True

    def __init__(self, given: SplitToEncode) -> None:
        roles = text_roles(given.source)
        self.encoded = given.encoded(stream=not given.predict, close=True, roles=roles, spelled=self.spells)
        self.size, self.length = len(self.encoded.ids), given.batching.length
        self.rows_apart, self.mask_documents, self.seed = given.predict, given.batching.mask_documents, given.seed
        if self.size < 2 and not self.rows_apart:
            raise UserError(
                f"the {given.split} split has no text ({self.size} tokens). Give it some, or choose other data"
            )
        self.documents = len(self.encoded.offsets) - 1
        # One window less than would fit, so that the phase may be anything up to a window's length.
        self.windows = max(1, self.size // self.length - 1)
        self._orders: dict[int, Order] = {}

    def __len__(self) -> int:
        return self.windows

    def lengths(self, training: bool) -> np.ndarray:
        """Tokens of each window (windows,)."""
        if training:
            return np.full(self.windows, min(self.length, self.size - 1))
        if self.rows_apart:
            return np.minimum(np.diff(self.encoded.offsets), self.length)
        begins = np.arange(0, self.size - 1, self.length)
        return np.minimum(self.length, self.size - 1 - begins)

    @property
    def truncated_rows(self) -> np.ndarray:
        """Which rows of the split ``predict`` are longer than a window (rows,) bool."""
        return np.diff(self.encoded.offsets) > self.length

    @property
    def longest(self) -> int:
        """Positions that a model needs for any window."""
        if self.mask_documents and not self.rows_apart:
            return min(self.length, int(np.diff(self.encoded.offsets).max()))
        return int(self.lengths(training=False).max(initial=0))

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of the text for each scored token of the evaluation order."""
        return self.encoded.bytes / max(self.size - 1, 1)

    @property
    def report(self) -> dict[str, float]:
        """Counts and shares for the log."""
        return {
            "rows": self.encoded.rows,
            "documents": self.documents,
            "tokens": self.size,
            "bytes_per_token": self.bytes_per_token or 0.0,
            "unknown_share": self.encoded.unknown / max(self.size, 1),
            "truncated_share": 0.0,
        }

    def order(self, epoch: int) -> Order:
        """The stream of ``epoch``, a function of (seed, epoch) alone."""
        if epoch not in self._orders:
            offsets = self.encoded.offsets
            if epoch == EVALUATION:
                order = Order(offsets, np.zeros(self.documents, dtype=np.int64), 0)
            else:
                random = np.random.default_rng(mix(self.seed, epoch))
                permutation = random.permutation(self.documents)
                begins = np.concatenate([[0], np.cumsum(np.diff(offsets)[permutation])])
                slack = max(0, self.size - 1 - self.windows * self.length)
                order = Order(begins, offsets[:-1][permutation] - begins[:-1], int(random.integers(slack + 1)))
            # A worker may run ahead into the next epoch while nothing older is asked for again.
            self._orders = {key: value for key, value in self._orders.items() if key in (epoch - 1, EVALUATION)}
            self._orders[epoch] = order
        return self._orders[epoch]

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Examples of one epoch, fetched together: the cost is that of a few array operations."""
        epoch = keys[0][0]
        indexes = np.array([index for _, index in keys])
        begins, ends = self._spans(epoch, indexes)
        lengths = ends - begins
        cuts = np.concatenate([[0], np.cumsum(lengths)])
        if (lengths == lengths[0]).all():
            positions = (begins[:, None] + np.arange(lengths[0])).ravel()
        else:
            positions = np.arange(cuts[-1]) + np.repeat(begins - cuts[:-1], lengths)
        arrays = {}
        if not self.rows_apart and (self.mask_documents or (epoch != EVALUATION and self.documents > 1)):
            order = self.order(epoch)
            if self.mask_documents:
                pieces = Pieces.of(order.opened, begins, ends)
                arrays = {
                    "position_ids": positions - np.repeat(pieces.begins, pieces.sizes),
                    "document_ids": np.repeat(pieces.numbers, pieces.sizes),
                }
            pieces = Pieces.of(order.begins, begins, ends)
            positions = positions + np.repeat(order.shift[pieces.documents], pieces.sizes)
        tokens = self.encoded.ids[positions].astype(np.int64)
        if self.spells:
            arrays["characters"] = self.encoded.spelled[positions].astype(np.int64)
        examples = []
        for index, begin, end in zip(indexes.tolist(), cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            example = {"input_ids": tokens[begin : end - 1], "labels": tokens[begin + 1 : end], "index": index}
            for name, values in arrays.items():
                example[name] = values[begin : end - 1]
            examples.append(example)
        return examples

    def _spans(self, epoch: int, indexes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stream positions [begin, end) of the tokens of windows, the label of the last token included."""
        if self.rows_apart:
            # Each text follows the <eos> of the one before; the first has -1 there, which is the last text's <eos>.
            begins, ends = self.encoded.offsets[indexes] - 1, self.encoded.offsets[indexes + 1]
            return begins, np.minimum(begins + self.length + 1, ends)
        begins = self.order(epoch).phase + indexes * self.length
        return begins, np.minimum(begins + self.length + 1, self.size)


class WholeWindows(PackedText):
    """The same for an encoder-decoder, which reads a window as one text. Raises ``UserError`` for documents kept apart."""

    @classmethod
    def check_batching(cls, batching: Batching) -> None:
        super().check_batching(batching)
        if isinstance(batching, Packed) and batching.mask_documents:
            raise UserError("an encoder-decoder reads a window as one text. Try batching.mask_documents=false")


class SpelledText(PackedText):
    """The same with ``characters`` (T, L): how the word that begins at a token is spelled, zeros at other tokens."""

    spells = True
