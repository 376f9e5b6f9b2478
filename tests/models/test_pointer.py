"""What holds for copying: a distribution, of the source's tokens too, that padding and neighbours do not change."""

from __future__ import annotations

import pytest
import torch

from groundup.models.heads import Pointer

V, D = 12, 8


@pytest.fixture
def pointer() -> Pointer:
    torch.manual_seed(0)
    pointer = Pointer(D)
    with torch.no_grad():
        pointer.share.weight.normal_()
    return pointer


def sources(pointer: Pointer):
    """Two sources, of 5 and of 3 tokens, one of them twice."""
    ids = torch.tensor([[4, 7, 4, 9, 2], [6, 3, 2, 0, 0]])
    return pointer.source(ids, torch.randn(2, 5, D), torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))


def test_it_mixes_what_is_written_with_what_is_copied_by_the_definition(pointer):
    source, hidden, logits = sources(pointer), torch.randn(2, 3, D), torch.randn(2, 3, V)
    weights, share = pointer.attend(hidden, source)
    rows = torch.arange(2).repeat_interleave(3)
    found = pointer.mix(logits.flatten(0, 1), weights.flatten(0, 1), share.flatten(0, 1), source.ids[rows]).exp()
    torch.testing.assert_close(found.sum(-1), torch.ones(6))
    for row in range(2):
        for step in range(3):
            copied = torch.zeros(V)
            for place in range(5 if row == 0 else 3):
                copied[source.ids[row, place]] += weights[row, step, place]
            c = share[row, step]
            torch.testing.assert_close(found[3 * row + step], (1 - c) * logits[row, step].softmax(-1) + c * copied)
    assert (weights[1, :, 3:] == 0).all() and (share.std() > 0)


def test_rows_of_one_source_are_read_as_if_alone_in_any_choice_of_sources(pointer):
    source, hidden, logits = sources(pointer), torch.randn(4, D), torch.randn(4, V)
    together = pointer.next(source, logits, hidden, torch.tensor([0, 0, 1, 1]))
    for row, origin in enumerate((0, 0, 1, 1)):
        alone = pointer.next(source, logits[row : row + 1], hidden[row : row + 1], torch.tensor([origin]))
        torch.testing.assert_close(together[row : row + 1], alone)
    short = pointer.source(source.ids[1:, :3], source.memory[1:, :3], None)  # without its padding
    torch.testing.assert_close(together[2:], pointer.next(short, logits[2:], hidden[2:], torch.tensor([0, 0])))


def test_gradients_stay_finite_where_a_target_can_neither_be_written_nor_copied(pointer):
    source, hidden = sources(pointer), torch.randn(2, 1, D, requires_grad=True)
    weights, share = pointer.attend(hidden, source)
    logits = torch.full((2, V), 0.0)
    logits[:, 11] = -1e4
    loss = -pointer.mix(logits, weights[:, 0], share[:, 0], source.ids)[:, 11].sum()
    loss.backward()
    assert loss.isfinite() and hidden.grad.isfinite().all()


def test_autocast_mixes_in_float32_and_agrees_roughly(pointer):
    source, hidden, logits = sources(pointer), torch.randn(2, D), torch.randn(2, V)
    expected = pointer.next(source, logits, hidden, torch.arange(2))
    with torch.autocast("cpu", torch.bfloat16):
        source = pointer.source(source.ids, source.memory, source.mask)
        found = pointer.next(source, logits.bfloat16(), hidden, torch.arange(2))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)
