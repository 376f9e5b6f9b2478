"""Examples to a batch of tensors. Small objects that a data-loading worker can receive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from groundup.data.facts import Facts
from groundup.data.seeding import uniform

IGNORE = -100  # label of a position that is not scored
FILL = {
    "labels": IGNORE,
    "position_ids": 0,
    "document_ids": -1,
    "characters": 0,
    "first": 0,
    "token_type_ids": 0,
}  # what padding is made of; every other key: <pad>


def pad(examples: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Tensor]:
    """Examples as one batch, padded on the right to the longest: arrays (T, ...) become (B, T, ...), numbers (B,).

    All are int64, but for real numbers, and arrays of one length of them, which are float32.

    ``attention_mask`` (B, T) bool is there only if something was padded, so that full batches take the fast kernels.
    """
    batch: dict[str, Tensor] = {}
    for name, first in examples[0].items():
        values = [example[name] for example in examples]
        if not isinstance(first, np.ndarray):
            batch[name] = torch.tensor(values, dtype=torch.float32 if isinstance(first, float) else torch.int64)
            continue
        longest = max(map(len, values))
        if min(map(len, values)) == longest:
            batch[name] = torch.from_numpy(np.stack(values))
            continue
        table = np.full((len(values), longest, *first.shape[1:]), FILL.get(name, pad_id), dtype=np.int64)
        for row, value in zip(table, values, strict=True):
            row[: len(value)] = value
        batch[name] = torch.from_numpy(table)
        if name == "input_ids":
            lengths = np.array([len(value) for value in values])
            batch["attention_mask"] = torch.from_numpy(np.arange(longest) < lengths[:, None])
    return batch


class Collator:
    """Pads, and changes nothing else: right for whatever has its labels already."""

    def __init__(self, facts: Facts) -> None:
        self.pad_id = facts.pad_id

    def __call__(self, examples: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Tensor]:
        return pad(examples, self.pad_id)


class PairCollator:
    """Of pairs, each text as a row of its own, ``<cls> text <sep>``: the first texts of all examples, then the second ones.

    ``input_ids`` are (2B, T), what an example has once stays (B,). Examples are ``<cls> text <sep> text_pair <sep>``.
    """

    def __init__(self, facts: Facts) -> None:
        self.pad_id, self.cls_id, self.sep_id = facts.pad_id, facts.cls_id, facts.sep_id

    def __call__(self, examples: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Tensor]:
        # The <sep> itself says where, as an augmentation may have moved it.
        both = [np.split(ids, [(ids == self.sep_id).argmax() + 1]) for ids in (one["input_ids"] for one in examples)]
        texts = [first for first, _ in both] + [np.concatenate([[self.cls_id], second]) for _, second in both]
        once = [{name: value for name, value in one.items() if name != "input_ids"} for one in examples]
        return {**pad([{"input_ids": text} for text in texts], self.pad_id), **pad(once, self.pad_id)}


def trim(characters: Tensor) -> Tensor:
    """Words (B, T, L) without the zeros behind the longest of them, (B, T, at least 1)."""
    return characters[:, :, : max(int(characters.any(0).any(0).sum()), 1)]


class MaskedCollator:
    """Hides tokens: of those chosen, 80 % become ``<mask>``, 10 % a random token, 10 % stay as they are.

    ``labels`` (B, T) are the tokens that were there at chosen positions, -100 elsewhere. Special tokens are never
    chosen; a row with anything to choose has at least one chosen. A row's choice depends on its seed alone.
    ``cls_first`` puts ``<cls>`` in place of each window's first token, so that it means something before fine-tuning.
    Where examples have ``characters``, a word of which a token is hidden is not spelled: it would say what was there.
    Source: Devlin et al. 2019.
    """

    def __init__(
        self, facts: Facts, mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.15, cls_first: bool = True
    ) -> None:
        self.pad_id, self.mask_id, self.cls_id = facts.pad_id, facts.mask_id, facts.cls_id
        self.mask_rate, self.cls_first = mask_rate, cls_first
        self.special = np.array(facts.special_ids)
        self.words = np.setdiff1d(np.arange(facts.vocab_size), self.special)

    def __call__(self, examples: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Tensor]:
        batch = pad(
            [{name: example[name] for name in example if name != "labels"} for example in examples], self.pad_id
        )
        original = batch["input_ids"].numpy()
        B, T = original.shape
        if self.cls_first:
            original[:, 0] = self.cls_id
        # Three numbers a position, side by side: a longer neighbour in the batch does not change a row's numbers.
        choice, action, word = np.moveaxis(uniform(np.array(seeds), 3 * T).reshape(B, T, 3), 2, 0)
        choice = np.where(np.isin(original, self.special), 2.0, choice)
        chosen = (choice < self.mask_rate) | (choice == choice.min(axis=1, keepdims=True))
        chosen &= choice < 2.0
        random_words = self.words[(word * len(self.words)).astype(np.int64)]
        hidden = np.where(action < 0.8, self.mask_id, np.where(action < 0.9, random_words, original))
        batch["labels"] = torch.from_numpy(np.where(chosen, original, IGNORE))
        batch["input_ids"] = torch.from_numpy(np.where(chosen, hidden, original))
        if "characters" in batch:
            characters = batch["characters"].numpy()
            if self.cls_first:
                characters[:, 0] = 0
            characters[with_word_of(chosen & (action < 0.9), characters)] = 0
            batch["characters"] = trim(batch["characters"])
        return batch


def with_word_of(hidden: np.ndarray, characters: np.ndarray) -> np.ndarray:
    """(B, T) bool: the tokens of all words of which a token is ``hidden`` (B, T).

    A word begins where ``characters`` (B, T, L) spell one, and reaches to where the next begins.
    """
    word = np.cumsum(characters[:, :, 0] > 0, axis=1, dtype=np.int64)  # (B, T); 0: one that is not spelled
    found = np.zeros((len(word), word.shape[1] + 1), dtype=bool)
    rows, columns = np.nonzero(hidden)
    found[rows, word[rows, columns]] = True
    return np.take_along_axis(found, word, axis=1)
