"""Norms, feed-forward, heads and pooling."""

import pytest
import torch
from torch import nn

from groundup.models.heads import ClassificationHead, LanguageModelHead, Pooling
from groundup.models.layers import FeedForward, initialize, make_norm
from groundup.models.recurrent import RecurrentDecoder
from groundup.models.transformer import TransformerDecoder

POOLINGS = ("cls", "mean", "max", "last", "attention")


def test_unknown_words_are_refused_with_the_choices():
    for make in (lambda: make_norm("batch", 4), lambda: FeedForward(4, "tanh"), lambda: Pooling("sum", 4)):
        with pytest.raises(ValueError, match="choose"):
            make()


def test_feed_forward_kinds():
    x = torch.randn(2, 3, 12)
    gelu, relu2, swiglu = (FeedForward(12, kind) for kind in ("gelu", "relu2", "swiglu"))
    torch.testing.assert_close(gelu(x), nn.functional.gelu(x @ gelu.up.weight.T) @ gelu.down.weight.T)
    torch.testing.assert_close(relu2(x), (x @ relu2.up.weight.T).clamp(min=0) ** 2 @ relu2.down.weight.T)
    gate, up = swiglu.up.weight.split(swiglu.up.fused_splits["weight"])
    torch.testing.assert_close(swiglu(x), (nn.functional.silu(x @ gate.T) * (x @ up.T)) @ swiglu.down.weight.T)
    assert swiglu.down.in_features == 32  # 8/3 x 12
    sizes = [sum(p.numel() for p in FeedForward(96, kind).parameters()) for kind in ("gelu", "swiglu")]
    assert sizes[0] == sizes[1]  # equal cost


def test_a_module_without_a_rule_is_not_left_to_chance():
    with pytest.raises(TypeError, match="no rule how 0"):
        initialize(nn.Sequential(nn.Conv1d(2, 2, 1)), 1, False)


def test_a_tied_head_adds_no_parameters_unless_widths_differ():
    decoder = TransformerDecoder(20, 16, 1, 4)
    assert not list(LanguageModelHead(decoder).parameters())
    assert [p.shape for p in LanguageModelHead(decoder, tied=False).parameters()] == [(20, 16)]
    narrow = RecurrentDecoder(20, 16, embedding_width=6)
    head = LanguageModelHead(narrow)
    assert [p.shape for p in head.parameters()] == [(6, 16)]
    assert head(torch.randn(2, 3, 16)).shape == (2, 3, 20)
    assert len(list(LanguageModelHead(decoder, transform="rms").parameters())) == 2


def test_a_tied_head_trains_the_embedding():
    decoder = TransformerDecoder(20, 16, 1, 4)
    LanguageModelHead(decoder)(torch.randn(2, 16)).square().sum().backward()
    assert decoder.embedding.weight.grad.any()


def test_sequence_head_starts_close_to_uniform():
    logits = ClassificationHead(64, 5, dropout=0.5).eval()(torch.randn(100, 64))
    assert logits.shape == (100, 5) and logits.abs().max() < 1


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_ignores_padding(kind, side):
    torch.manual_seed(0)
    pooling, texts = Pooling(kind, 8), [torch.randn(n, 8) for n in (1, 4, 6)]
    hidden, mask = torch.full((4, 6, 8), 1e4), torch.zeros(4, 6, dtype=torch.bool)
    for row, text in enumerate(texts):
        at = slice(0, len(text)) if side == "right" else slice(6 - len(text), 6)
        hidden[row, at], mask[row, at] = text, True
    hidden.requires_grad_()
    together = pooling(hidden, mask)
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row], pooling(text[None])[0])
    assert together.isfinite().all()  # the last row is padding only
    together[:3].sum().backward()
    assert not hidden.grad[~mask].any()


def test_what_each_pooling_takes():
    hidden = torch.tensor([[[1.0], [5.0], [3.0], [9.0]]])
    mask = torch.tensor([[True, True, True, False]])
    values = {kind: Pooling(kind, 1)(hidden, mask).item() for kind in POOLINGS[:4]}
    assert values == {"cls": 1, "mean": 3, "max": 5, "last": 3}
    attention = Pooling("attention", 1)
    nn.init.constant_(attention.score.weight, 100.0)
    assert attention(hidden, mask).item() == pytest.approx(5)
