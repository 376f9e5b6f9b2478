"""What rows become, examples of token ids, and what all kinds of examples have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from groundup.data.batching import Batching, Packed
from groundup.data.encoding import EncodedText, text_roles
from groundup.data.facts import Scale
from groundup.data.roles import Row
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class SplitToEncode:
    """A split of a source, and all that its examples are made with. In ``predict`` rows have no labels and no targets."""

    tokenizer: Tokenizer
    source: Source
    split: str
    batching: Any  # one of the examples' ``batchings``
    cache: Cache | None = None
    seed: int = 0
    labels: Sequence[str] = ()
    target_tokenizer: Tokenizer | None = None

    @property
    def predict(self) -> bool:
        return self.split == "predict"

    def encoded(self, tokenizer: Tokenizer | None = None, **settings: Any) -> EncodedText:
        """Its texts as token ids, by a tokenizer of their own if one is given; settings as ``EncodedText.of`` takes them.

        Raises UserError for a split without rows, but in ``predict``.
        """
        texts = EncodedText.of(self.source, self.split, tokenizer or self.tokenizer, self.cache, **settings)
        if not (texts.rows or self.predict):
            raise UserError(f"the {self.split} split is empty: it has no row")
        return texts


class Examples(ABC):
    """The examples of a split, in the split's order. Which class a task trains on, the task says."""

    reads: ClassVar[tuple[str, ...]]  # roles of a row to answer; only the first must be there
    batchings: ClassVar[tuple[type, ...]]  # what can make batches of them
    two_vocabularies: ClassVar[bool] = False  # whether the target may have a tokenizer of its own

    truncations: ClassVar[tuple[str, ...]] = ("head", "tail", "head_tail")  # of batching; the first is the default
    words_may_move: ClassVar[bool] = False  # whether the label of a row is that of its whole text
    without_labels: ClassVar[bool] = False  # whether a row teaches by its text alone
    words_apart: ClassVar[bool] = False  # whether each of a list of words is tokenized by itself
    cuts_text: ClassVar[bool] = False  # whether a running text can be given for a list of words, see ``of_text``
    spells: ClassVar[bool] = False  # whether an example has ``characters`` (T, L): how the word at a token is spelled

    @abstractmethod
    def __init__(self, given: SplitToEncode) -> None: ...

    @classmethod
    def check_batching(cls, batching: Batching) -> None:
        """Raises UserError for batches that cannot be made of these examples."""
        if not isinstance(batching, cls.batchings):
            choice = "batching=packed" if len(cls.batchings) == 1 else "batching=bucketed or batching=token_budget"
            raise UserError(f"{type(batching).__name__} makes no batches for this task: try {choice}")
        if isinstance(batching, Packed):
            return
        if batching.truncation not in (None, *cls.truncations):
            choices = " or ".join(f"batching.truncation={choice}" for choice in cls.truncations)
            raise UserError(f"batching.truncation={batching.truncation} is not for this task. Try {choices}")
        if batching.overlap is not None and (batching.truncation or cls.truncations[0]) != "windows":
            raise UserError(f"batching.overlap={batching.overlap} is for texts in windows. Try batching.overlap=null")

    @classmethod
    def check_columns(cls, columns: Collection[str]) -> None:
        """Raises UserError where a source with these roles cannot be read."""
        return

    @classmethod
    def learned_roles(cls, source: Source) -> tuple[str, ...]:
        """Roles whose texts, or lists of texts, a tokenizer learns from."""
        return text_roles(source)

    @classmethod
    def label_names(cls, source: Source) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Class names, and how many rows of the train split have each; empty where there are no classes."""
        return (), ()

    @classmethod
    def of_text(cls, text: str) -> Row:
        """A row to answer out of a running text; where ``cuts_text``."""
        raise NotImplementedError

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def lengths(self, training: bool) -> np.ndarray:
        """Tokens of each example, special tokens counted: (examples,), or (examples, sides)."""

    def positions_apart(self) -> np.ndarray:
        """Positions that the texts of each row fill (examples,), where each is a row of a batch, as long as the longest."""
        raise NotImplementedError

    @abstractmethod
    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """The examples with these (epoch, index)."""

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def rows_of(self, indexes: np.ndarray) -> np.ndarray:
        """The row that each of these examples was made of: itself, where a row is one example."""
        return indexes

    @property
    @abstractmethod
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of text a token; of pairs, a scored token of the target. None where there is no text."""

    @property
    @abstractmethod
    def report(self) -> dict[str, float]:
        """Counts and shares for the log: ``rows``, ``tokens``, ``bytes_per_token``, ``unknown_share``, ``truncated_share``."""

    @property
    def longest(self) -> int:
        """Positions that a model needs for any example, on either side."""
        return int(self.lengths(training=False).max(initial=0))

    truncated_rows: np.ndarray  # (rows,) bool: which texts were cut to fit

    @property
    def unknown_tokens(self) -> np.ndarray:
        """Tokens of each row's text that the vocabulary lacks (rows,), where a task wants to tell."""
        return np.zeros(len(self.truncated_rows), dtype=np.int64)

    @property
    def length_ratio(self) -> float | None:
        """Tokens that a target may need for each token of its source; None where there are no pairs."""
        return None

    @property
    def scale(self) -> Scale | None:
        """Of the scores that the rows have; None where they have none."""
        return None

    @property
    def parts(self) -> int:
        """Texts that a row has, where they are read together."""
        return 1

    def statuses(self, rows: Sequence[Row]) -> list[str]:
        """Of each row: ``empty`` if it holds no text to read, ``truncated`` if it was cut to fit, else ``ok``."""
        texts = [[row.get(role) or "" for role in self.reads] for row in rows]
        return [
            "empty" if not any("".join(text).strip() for text in row) else "truncated" if cut else "ok"
            for row, cut in zip(texts, self.truncated_rows.tolist(), strict=True)
        ]
