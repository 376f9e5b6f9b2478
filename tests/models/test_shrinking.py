"""Pruning: what adds nothing goes first, and without it the answers are the same."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from seed import SEED

from groundup.models.shrinking import importance, matrices_of, share_of_zeros, shrink, zero_smallest
from groundup.models.transformer import TransformerDecoder, TransformerEncoder

V, D, B, T = 40, 32, 3, 9
SHAPE = {"width": D, "layers": 2, "heads": 4, "zero_init": False, "dropout": 0.0}
KINDS = {
    "encoder": (TransformerEncoder, {"feed_forward": "gelu"}),
    "groups, gated": (TransformerEncoder, {"kv_heads": 2, "feed_forward": "swiglu", "qk_norm": False}),
    "post-norm, learned": (TransformerEncoder, {"norm_order": "post", "position": "learned"}),
    "decoder": (TransformerDecoder, {"kv_heads": 2}),
    "decoder with memory": (TransformerDecoder, {"cross_attention": True}),
}


def answers(model, ids, **words):
    if getattr(model, "cross_attention", False):
        words["memory"] = torch.linspace(-1, 1, B * 5 * D).view(B, 5, D)
    found = model(ids, **words)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("kind", KINDS)
def test_without_what_adds_nothing_a_model_answers_the_same(kind):
    torch.manual_seed(SEED)
    make, words = KINDS[kind]
    model = make(V, **SHAPE, **words).eval()
    ids = torch.randint(V, (B, T))
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for block in model.blocks:  # half of the groups of heads, and of the units, are never listened to
            parts = [block.attention, *([block.cross_attention] if hasattr(block, "cross_attention") else [])]
            for attention in parts:
                groups = attention.kv_heads
                gone = torch.randperm(groups, generator=generator)[: groups // 2]
                attention.out.weight.view(D, groups, -1)[:, gone] = 0
            inner = block.feed_forward.down.in_features
            block.feed_forward.down.weight[:, torch.randperm(inner, generator=generator)[: inner // 2]] = 0
    targets = torch.randn(B, T, D)
    scores = importance(model, lambda: (answers(model, ids) * targets).sum(), 2)
    assert all(int((score == 0).sum()) == len(score) // 2 for score in scores.values())
    weights, shapes = shrink(model, scores, 0.5)
    smaller = make(V, **{**SHAPE, **words, **asdict(shapes["blocks"])}).eval()
    smaller.load_state_dict(weights)
    assert smaller.blocks[0].attention.out.in_features == D // 2
    torch.testing.assert_close(answers(smaller, ids), answers(model, ids), atol=1e-5, rtol=1e-5)


def test_a_decoder_with_fewer_heads_goes_on_from_its_state():
    torch.manual_seed(SEED)
    model = TransformerDecoder(V, **{**SHAPE, "heads": 3}, head_width=8, feed_forward_width=20).eval()
    ids, state = torch.randint(V, (B, T)), model.initial_state(B, T)
    with torch.no_grad():
        parts = [model(ids[:, t : t + 1], state=state)[0] for t in range(T)]
        torch.testing.assert_close(torch.cat(parts, 1), model(ids)[0], atol=1e-5, rtol=1e-5)


def test_one_head_and_one_unit_stay_whatever_goes():
    torch.manual_seed(SEED)
    model = TransformerEncoder(V, **SHAPE).eval()
    scores = importance(model, lambda: model(torch.randint(V, (B, T))).square().sum(), 1)
    _, shapes = shrink(model, scores, 0.999)
    assert asdict(shapes["blocks"]) == {"heads": 1, "kv_heads": 1, "head_width": D // 4, "feed_forward_width": 1}


@pytest.mark.parametrize("amount", [0.2, 0.5, 0.9])
def test_the_smallest_weights_of_each_matrix_become_zero_and_embeddings_stay(amount):
    torch.manual_seed(SEED)
    model = TransformerEncoder(V, **SHAPE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert zero_smallest(model, amount) == pytest.approx(amount, abs=0.01)
    assert torch.equal(model.embedding.weight, before["embedding.weight"])
    for matrix in matrices_of(model):
        assert share_of_zeros([matrix]) == pytest.approx(amount, abs=0.01)
    for name, value in model.state_dict().items():
        kept = value != 0
        assert torch.equal(value[kept], before[name][kept])
        if value.ndim > 1 and not kept.all():
            assert before[name][kept].abs().min() >= before[name][~kept].abs().max()
