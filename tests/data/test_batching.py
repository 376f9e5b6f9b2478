"""The order of batches: pure in (seed, batch number), complete, and split over ranks without overlap."""

from __future__ import annotations

import hashlib
import itertools
from functools import partial

import numpy as np
import pytest

from groundup.data.batching import (
    BatchStream,
    Bucketed,
    EvaluationBatches,
    Packed,
    Plan,
    TokenBudget,
    by_length,
    padding_share,
)
from groundup.errors import UserError

LENGTHS = np.minimum(3 + np.random.default_rng(0).geometric(0.08, size=1003), 64)  # skewed, as short texts are
BATCHINGS = {
    "packed": Packed(length=64, batch_size=16),
    "bucketed": Bucketed(max_length=64, batch_size=16),
    "token_budget": TokenBudget(max_length=64, tokens=256),
}
RANDOM = np.random.default_rng(1)
SOURCES = np.minimum(4 + RANDOM.geometric(0.08, size=6000), 64)
PAIRS = np.stack([SOURCES, np.clip(SOURCES + RANDOM.normal(0, 2 + SOURCES / 8), 2, 64).astype(np.int64)], axis=1)
ROWS = {"bucketed": Bucketed(64, batch_size=64), "token_budget": TokenBudget(64, tokens=4096)}
every_row_batching = pytest.mark.parametrize("batching", ROWS.values(), ids=ROWS)
every_batching = pytest.mark.parametrize("batching", BATCHINGS.values(), ids=BATCHINGS)


def stream(batching, total: int, rank: int = 0, world: int = 1, start: int = 0, seed: int = 1) -> BatchStream:
    plan = partial(batching.plan, LENGTHS, seed)
    return BatchStream(plan, total, rank, world, start, constant=batching.constant)


@every_batching
def test_iterating_again_gives_the_same_batches(batching):
    batches = stream(batching, 30)
    first, second = iter(batches), iter(batches)
    interleaved = [(next(first), next(second)) for _ in range(30)]
    assert all(one == other for one, other in interleaved)
    assert len(list(batches)) == len(batches) == 30


@every_batching
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_together_see_the_one_sequence(batching, world):
    epochs = 3
    batches = sum(len(batching.plan(LENGTHS, 1, epoch)) for epoch in range(epochs))
    everything = list(stream(batching, batches + world))
    ranks = [list(stream(batching, (batches + world) // world, rank, world)) for rank in range(world)]
    interleaved = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert interleaved == everything[: len(interleaved)]
    seen = sorted(key for batch in everything[:batches] for key in batch)
    assert seen == [(epoch, index) for epoch in range(epochs) for index in range(len(LENGTHS))]


@every_batching
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2)])
def test_a_resumed_stream_is_the_tail_of_the_whole(batching, rank, world):
    total = 150  # beyond the first epoch's end
    whole = list(stream(batching, total, rank, world))
    for start in (0, 1, 31, 32, 33, 62, 63, 64, 65, 100, 149, 150):
        assert list(stream(batching, total, rank, world, start)) == whole[start:]


@every_batching
def test_epochs_and_seeds_differ(batching):
    def rows(seed: int, epoch: int) -> list[int]:
        return np.concatenate(batching.plan(LENGTHS, seed, epoch)).tolist()

    orders = [rows(1, 0), rows(1, 1), rows(2, 0)]
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    assert rows(1, 0) == orders[0]


@every_batching
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_evaluation_visits_each_row_once_and_keeps_ranks_in_step(batching, world):
    plan = batching.evaluation_plan(LENGTHS)
    ranks = [EvaluationBatches(plan, rank, world) for rank in range(world)]
    seen = sorted(index for rank in ranks for batch in rank for _, index in batch)
    assert seen == list(range(len(LENGTHS)))
    assert len({len(rank) for rank in ranks}) == 1
    assert all(epoch == -1 for rank in ranks for batch in rank for epoch, _ in batch)


def test_evaluation_of_fewer_rows_than_ranks():
    plan = Bucketed().evaluation_plan(np.array([5, 5]))
    assert [list(EvaluationBatches(plan, rank, 3)) for rank in range(3)] == [[[(-1, 0)]], [[(-1, 1)]], []]


@pytest.mark.parametrize("name", ["bucketed", "token_budget"])
def test_padding_of_short_texts_is_below_ten_percent(name):
    batching, lengths = BATCHINGS[name], np.tile(LENGTHS, 5)
    random = np.array_split(np.random.default_rng(0).permutation(len(lengths)), len(lengths) // 16)
    assert padding_share(random, lengths) > 0.5
    for plan in (batching.plan(lengths, 1, 0), batching.evaluation_plan(lengths)):
        assert padding_share(plan, lengths) <= 0.10


def test_padding_share_of_known_batches():
    assert padding_share([np.array([0, 1]), np.array([2])], np.array([2, 4, 9])) == pytest.approx(2 / 17)


@pytest.mark.parametrize("tokens", [64, 100, 256])
def test_budget_is_never_exceeded_and_always_used(tokens):
    batching = TokenBudget(max_length=64, tokens=tokens, window=4)
    for plan in (batching.plan(LENGTHS, 3, 0), batching.evaluation_plan(LENGTHS)):
        sizes = [len(batch) * LENGTHS[batch].max() for batch in plan]
        assert max(sizes) <= tokens
        assert np.mean(sizes) > 0.6 * tokens
    assert len({len(batching.plan(LENGTHS, 3, epoch)) for epoch in range(8)}) > 1  # why streams count plans' lengths


def test_evaluation_starts_with_the_longest_and_takes_another_batch_size():
    plan = Bucketed(batch_size=16).evaluation_plan(LENGTHS, batch_size=100)
    assert LENGTHS[plan[0]].max() == LENGTHS.max()
    assert {len(batch) for batch in plan} == {100, 3}
    assert max(len(batch) for batch in TokenBudget(64, 512).evaluation_plan(LENGTHS, batch_size=5)) == 5
    assert max(len(batch) for batch in Packed(64, 8, evaluation_batch_size=40).evaluation_plan(LENGTHS)) == 40


def test_packed_evaluation_keeps_the_order_of_the_text():
    plan = Packed(length=8, batch_size=3).evaluation_plan(np.full(7, 8))
    assert [batch.tolist() for batch in plan] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_budget_below_the_longest_row_is_refused():
    with pytest.raises(UserError, match=r"^tokens=100 is less than max_length=128. Try tokens=2048"):
        TokenBudget(max_length=128, tokens=100)


def digest(plan: Plan) -> str:
    return hashlib.sha256(b"|".join(batch.astype("<i8").tobytes() for batch in plan)).hexdigest()[:16]


def test_the_order_of_texts_is_that_of_earlier_versions():
    # A run that is resumed, or repeated, after an update of the code must see the same batches.
    found = {
        name: [digest(batching.plan(LENGTHS, *place)) for place in ((0, 0), (1, 3), (42, 7))]
        + [digest(batching.evaluation_plan(LENGTHS)), digest(batching.evaluation_plan(LENGTHS, 5))]
        for name, batching in {**BATCHINGS, "small_windows": TokenBudget(64, 100, window=4)}.items()
        if name != "packed"
    }
    assert found == {
        "bucketed": [
            "257bae395a9d6efc",
            "76477d4512719e65",
            "e31a7ddc323a52df",
            "3f62cb7db8fc3931",
            "2e4b1f5c6035494a",
        ],
        "token_budget": [
            "fd15e87a41e8d385",
            "01285f9572e3b6a6",
            "b903f15c9444ccd7",
            "98615f5372a9a9fb",
            "6f3561c4c7b4d0a0",
        ],
        "small_windows": [
            "364c40dddd9d1310",
            "b45c70a7371df416",
            "6506fa70b13528f3",
            "89f77542c0e14913",
            "30651ca6b74dba34",
        ],
    }


@every_row_batching
def test_pairs_follow_from_seed_and_epoch_and_none_is_lost(batching):
    plan = batching.plan(PAIRS, 1, 0)
    assert digest(plan) == digest(batching.plan(PAIRS, 1, 0))
    assert len({digest(batching.plan(PAIRS, seed, epoch)) for seed, epoch in ((1, 0), (1, 1), (2, 0))}) == 3
    for batches in (plan, batching.evaluation_plan(PAIRS), batching.evaluation_plan(PAIRS, 10)):
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(PAIRS)))
    assert max(map(len, batching.evaluation_plan(PAIRS, 10))) == 10


@every_row_batching
def test_pairs_pad_little_on_both_sides(batching):
    shuffled = np.random.default_rng(0).permutation(len(PAIRS))
    assert padding_share(np.array_split(shuffled, len(PAIRS) // 64), PAIRS) > 0.6
    plan = batching.plan(PAIRS, 1, 0)
    shares = [padding_share(plan, PAIRS[:, side]) for side in (0, 1)]
    assert max(shares) < 0.15
    windows = [rows[np.lexsort(PAIRS[rows].T)] for rows in np.array_split(shuffled, 2)]  # by one side, then the other
    one_side_first = [rows[begin : begin + 64] for rows in windows for begin in range(0, 3000, 64)]
    assert padding_share(plan, PAIRS) < 0.75 * padding_share(one_side_first, PAIRS)


def test_a_budget_counts_both_sides():
    batching = TokenBudget(64, tokens=500, window=4)
    for plan in (batching.plan(PAIRS, 3, 0), batching.evaluation_plan(PAIRS)):
        sizes = [len(batch) * PAIRS[batch].max(axis=0).sum() for batch in plan]
        assert max(sizes) <= 500 and np.mean(sizes) > 0.8 * 500
    assert padding_share([np.array([0, 1])], np.array([[2, 7], [4, 3]])) == pytest.approx(1 - 16 / 22)
    with pytest.raises(UserError, match=r"a row of 120 tokens on both sides .* try batching\.tokens=960"):
        TokenBudget(64, tokens=100).plan(np.array([[5, 5], [60, 60]]), 1, 0)


@every_row_batching
def test_evaluation_of_pairs_begins_with_what_needs_the_most(batching):
    sizes = [PAIRS[batch].max(axis=0).sum() for batch in batching.evaluation_plan(PAIRS)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4), (4, 4), (5, 4), (37, 5), (37, 100)])
def test_an_order_by_length_holds_every_row_once(rows, size):
    for lengths in (PAIRS[:rows], PAIRS[:rows, 0], np.ones((rows, 2), dtype=int)):
        assert sorted(by_length(lengths, size).tolist()) == list(range(rows))
    assert by_length(np.ones((rows, 2), dtype=int), size).tolist() == list(range(rows))  # ties as they stand
