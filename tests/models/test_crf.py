"""Sums and maxima over all tags of a sentence equal those of writing all of them down."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from groundup.models.crf import (
    IMPOSSIBLE,
    Chain,
    Scores,
    best_tags,
    log_normalizer,
    log_score,
    marginals,
    messages,
    sides,
)

LENGTHS = [4, 1, 0, 3]
T, C = 4, 3


def toy(seed: int, dtype=torch.float32, size: float = 2.0):
    draw = torch.Generator().manual_seed(seed)
    numbers = [torch.randn(*shape, generator=draw) * size for shape in [(C,), (C, C), (C,)]]
    emissions = torch.randn(len(LENGTHS), T, C, generator=draw) * size
    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    return emissions.to(dtype), Scores(*numbers), mask


def every(emissions, scores, row):
    """All tags of a sentence with their scores, one after the other."""
    found = {}
    for tags in product(range(C), repeat=LENGTHS[row]):
        pairs = sum(scores.transitions[pair] for pair in pairwise(tags))
        own = sum(emissions[row, place, tag] for place, tag in enumerate(tags))
        ends = scores.start[tags[0]] + scores.end[tags[-1]] if tags else torch.tensor(0.0)
        found[tags] = own + pairs + ends
    return found


@pytest.mark.parametrize("seed", range(20))
def test_normalizer_scores_marginals_and_best_tags_equal_brute_force(seed):
    emissions, scores, mask = toy(seed)
    found = messages(emissions, scores, mask)
    chances, chosen = marginals(emissions, found), best_tags(emissions, scores, mask)
    tags = torch.randint(C, (len(LENGTHS), T), generator=torch.Generator().manual_seed(seed))
    left, right = sides(emissions, scores, mask, tags)
    for row, length in enumerate(LENGTHS):
        all_of_them = every(emissions, scores, row)
        total = torch.stack([*all_of_them.values()]).logsumexp(0) if length else torch.tensor(0.0)
        torch.testing.assert_close(found.log_normalizer[row], total)
        given = tuple(tags[row, :length].tolist())
        torch.testing.assert_close(log_score(emissions, scores, mask, tags)[row], all_of_them[given])
        assert tuple(chosen[row, :length].tolist()) == max(all_of_them, key=all_of_them.get)
        for place in range(length):
            for tag in range(C):
                share = sum((one - total).exp() for those, one in all_of_them.items() if those[place] == tag)
                torch.testing.assert_close(chances[row, place, tag], share)
        for begin in range(length):
            for end in range(begin, length):
                words = slice(begin, end + 1)
                share = sum((one - total).exp() for those, one in all_of_them.items() if those[words] == given[words])
                probability = (left[row, begin] + right[row, end]).exp()
                torch.testing.assert_close(probability.float(), share, atol=1e-5, rtol=1e-4)


def test_gradients_equal_those_of_automatic_differentiation():
    emissions, scores, mask = toy(1)
    leaves = [x.double().requires_grad_() for x in (emissions, *scores)]
    weights = torch.arange(1.0, len(LENGTHS) + 1)

    def plain(emissions, start, transitions, end):
        total = torch.tensor(0.0)
        for row, length in enumerate(LENGTHS):
            if length:
                values = every(emissions, Scores(start, transitions, end), row).values()
                total = total + weights[row] * torch.stack([*values]).logsumexp(0)
        return total

    expected = torch.autograd.grad(plain(*leaves), leaves)
    single = [x.detach().float().requires_grad_() for x in leaves]
    found = torch.autograd.grad((log_normalizer(single[0], Scores(*single[1:]), mask) * weights).sum(), single)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other.float(), atol=1e-5, rtol=1e-4)


def test_gradients_do_not_depend_on_how_many_pairs_are_held(monkeypatch):
    emissions, scores, mask = toy(2)
    leaves = [x.requires_grad_() for x in (emissions, *scores)]
    found = []
    for cells in (1, 1 << 22):
        monkeypatch.setattr("groundup.models.crf._CELLS", cells)
        found.append(torch.autograd.grad(log_normalizer(leaves[0], Scores(*leaves[1:]), mask).sum(), leaves))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("fill", [0.0, 50.0, float("nan")])
def test_padding_and_neighbours_change_nothing(fill):
    emissions, scores, mask = toy(3)
    wide = torch.full((len(LENGTHS), T + 5, C), fill)
    wide[:, :T] = emissions.masked_fill(~mask[:, :, None], fill)
    more = torch.nn.functional.pad(mask, (0, 5))
    torch.testing.assert_close(log_normalizer(wide, scores, more), log_normalizer(emissions, scores, mask))
    tags = best_tags(wide, scores, more)
    for row, length in enumerate(LENGTHS):
        alone = emissions[row : row + 1, :length]
        if length:
            whole = torch.ones(1, length, dtype=torch.bool)
            assert tags[row, :length].tolist() == best_tags(alone, scores, whole)[0].tolist()
            torch.testing.assert_close(log_normalizer(wide, scores, more)[row], log_normalizer(alone, scores, whole)[0])


def test_large_scores_stay_finite_and_half_precision_is_computed_in_float32():
    emissions, scores, mask = toy(4, size=3e3)
    emissions.requires_grad_()
    total = log_normalizer(emissions, scores, mask)
    total.sum().backward()
    assert total.isfinite().all() and emissions.grad.isfinite().all()
    half, scores, mask = toy(5, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = log_normalizer(half, scores, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, log_normalizer(half.float(), scores, mask))


def test_what_is_forbidden_is_never_chosen_and_does_not_change_the_loss():
    rules = [
        [True, False, False],
        [[False, True, True], [True, False, False], [False, True, False]],
        [False, True, False],
    ]
    chain = Chain(C, rules)
    for seed in range(20):
        emissions, scores, mask = toy(seed, size=20.0)
        with torch.no_grad():
            for own, value in zip(chain.parameters(), scores):
                own.copy_(value)
        assert all(score.min() > IMPOSSIBLE for score in chain())
        tags = best_tags(emissions, chain(choosing=True), mask)
        for row, length in enumerate(LENGTHS):
            chosen = tags[row, :length].tolist()
            assert not any(rules[1][before][after] for before, after in pairwise(chosen))
            assert not chosen or not (rules[0][chosen[0]] or rules[2][chosen[-1]])
