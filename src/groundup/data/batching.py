"""Which examples make a batch, and in which order: a pure function of the seed and the batch's number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from groundup.data.seeding import mix
from groundup.errors import ArgumentError, UserError
from groundup.ranges import Count

Plan = list[np.ndarray]  # batches of an epoch, each the indexes of its examples
Truncation = Literal["head", "tail", "head_tail", "windows"]
Overlap = Annotated[int, Field(ge=0)]


class Packed:
    """Windows of a token stream, all of one length: no padding. For language models.

    length: tokens in a window. batch_size: windows in a micro-batch. mask_documents: attention stays within a
    document, and positions start again in each. evaluation_batch_size: as ``batch_size`` if not given.
    """

    constant = True  # every epoch has the same number of batches

    def __init__(
        self,
        length: Annotated[int, Field(ge=2)] = 128,
        batch_size: Count = 32,
        mask_documents: bool = False,
        evaluation_batch_size: Count | None = None,
    ) -> None:
        self.length, self.batch_size, self.mask_documents = length, batch_size, mask_documents
        self.evaluation_batch_size = evaluation_batch_size or batch_size

    def plan(self, lengths: np.ndarray, seed: int, epoch: int) -> Plan:
        """Shuffled batches of ``epoch``; the last may be smaller."""
        return _cut(np.random.default_rng(mix(seed, epoch)).permutation(len(lengths)), self.batch_size)

    def evaluation_plan(self, lengths: np.ndarray, batch_size: int | None = None) -> Plan:
        """Batches in the split's own order."""
        return _cut(np.arange(len(lengths)), batch_size or self.evaluation_batch_size)


class Bucketed:
    """A fixed number of rows a batch, rows of like length together.

    max_length: tokens, special tokens counted; of pairs, on each side. batch_size: rows in a micro-batch. truncation:
    what stays of a longer text; None: what the examples have first in ``truncations``. overlap: tokens that neighbouring
    windows of a text share, for examples that may be ``windows``; None: a quarter of ``max_length``. window: so many
    batches of shuffled rows are sorted by length at a time; more means less padding, less randomness. ``lengths`` may be
    (rows,), or (rows, sides) for pairs.
    """

    constant = True

    def __init__(
        self,
        max_length: Annotated[int, Field(ge=8)] = 128,
        batch_size: Count = 32,
        truncation: Truncation | None = None,
        overlap: Overlap | None = None,
        window: Count = 50,
        evaluation_batch_size: Count | None = None,
    ) -> None:
        self.max_length, self.batch_size, self.window = max_length, batch_size, window
        self.truncation, self.overlap = truncation, overlap
        self.evaluation_batch_size = evaluation_batch_size or batch_size

    def plan(self, lengths: np.ndarray, seed: int, epoch: int) -> Plan:
        """Shuffled batches of ``epoch``, each of rows of like length; one of them may be smaller."""
        random = np.random.default_rng(mix(seed, epoch))
        windows = _sorted_windows(lengths, random, self.window, self.batch_size)
        return _shuffled([batch for rows in windows for batch in _cut(rows, self.batch_size)], random)

    def evaluation_plan(self, lengths: np.ndarray, batch_size: int | None = None) -> Plan:
        """Batches by length, the longest first: what does not fit into memory shows at once."""
        size = batch_size or self.evaluation_batch_size
        return _longest_first(_cut(by_length(lengths, size), size), lengths)


class TokenBudget:
    """As many rows a batch as fit: rows x longest row <= ``tokens``, padding counted. Rows of like length together.

    max_length, truncation, overlap, window, lengths: as for ``Bucketed``. tokens: positions in a micro-batch, at least
    ``max_length``; of pairs, those of both sides together.
    """

    constant = False  # which rows meet decides how many batches an epoch has

    def __init__(
        self,
        max_length: Annotated[int, Field(ge=8)] = 128,
        tokens: Count = 4096,
        truncation: Truncation | None = None,
        overlap: Overlap | None = None,
        window: Count = 50,
    ) -> None:
        if tokens < max_length:
            raise ArgumentError(f"tokens={tokens} is less than max_length={max_length}", f"tokens={max_length * 16}")
        self.max_length, self.tokens, self.window = max_length, tokens, window
        self.truncation, self.overlap = truncation, overlap

    def plan(self, lengths: np.ndarray, seed: int, epoch: int) -> Plan:
        """Shuffled batches of ``epoch``; how many there are differs a little between epochs."""
        random = np.random.default_rng(mix(seed, epoch))
        windows = _sorted_windows(lengths, random, self.window, self._rows_a_batch(lengths))
        return _shuffled([batch for rows in windows for batch in self._fill(rows, lengths[rows])], random)

    def evaluation_plan(self, lengths: np.ndarray, batch_size: int | None = None) -> Plan:
        """Batches by length, the longest first; with ``batch_size``, also at most so many rows."""
        if not len(lengths):
            return []
        rows = by_length(lengths, batch_size or self._rows_a_batch(lengths))
        batches = [part for batch in self._fill(rows, lengths[rows]) for part in _cut(batch, batch_size or len(batch))]
        return _longest_first(batches, lengths)

    def _rows_a_batch(self, lengths: np.ndarray) -> int:
        return max(1, int(self.tokens / (lengths.sum() / len(lengths))))

    def _fill(self, rows: np.ndarray, lengths: np.ndarray) -> Plan:
        """Cuts rows, in the order they have, before the one that would not fit."""
        lengths = lengths.reshape(len(rows), -1)  # (rows, sides)
        if (longest := int(lengths.sum(axis=1).max())) > self.tokens:
            raise UserError(
                f"a row of {longest} tokens on both sides is more than batching.tokens={self.tokens}: "
                f"try batching.tokens={longest * 8}, or a smaller batching.max_length"
            )
        batches, begin = [], 0
        while begin < len(rows):
            most = max(1, self.tokens // max(1, int(lengths[begin].sum())))  # no more can fit: what follows only adds
            longest_so_far = np.maximum.accumulate(lengths[begin : begin + most], axis=0).sum(axis=1)
            sizes = longest_so_far * np.arange(1, len(longest_so_far) + 1)
            take = max(1, int(np.searchsorted(sizes, self.tokens, side="right")))
            batches.append(rows[begin : begin + take])
            begin += take
        return batches


Batching = Packed | Bucketed | TokenBudget


class BatchStream:
    """Batch sampler of a run: one endless sequence of batches over the epochs, of which each rank takes its share.

    Micro-batch k of rank r is batch ``k * world + r`` of the sequence plan(0), plan(1), ...; so it depends on k, not
    on how often or in which process it is asked for. ``start`` is the first micro-batch to yield (a resumed run sets
    it); ``total`` of the run, resumed or not, is its length. Yields lists of (epoch, index).
    """

    def __init__(
        self,
        plan: Callable[[int], Plan],
        total: int,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        constant: bool = False,
    ) -> None:
        self.plan, self.total, self.rank, self.world, self.start = plan, total, rank, world, start
        self.constant = constant  # every plan has the same length, so that a resumed run need not make the earlier ones

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # Changes nothing in self: DataLoader iterates twice when it has workers.
        k, epoch, first = self.start, 0, 0
        if k >= self.total:
            return
        if self.constant:
            size = len(self.plan(0))
            epoch = (k * self.world + self.rank) // size
            first = epoch * size
        while k < self.total:
            batches = self.plan(epoch)
            while k < self.total and (place := k * self.world + self.rank - first) < len(batches):
                yield [(epoch, index) for index in batches[place].tolist()]
                k += 1
            first += len(batches)
            epoch += 1


class EvaluationBatches:
    """Batch sampler that visits each example once, on one of the ranks. Yields lists of (-1, index)."""

    def __init__(self, plan: Plan, rank: int = 0, world: int = 1) -> None:
        self.batches = _multiple(plan, world)[rank::world]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            yield [(-1, index) for index in batch.tolist()]


def padding_share(plan: Plan, lengths: np.ndarray) -> float:
    """Share of a plan's positions that are padding; ``lengths`` (rows,) or (rows, sides)."""
    real = sum(int(lengths[batch].sum()) for batch in plan)
    return 1 - real / max(1, sum(positions(lengths[batch]) for batch in plan))


def _cut(rows: np.ndarray, size: int) -> Plan:
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]


def _sorted_windows(lengths: np.ndarray, random: np.random.Generator, window: int, size: int) -> Plan:
    """Shuffled rows in windows of ``window`` batches of ``size``, each sorted by length; equal lengths stay shuffled."""
    windows = _cut(random.permutation(len(lengths)), window * size)
    return [rows[by_length(lengths[rows], size)] for rows in windows]


def _longest_first(batches: Plan, lengths: np.ndarray) -> Plan:
    return sorted(batches, key=lambda batch: int(lengths[batch].max(axis=0).sum()))[::-1]


def _shuffled(batches: Plan, random: np.random.Generator) -> Plan:
    return [batches[number] for number in random.permutation(len(batches))]


def _multiple(plan: Plan, world: int) -> Plan:
    """Halves the largest batches until every rank has as many as the others: some strategies wait for each other."""
    plan = list(plan)
    while len(plan) % world:
        largest = max(range(len(plan)), key=lambda number: len(plan[number]))
        if len(plan[largest]) < 2:
            break  # fewer rows than ranks
        batch = plan[largest]
        plan[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    return plan


def by_length(lengths: np.ndarray, size: int) -> np.ndarray:
    """An order of rows in which ``size`` neighbours are of like length: short ones first, ties as they stand.

    ``lengths`` (rows,), or (rows, sides) where rows must be alike on every side: then all rows are halved by the side
    that leaves the fewest positions to fill, and so on down to ``size`` (a k-d tree, Bentley 1975). Sorting by one side
    and then the other pads half as much again.
    """
    if lengths.ndim == 1:
        return np.argsort(lengths, kind="stable")
    return np.concatenate(_halved(np.arange(len(lengths)), lengths, size))


def positions(lengths: np.ndarray) -> int:
    """Positions that these rows take as one batch, padding counted, on all sides."""
    return len(lengths) * int(lengths.max(axis=0).sum())


def _halved(rows: np.ndarray, lengths: np.ndarray, size: int) -> list[np.ndarray]:
    if len(rows) <= size:
        return [rows]
    middle = -(-len(rows) // size) // 2 * size  # whole batches on the left
    orders = [rows[np.argsort(lengths[rows, side], kind="stable")] for side in range(lengths.shape[1])]
    best = min(orders, key=lambda order: positions(lengths[order[:middle]]) + positions(lengths[order[middle:]]))
    return _halved(best[:middle], lengths, size) + _halved(best[middle:], lengths, size)
