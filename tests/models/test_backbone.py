"""What a model lacks of the protocol is named when it is put to use."""

from __future__ import annotations

import pytest
from torch import nn

from groundup.config.build import instantiate
from groundup.config.compose import compose
from groundup.errors import UserError
from groundup.models.backbone import Backbone, DecoderBackbone, EncoderBackbone, check_backbone
from groundup.models.transformer import TransformerEncoder
from groundup.tasks.causal_lm import CausalLM


class Unfinished(DecoderBackbone):
    def __init__(self, vocab_size=5):
        super().__init__()
        self.vocab_size, self.embedding = vocab_size, nn.Embedding(5, 4)

    def forward(self, input_ids, state=None, **more):
        return self.embedding(input_ids), state


class Finished(Unfinished):
    def __init__(self, vocab_size=5):
        super().__init__(vocab_size)
        self.width, self.blocks = 4, [nn.Linear(4, 4)]

    def initial_state(self, batch_size, max_length, device=None, dtype=None):
        return None


@pytest.mark.parametrize(("model", "told"), [
    (Unfinished, r"Unfinished lacks width, blocks, initial_state\(\), which every DecoderBackbone has"),
    (lambda: Finished(7), "embedding of 5 rows, but vocab_size=7"),
    (lambda: nn.Linear(1, 1), "Linear must derive from one of EncoderBackbone, DecoderBackbone, EncoderDecoderBackbone"),
    (Backbone, "Backbone must derive"),
    (EncoderBackbone, r"lacks vocab_size, width, embedding, blocks, forward\(\)"),
])  # fmt: skip
def test_what_is_missing_is_named(model, told):
    with pytest.raises(UserError, match=told):
        check_backbone(model())
    with pytest.raises(UserError, match=told):
        CausalLM(model(), facts=None, tokenizer=None)


def test_what_has_a_default_may_be_left_alone():
    model = Finished()
    check_backbone(model)
    assert (model.max_length, model.reads_both_ways, model.cross_attention, model.top_attention) == (
        None,
        False,
        False,
        None,
    )
    assert model.levels() == [[model.embedding], [model.blocks[0]]]


@pytest.mark.parametrize(("overrides", "line"), [
    (["model=bilstm_encoder", "model.width=9"], "model.width=9 cannot be split over two directions. Try model.width=10"),
    (["model=transformer_encoder", "model.heads=8", "model.kv_heads=3"], "model.heads=8 cannot share kv_heads=3. Try model.kv_heads=1"),
    (["model=lstm_decoder", "+model.input_feeding=true"],
     "model.input_feeding feeds back what attention to an encoder says, and here is none. Try model.input_feeding=false"),
    (["model=lstm_encoder_decoder", "model.decoder.input_feeding=true", "model.decoder.attention=none"],
     "model.decoder.input_feeding feeds back what attention to an encoder says, and here is none. Try model.decoder.attention=general"),
])  # fmt: skip
def test_a_constructors_complaint_comes_with_the_path_of_the_configuration(overrides, line):
    node = {key: value for key, value in compose("finetune", overrides).model.items() if key != "vectors"}
    with pytest.raises(UserError) as refusal:
        instantiate(node, "model", vocab_size=5)
    assert str(refusal.value) == line


def test_in_python_the_complaint_names_the_parameter_alone():
    with pytest.raises(UserError, match=r"^heads=5 cannot share kv_heads=2. Try kv_heads=1$"):
        TransformerEncoder(5, width=20, heads=5, kv_heads=2)
