"""What models and tasks must know of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """Plain values that travel from the data to the model, and are saved with the run.

    ``labels`` are the class names; a class's id is its place in the tuple. ``label_counts`` are rows of the train
    split, in the same order (for class weights). Both are empty where the data has no classes. ``target_vocab_size`` is
    None where sources and targets share one vocabulary; the special ids are the same in both. ``length_ratio``: tokens
    that a target may need for each token of its source, as learned from the train split; None where there are no pairs.
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

    def as_dict(self) -> dict[str, Any]:
        """Only ints, strings and lists: fit for JSON, YAML and checkpoints that load with ``weights_only=True``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """The inverse of :meth:`as_dict`."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)
