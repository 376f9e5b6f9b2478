"""An encoder and a decoder put together: from Python and from a configuration."""

from functools import partial

import pytest
import torch
from torch import nn

from groundup.config.build import instantiate
from groundup.config.check import check
from groundup.config.compose import compose_with_choices
from groundup.config.mistakes import explain
from groundup.errors import UserError
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.recurrent import RecurrentDecoder, RecurrentEncoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.training.groups import parameter_groups
from groundup.training.muon import MuonAdamW

V, B, S, U = 30, 3, 7, 5
CHOICES = ("transformer_encoder_decoder", "lstm_encoder_decoder")


def transformer(**words):
    torch.manual_seed(0)
    words = {"width": 16, "layers": 2, "heads": 4, "zero_init": False} | words
    return EncoderDecoder(
        V, partial(TransformerEncoder, **words), partial(TransformerDecoder, **words, cross_attention=True)
    ).eval()


def recurrent(**words):
    torch.manual_seed(0)
    return EncoderDecoder(
        V,
        partial(RecurrentEncoder, width=16),
        partial(RecurrentDecoder, width=16, cross_attention=True, **words),
    ).eval()


def batch():
    torch.manual_seed(1)
    mask = torch.ones(B, S, dtype=torch.bool)
    mask[1, 4:] = False
    return torch.randint(V, (B, S)), torch.randint(V, (B, U)), mask


def composed(*overrides, choice="transformer_encoder_decoder", **changes):
    """The model of a command line, checked as the command checks it; ``changes``: values of a file, by key."""
    overrides = [f"model={choice}", "size=nano", *overrides]
    cfg, choices = compose_with_choices("finetune", overrides)
    node = cfg.model
    for key, value in changes.items():
        side, _, name = key.partition("__")
        node[side][name] = value
    check({"model": node}, "finetune", overrides, choices)
    return instantiate(node, "model", vocab_size=V)


def test_where_a_transformer_looks_equals_torch_multihead_attention():
    model, (ids, target, mask) = transformer(kv_heads=2), batch()
    top, seen = model.decoder.blocks[-1].cross_attention, []
    top.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    weights = model.attention_weights(ids, target, mask)
    reference = nn.MultiheadAttention(16, 4, bias=False, batch_first=True)
    key, value = top.kv.weight.split(8)
    key, value = (part.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1) for part in (key, value))
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat((top.query.weight, key, value)))
    memory = model.encode(ids, mask)
    _, expected = reference(seen[0], memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-5)
    assert weights.shape == (B, U, S)


@pytest.mark.parametrize("words", [{"attention": "additive"}, {"attention": "dot", "input_feeding": True}])
def test_where_a_recurrent_decoder_looks(words):
    model, (ids, target, mask) = recurrent(**words), batch()
    weights = model.attention_weights(ids, target, mask)
    assert weights.shape == (B, U, S)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, U))
    assert not weights[1, :, 4:].any() and (weights[0] > 0).all()
    assert recurrent(attention="none").attention_weights(ids, target, mask) is None


def test_a_picture_leaves_nothing_behind():
    model, (ids, target, mask) = transformer(), batch()
    before, _ = model(ids, target, mask)
    model.attention_weights(ids, target, mask)
    assert not model.decoder.top_attention._forward_pre_hooks
    assert torch.equal(model(ids, target, mask)[0], before)


def test_layers_stand_in_the_order_of_reading_and_learn_slower_the_lower_they_are():
    model = composed("model.encoder.layers=3", "model.decoder.layers=2")
    assert model.blocks == [*model.encoder.blocks, *model.decoder.blocks] and len(model.blocks) == 5
    groups = parameter_groups(model, lr=1.0, layer_decay=0.5)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert rates["decoder.blocks.1.attention.out.weight"] == 0.5
    assert rates["decoder.blocks.0.attention.out.weight"] == 0.25
    assert rates["encoder.blocks.2.attention.out.weight"] == 0.125
    assert rates["encoder.blocks.0.attention.out.weight"] == 0.5**5
    assert rates["encoder.final_norm.weight"] == rates["encoder.blocks.2.attention_norm.weight"] == 0.5**3
    assert rates["encoder.embedding.weight"] == rates["decoder.embedding_norm.weight"] == 0.5**6
    assert rates["decoder.final_norm.weight"] == 1


@pytest.mark.parametrize("choice", CHOICES)
def test_matrices_fused_in_one_are_known_to_the_optimizer_and_all_move(choice):
    model, (ids, target, mask) = composed("model.decoder.dropout=0", "model.encoder.dropout=0", choice=choice), batch()
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():  # the last matrix of each branch starts at zero
            nn.init.normal_(parameter, std=0.1)
    groups = parameter_groups(model, lr=0.1)
    splits = {name: rows for group in groups for name, rows in group["splits"].items()}
    if choice == "transformer_encoder_decoder":
        assert splits["decoder.blocks.0.cross_attention.kv.weight"] == [32, 32]
        assert splits["encoder.blocks.0.attention.qkv.weight"] == [32, 32, 32]
    else:
        assert splits["encoder.blocks.0.backwards.weight_hh_l0"] == [16] * 4
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model(ids, target, mask)[0].square().sum().backward()
    MuonAdamW(groups).step()
    assert [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])] == []


def test_a_bridge_lies_between_two_widths_only():
    assert isinstance(transformer().bridge, nn.Identity)
    model = composed("model.encoder.width=24", "model.shared_embedding=false", choice="lstm_encoder_decoder")
    ids, target, mask = batch()
    assert isinstance(model.bridge, nn.Linear) and model.bridge.weight.shape == (32, 24)
    assert model.encode(ids, mask).shape == (B, S, 32)
    assert model(ids, target, mask)[0].shape == (B, U, 32)


def test_facts_of_the_whole_are_those_of_the_decoder():
    node = composed("model.shared_embedding=false")
    assert (node.kind, node.vocab_size, node.width, node.max_length) == ("encoder_decoder", V, 32, 1024)
    assert node.embedding is node.decoder.embedding
    assert composed("model.encoder.position=alibi", "model.decoder.max_length=9").max_length == 9
    assert composed(choice="lstm_encoder_decoder").max_length is None
    two = EncoderDecoder(
        V, partial(RecurrentEncoder, width=8), partial(RecurrentDecoder, width=8, cross_attention=True), 11, False
    )
    assert (two.encoder.vocab_size, two.vocab_size, two.embedding.num_embeddings) == (V, 11, 11)


@pytest.mark.parametrize("words", [
    "model.encoder.layers=3 model.decoder.position=alibi", "model.encoder.kv_heads=1 model.decoder.norm_order=post",
    "model.encoder.feed_forward=swiglu model.decoder.norm=layer", "model.shared_embedding=false",
])  # fmt: skip
def test_each_side_has_every_word(words):
    ids, target, mask = batch()
    assert composed(*words.split())(ids, target, mask)[0].shape == (B, U, 32)


@pytest.mark.parametrize("words", [
    "model.decoder.attention=additive model.decoder.input_feeding=true", "model.decoder.attention=none",
    "model.encoder.cell=gru model.decoder.cell=rnn", "model.encoder.bidirectional=false model.decoder.layers=3",
])  # fmt: skip
def test_each_side_of_a_recurrent_pair_has_every_word(words):
    ids, target, mask = batch()
    assert composed(*words.split(), choice="lstm_encoder_decoder")(ids, target, mask)[0].shape == (B, U, 32)


@pytest.mark.parametrize(("words", "told"), [
    ("model.decoder.dropout=1.5", "model.decoder.dropout = 1.5: must be less than 1. Try model.decoder.dropout=0"),
    ("model.encoder.position=rotary", "model.encoder.position = rotary: must be one of rope,"),
    ("+model.encoder.cell=gru", "model.encoder.cell = gru: TransformerEncoder has no such argument"),
    ("model.shared_embedding=3", "model.shared_embedding = 3: must be true or false"),
    ("model.encoder.width=64", "embedding widths of 64 and 32, so they cannot share one embedding. Try model.shared_embedding=false"),
    ("model.decoder.cross_attention=false", "Try model.decoder.cross_attention=true"),
    ("model.decoder._target_=groundup.models.transformer.TransformerEncoder", "decoder"),
    ("model.encoder._target_=groundup.models.transformer.TransformerDecoder",
     "Try model.encoder._target_=groundup.models.transformer.TransformerEncoder"),
    ("model.encoder.heads=5", "model.encoder.heads = 5: must divide model.encoder.width=32. Try model.encoder.heads=4"),
])  # fmt: skip
def test_mistakes_in_either_side_are_told_in_a_line(words, told):
    with pytest.raises(UserError) as refusal:
        composed(words)
    assert told in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_misspelt_word_of_a_side_is_told():
    overrides = ["model=transformer_encoder_decoder", "model.encoder.layrs=2"]
    with pytest.raises(Exception) as refusal:
        compose_with_choices("finetune", overrides)
    assert explain(refusal.value, "finetune", overrides).endswith("Try model.encoder.layers=2")


def test_a_mistake_in_a_file_names_the_file():
    with pytest.raises(
        UserError, match=r"model\.decoder\.dropout = 1\.5: .* \(conf/model/transformer_encoder_decoder\.yaml\)"
    ):
        composed(decoder__dropout=1.5)


def test_two_vocabularies_cannot_share_a_table():
    sides = partial(RecurrentEncoder, width=8), partial(RecurrentDecoder, width=8, cross_attention=True)
    with pytest.raises(UserError, match=r"30 and 11 tokens.*Try shared_embedding=false"):
        EncoderDecoder(V, *sides, target_vocab_size=11)


@pytest.mark.parametrize(
    "build", [transformer, recurrent, partial(recurrent, attention="additive", input_feeding=True)]
)
def test_autocast_runs_and_agrees_roughly(build):
    model, (ids, target, mask) = build(), batch()
    expected, _ = model(ids, target, mask)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, memory = model(ids, target, mask)
        cached, _ = model.decoder(target, model.decoder.initial_state(B, U), memory=memory, memory_mask=mask)
        weights = model.attention_weights(ids, target, mask)
    torch.testing.assert_close(hidden.float(), expected, atol=0.1, rtol=0.1)
    torch.testing.assert_close(cached.float(), expected, atol=0.1, rtol=0.1)
    torch.testing.assert_close(weights.float().sum(-1), torch.ones(B, U), atol=0.02, rtol=0)
    hidden.float().sum().backward()


def test_dropout_is_that_of_a_side_that_was_given_none():
    sides = partial(RecurrentEncoder, width=8), partial(RecurrentDecoder, width=8, cross_attention=True, dropout=0.5)
    model = EncoderDecoder(V, *sides, dropout=0.25)
    assert {part.p for part in model.encoder.modules() if isinstance(part, nn.Dropout)} <= {0.25}
    assert {part.p for part in model.decoder.modules() if isinstance(part, nn.Dropout)} <= {0.5}
    assert any(isinstance(part, nn.Dropout) for part in model.encoder.modules())
