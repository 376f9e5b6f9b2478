"""Every architecture word, alone and in pairs, as small models; and what tests of their properties share."""

import inspect
from functools import partial

import pytest
import torch
from seed import SEED

from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.recurrent import RecurrentDecoder, RecurrentEncoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder

V, D, T, S = 40, 16, 9, 5

# zero_init would leave every block silent, and the properties empty; it has tests of its own.
TRANSFORMER = {"width": D, "layers": 2, "heads": 4, "max_length": 32, "zero_init": False}
RECURRENT = {"width": D, "layers": 2}
WORDS = {
    **{f"position={word}": {"position": word} for word in ("rope", "learned", "sinusoidal", "alibi", "none")},
    "norm=layer": {"norm": "layer"},
    "norm_order=post": {"norm_order": "post"},
    "feed_forward=relu2": {"feed_forward": "relu2"},
    "feed_forward=swiglu": {"feed_forward": "swiglu"},
    "feed_forward_width": {"feed_forward_width": 24},
    "qk_norm": {"qk_norm": True},
    "kv_heads=2": {"kv_heads": 2},
    "everything": {
        "position": "alibi", "kv_heads": 1, "qk_norm": True, "norm": "layer", "norm_order": "post",
        "feed_forward": "relu2", "dropout": 0.5,
    },
}  # fmt: skip
RECURRENT_WORDS = {
    **{f"cell={word}": {"cell": word} for word in ("lstm", "gru", "rnn")},
    "embedding_width": {"embedding_width": 12},
    "norm and residual": {"norm": "rms", "residual": True},
    "dropout": {"dropout": 0.3, "locked_dropout": True, "embedding_dropout": 0.2, "weight_drop": 0.5},
    "layers=1": {"layers": 1},
}

MEMORY_WORDS = {
    **{f"attention={word}": {"attention": word} for word in ("none", "dot", "general", "additive")},
    **{f"input_feeding cell={word}": {"cell": word, "input_feeding": True} for word in ("lstm", "gru", "rnn")},
    "input_feeding and everything": {
        "attention": "additive", "input_feeding": True, "norm": "rms", "residual": True, "embedding_width": D,
        "dropout": 0.3, "locked_dropout": True, "embedding_dropout": 0.2, "weight_drop": 0.5,
    },
}  # fmt: skip
APART = {"shared_embedding": False}

ENCODERS = {
    **{f"transformer {name}": (TransformerEncoder, TRANSFORMER | words) for name, words in WORDS.items()},
    **{f"bidirectional {name}": (RecurrentEncoder, RECURRENT | words) for name, words in RECURRENT_WORDS.items()},
    "one direction": (RecurrentEncoder, RECURRENT | {"bidirectional": False}),
}
DECODERS = {
    **{f"transformer {name}": (TransformerDecoder, TRANSFORMER | words) for name, words in WORDS.items()},
    **{f"recurrent {name}": (RecurrentDecoder, RECURRENT | words) for name, words in RECURRENT_WORDS.items()},
    "transformer with memory": (TransformerDecoder, TRANSFORMER | {"cross_attention": True, "kv_heads": 2}),
    "transformer with memory, post": (
        TransformerDecoder,
        TRANSFORMER | {"cross_attention": True, "norm_order": "post"},
    ),
    **{
        f"recurrent with memory {name}": (RecurrentDecoder, RECURRENT | words | {"cross_attention": True})
        for name, words in MEMORY_WORDS.items()
    },
}
PAIRS = {  # (encoder, its words, decoder, its words, words of the pair)
    **{
        f"transformer {name}": (TransformerEncoder, TRANSFORMER | words, TransformerDecoder, TRANSFORMER | words, {})
        for name, words in WORDS.items()
    },
    **{
        f"recurrent {name}": (RecurrentEncoder, RECURRENT | words, RecurrentDecoder, RECURRENT | words, {})
        for name, words in RECURRENT_WORDS.items()
    },
    **{
        f"recurrent {name}": (RecurrentEncoder, RECURRENT, RecurrentDecoder, RECURRENT | words, {})
        for name, words in MEMORY_WORDS.items()
    },
    "transformer, not shared": (TransformerEncoder, TRANSFORMER, TransformerDecoder, TRANSFORMER, APART),
    "transformer, two vocabularies": (
        TransformerEncoder, TRANSFORMER, TransformerDecoder, TRANSFORMER,
        APART | {"vocab_size": V + 7, "target_vocab_size": V},
    ),
    "recurrent to transformer, other width": (
        RecurrentEncoder, RECURRENT | {"width": 12}, TransformerDecoder, TRANSFORMER, APART,
    ),
    "transformer to recurrent, shared": (TransformerEncoder, TRANSFORMER, RecurrentDecoder, RECURRENT, {}),
}  # fmt: skip
ENCODER_NAMES = [f"encoder: {name}" for name in ENCODERS]
DECODER_NAMES = [f"decoder: {name}" for name in DECODERS]
PAIR_NAMES = [f"pair: {name}" for name in PAIRS]
encoders = pytest.mark.parametrize("name", ENCODER_NAMES)
decoders = pytest.mark.parametrize("name", DECODER_NAMES)
pairs = pytest.mark.parametrize("name", PAIR_NAMES)
writers = pytest.mark.parametrize("name", DECODER_NAMES + PAIR_NAMES)  # what reads its ids from left to right
singles = pytest.mark.parametrize("name", ENCODER_NAMES + DECODER_NAMES)
everyone = pytest.mark.parametrize("name", ENCODER_NAMES + DECODER_NAMES + PAIR_NAMES)


def build(name, **words):
    """A model; ``words`` go before those of its name, and to both sides of a pair where they know them."""
    torch.manual_seed(SEED)
    side, family = name.split(": ")
    if side != "pair":
        cls, settings = (ENCODERS if side == "encoder" else DECODERS)[family]
        return cls(V, **(settings | fitting(cls, words)))
    encoder, its, decoder, others, own = PAIRS[family]
    return EncoderDecoder(
        **{"vocab_size": V, **own},
        encoder=partial(encoder, **(its | fitting(encoder, words))),
        decoder=partial(decoder, **(others | fitting(decoder, words)), cross_attention=True),
    )


def fitting(cls, words):
    return {key: value for key, value in words.items() if key in inspect.signature(cls).parameters}


def random_ids(*shape, seed=1):
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def source_for(model, rows):
    """Arguments that only a decoder with cross-attention takes."""
    if not getattr(model, "cross_attention", False):
        return {}
    memory = torch.randn(rows, S, D, generator=torch.Generator().manual_seed(3))
    return {"memory": memory, "memory_mask": source_mask(rows)}


def source_mask(rows):
    mask = torch.ones(rows, S, dtype=torch.bool)
    mask[0, 3:] = False
    return mask


def source_ids(rows):
    """Of the last ten of the vocabulary only, which lets a test keep them apart from the target's."""
    return V - 1 - random_ids(rows, S, seed=4) % 10


def read(model, ids, **more):
    if model.kind == "encoder":
        return model(ids, **more)
    if model.kind == "encoder_decoder":
        return model(source_ids(len(ids)), ids, source_mask(len(ids)))[0]
    hidden, state = model(ids, **source_for(model, len(ids)), **more)
    assert state is None  # nothing is kept in training
    return hidden


def close(a, b, tolerance=2e-5):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
