"""What models and tasks must know of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Scale(NamedTuple):
    """Of the scores of the train split: mean, standard deviation, the lowest and the highest of them."""

    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Facts:
    """Plain values that travel from the data to the model, and are saved with the run.

    ``labels`` are the class names; a class's id is its place in the tuple. ``label_counts`` are rows of the train
    split, in the same order (for class weights). Both are empty where the data has no classes. ``target_vocab_size`` is
    None where sources and targets share one vocabulary; the special ids are the same in both. ``length_ratio``: tokens
    that a target may need for each token of its source, as learned from the train split; None where there are no pairs.
    ``scale``: of the scores that texts have; None where they have none. ``parts``: texts that a row has: 2 where rows are
    pairs that are read together.
    """

    vocab_size: int
    pad_id: int
    unk_id: int
    bos_id: int
    eos_id: int
    sep_id: int
    mask_id: int
    cls_id: int
    labels: tuple[str, ...] = ()
    label_counts: tuple[int, ...] = ()
    target_vocab_size: int | None = None
    length_ratio: float | None = None
    scale: Scale | None = None
    parts: int = 1

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Those of special tokens, rising, each once. Of an imported run they may stand anywhere in the vocabulary."""
        ids = {self.pad_id, self.unk_id, self.bos_id, self.eos_id, self.sep_id, self.mask_id, self.cls_id}
        return tuple(sorted(ids))

    @property
    def unwritten_ids(self) -> tuple[int, ...]:
        """Special tokens that a text never holds: all but ``<eos>``, which ends it and may stand for others, too."""
        return tuple(one for one in self.special_ids if one != self.eos_id)

    def as_dict(self) -> dict[str, Any]:
        """Only ints, strings and lists: fit for JSON, YAML and checkpoints that load with ``weights_only=True``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """The inverse of :meth:`as_dict`.

        Raises:
            TypeError: a value is missing, or there is one too many.
            ValueError: no data can have such facts.
        """
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        if (scale := plain.get("scale")) is not None:
            if not (isinstance(scale, tuple) and len(scale) == 4 and all(map(_is_finite, scale)) and scale[1] > 0):
                raise ValueError("scale is not that of scores")
            plain["scale"] = Scale(*map(float, scale))
        facts = cls(**plain)
        sizes = [facts.vocab_size] + ([] if facts.target_vocab_size is None else [facts.target_vocab_size])
        if not all(_is_count(size) for size in sizes):
            raise ValueError("a vocabulary has no size")
        if not all(_is_count(plain[name]) and plain[name] < min(sizes) for name in plain if name.endswith("_id")):
            raise ValueError("a special id is none of its vocabulary")
        labels, counts, ratio = facts.labels, facts.label_counts, facts.length_ratio
        if not (isinstance(labels, tuple) and all(isinstance(label, str) for label in labels)):
            raise ValueError("a label is no text")
        if len(set(labels)) < len(labels):
            raise ValueError("a label stands there twice")
        if not (isinstance(counts, tuple) and len(counts) in (0, len(labels)) and all(map(_is_count, counts))):
            raise ValueError("label_counts are no numbers of rows")
        if facts.parts not in (1, 2):
            raise ValueError("a row has one text or two")
        if ratio is not None and not (_is_finite(ratio) and ratio > 0):
            raise ValueError("length_ratio is no ratio")
        return facts


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
