import pytest
import torch
from torch import nn

from groundup.errors import UserError
from groundup.models.attention import CrossAttention, SelfAttention, make_mask
from groundup.models.transformer import TransformerDecoder, TransformerEncoder

B, T, S, D, H = 2, 6, 5, 16, 4


def torch_attention(q, k, v, out):
    reference = nn.MultiheadAttention(D, H, bias=False, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat((q, k, v)))
        reference.out_proj.weight.copy_(out)
    return reference


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_self_attention_equals_torch_multihead_attention(causal, padded):
    torch.manual_seed(0)
    ours, x = SelfAttention(D, H), torch.randn(B, T, D)
    mask = torch.ones(B, T, dtype=torch.bool)
    if padded:
        mask[0, 4:] = False
    reference = torch_attention(*ours.qkv.weight.split(D), ours.out.weight)
    forbidden = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None
    expected, _ = reference(x, x, x, key_padding_mask=~mask, attn_mask=forbidden, need_weights=False)
    got = ours(x, make_mask(T, T, causal, mask if padded else None))
    torch.testing.assert_close(got[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_cross_attention_equals_torch_multihead_attention():
    torch.manual_seed(0)
    ours, x, memory = CrossAttention(D, H), torch.randn(B, T, D), torch.randn(B, S, D)
    mask = torch.ones(B, S, dtype=torch.bool)
    mask[1, 2:] = False
    reference = torch_attention(ours.query.weight, *ours.kv.weight.split(D), ours.out.weight)
    expected, _ = reference(x, memory, memory, key_padding_mask=~mask, need_weights=False)
    got = ours(x, *ours.project(memory), make_mask(T, S, False, mask))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_shared_key_value_heads_equal_repeated_ones():
    torch.manual_seed(0)
    shared, full = SelfAttention(D, H, kv_heads=2), SelfAttention(D, H)
    q, k, v = shared.qkv.weight.split(shared.qkv.fused_splits["weight"])
    repeat = [part.unflatten(0, (2, -1)).repeat_interleave(2, 0).flatten(0, 1) for part in (k, v)]
    with torch.no_grad():
        full.qkv.weight.copy_(torch.cat((q, *repeat)))
        full.out.weight.copy_(shared.out.weight)
    x, seen = torch.randn(B, T, D), make_mask(T, T, True)
    torch.testing.assert_close(shared(x, seen), full(x, seen), atol=1e-5, rtol=1e-5)


def test_no_mask_is_made_when_none_is_needed():
    assert make_mask(T, T, False) == (None, False)
    assert make_mask(T, T, True) == (None, True)
    assert make_mask(1, 9, True) == (None, False)  # the last token sees everything
    assert make_mask(3, 9, True).attn_mask is not None


def test_what_a_mask_lets_through():
    mask, _ = make_mask(3, 5, True)
    assert mask.int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    left = torch.tensor([[0, 0, 1, 1]]).bool()
    mask, _ = make_mask(4, 4, True, left)
    assert mask[0, 0].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    mask, _ = make_mask(2, 2, True, document_ids=torch.tensor([[3, 4]]))
    assert mask[0, 0].int().tolist() == [[1, 0], [0, 1]]
    mask, _ = make_mask(2, 2, False, torch.zeros(1, 2, dtype=torch.bool))
    assert mask.any(-1).all()  # a softmax over nothing would be NaN


def test_alibi_bias_is_slope_times_distance():
    slopes = torch.tensor([0.5, 0.25])
    bias, _ = make_mask(3, 3, True, slopes=slopes)
    inf = float("inf")
    assert bias[0, 0].tolist() == [[0, -inf, -inf], [-0.5, 0, -inf], [-1, -0.5, 0]]
    both, _ = make_mask(3, 3, False, slopes=slopes)
    assert both[0, 1].tolist() == [[0, -0.25, -0.5], [-0.25, 0, -0.25], [-0.5, -0.25, 0]]


@pytest.mark.parametrize(("words", "told"), [
    ({"width": 30, "heads": 4}, "heads=4"),
    ({"width": 32, "heads": 4, "kv_heads": 3}, "kv_heads=3"),
    ({"width": 12, "heads": 4}, "position=rope"),
    ({"cross_attention": True}, "cross_attention"),
])  # fmt: skip
def test_numbers_that_do_not_fit_are_told(words, told):
    with pytest.raises(UserError, match=told):
        TransformerEncoder(10, **words)


@pytest.mark.parametrize("position", ["rope", "learned", "sinusoidal"])
def test_a_text_longer_than_the_tables_is_told(position):
    model = TransformerEncoder(10, 16, 1, 4, position=position, max_length=4)
    assert model.max_length == 4
    with pytest.raises(UserError, match="max_length=4"):
        model(torch.zeros(1, 5, dtype=torch.long))


@pytest.mark.parametrize("position", ["alibi", "none"])
def test_positions_without_tables_have_no_limit(position):
    model = TransformerEncoder(10, 16, 1, 4, position=position, max_length=4)
    assert model.max_length is None
    assert model(torch.zeros(1, 9, dtype=torch.long)).shape == (1, 9, 16)


def test_a_full_cache_and_a_missing_or_unwanted_memory_are_told():
    ids, memory = torch.zeros(1, 3, dtype=torch.long), torch.randn(1, 2, 16)
    model = TransformerDecoder(10, 16, 1, 4)
    with pytest.raises(ValueError, match="cache of 2"):
        model(ids, model.initial_state(1, 2))
    with pytest.raises(ValueError, match="no cross_attention"):
        model(ids, memory=memory)
    with pytest.raises(ValueError, match="document_ids"):
        model(ids, model.initial_state(1, 3), document_ids=ids)
    with pytest.raises(ValueError, match="needs a memory"):
        TransformerDecoder(10, 16, 1, 4, cross_attention=True)(ids)


def test_autocast_runs_and_agrees_roughly():
    torch.manual_seed(0)
    ids = torch.randint(10, (2, 7))
    for position in ("rope", "alibi"):
        model = TransformerDecoder(10, 16, 2, 4, kv_heads=2, qk_norm=True, position=position, zero_init=False).eval()
        expected, _ = model(ids)
        with torch.autocast("cpu", torch.bfloat16):
            hidden, _ = model(ids)
            cached, _ = model(ids, model.initial_state(2, 7))
        torch.testing.assert_close(hidden.float(), expected, atol=0.1, rtol=0.1)
        torch.testing.assert_close(cached.float(), expected, atol=0.1, rtol=0.1)
        hidden.float().sum().backward()


def test_zero_init_makes_a_fresh_model_its_normalised_embeddings():
    model = TransformerEncoder(10, 16, 2, 4, zero_init=True).eval()
    ids = torch.randint(10, (2, 7))
    expected = model.final_norm(model.embedding_norm(model.embedding(ids)))
    torch.testing.assert_close(model(ids), expected)
