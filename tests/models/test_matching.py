"""Pairs of texts are compared word by word as a loop over words says, and padding changes nothing."""

from __future__ import annotations

import torch
from seed import SEED

from groundup.models.matching import Matching

B, T, D = 3, 6, 8


def made(ordered: bool = False) -> tuple[Matching, torch.Tensor, torch.Tensor]:
    torch.manual_seed(SEED)
    head = Matching(D, ordered=ordered)
    torch.nn.init.normal_(head.weight.weight)
    lengths = torch.tensor([4, 6, 1, 5, 2, 6])
    return head, torch.randn(2 * B, T, D), torch.arange(T) < lengths[:, None]


def test_alignment_is_that_of_a_loop():
    head, hidden, mask = made()
    found = head.alignment(hidden, mask)
    for row in range(B):
        sides = [hidden[place][mask[place]] for place in (row, row + B)]
        weights = [(side @ head.weight.weight[0]).softmax(0) for side in sides]
        means = []
        for one, other, weight in ((*sides, weights[0]), (*sides[::-1], weights[1])):
            best = [max(torch.cosine_similarity(a, b, dim=0) for b in other) for a in one]
            means.append(sum(w * alike for w, alike in zip(weight, best, strict=True)))
        u, v = ((weight[:, None] * side).sum(0) for side, weight in zip(sides, weights, strict=True))
        expected = [sum(means) / 2, means[0] * means[1], min(means), torch.cosine_similarity(u, v, dim=0)]
        torch.testing.assert_close(found[row], torch.stack(expected))
        head.ordered = True
        torch.testing.assert_close(head.alignment(hidden, mask)[row, 4], means[0] - means[1])
        head.ordered = False


def test_swapped_texts_and_longer_padding_give_the_same_and_equal_texts_are_alike():
    head, hidden, mask = made()
    pooled = torch.randn(2 * B, D)
    found = head(hidden, pooled, mask)
    swapped = (torch.cat(part.chunk(2)[::-1]) for part in (hidden, pooled, mask))
    torch.testing.assert_close(head(*swapped), found)
    padding = torch.full((2 * B, 2, D), 9.0)
    wider = torch.cat([mask, torch.zeros(2 * B, 2, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(head(torch.cat([hidden, padding], dim=1), pooled, wider), found)
    same = head.alignment(hidden[:B].repeat(2, 1, 1))
    torch.testing.assert_close(same, torch.ones(B, 4))


def test_where_the_order_counts_swapped_texts_are_told_apart():
    head, hidden, mask = made(ordered=True)
    pooled = torch.randn(2 * B, D)
    found = head(hidden, pooled, mask)
    assert found.shape == (B, head.features)
    swapped = head(*(torch.cat(part.chunk(2)[::-1]) for part in (hidden, pooled, mask)))
    u, v = pooled.chunk(2)
    same = 2 * D  # |u - v| and u * v
    torch.testing.assert_close(swapped[:, :same], found[:, :same])
    torch.testing.assert_close(swapped[:, same : 2 * same], torch.cat([v, u], dim=-1))
    torch.testing.assert_close(swapped[:, -1], -found[:, -1])
