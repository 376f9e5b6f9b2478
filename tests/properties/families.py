"""Small models of every choice in conf/model, with each option of their constructors; and what tests of properties share.

A choice is found by its file, its options by the annotations of its class: a new model gets every test untouched.
"""

import inspect
import typing
from functools import partial

import pytest
import torch
import yaml
from seed import SEED

from groundup.config.files import conf_dir, groups
from groundup.config.places import resolve
from groundup.config.signatures import parameters_of
from groundup.errors import ArgumentError
from groundup.models.encoder_decoder import EncoderDecoder

V, D, T, S = 40, 16, 9, 5

# zero_init would leave every block silent, and the properties empty; it has tests of its own.
SMALL = {"width": D, "layers": 2, "heads": 4, "max_length": 32, "zero_init": False}
NUMBERS = {"kv_heads": 2, "feed_forward_width": 24, "embedding_width": 12}  # of options whose default is no number
MEMORY = {"cross_attention": True}
NEEDS = {"attention": MEMORY, "input_feeding": MEMORY}  # options that change nothing without others
ALL_OF_A_TRANSFORMER = {
    "position": "alibi", "kv_heads": 1, "norm": "layer", "norm_order": "post", "feed_forward": "swiglu", "dropout": 0.5,
}  # fmt: skip
ALL_OF_A_RECURRENT = {
    "dropout": 0.3, "locked_dropout": True, "embedding_dropout": 0.2, "weight_drop": 0.5, "norm": "rms", "residual": True,
}  # fmt: skip
TOGETHER = {  # choice -> name -> options whose meeting is worth a test
    "transformer_encoder": {"everything": ALL_OF_A_TRANSFORMER},
    "transformer_decoder": {
        "everything": ALL_OF_A_TRANSFORMER,
        "memory, kv_heads=2": MEMORY | {"kv_heads": 2},
        "memory, norm_order=post": MEMORY | {"norm_order": "post"},
    },
    "bilstm_encoder": {"everything": ALL_OF_A_RECURRENT, "layers=1": {"layers": 1}},
    "lstm_decoder": {
        "everything": ALL_OF_A_RECURRENT,
        "layers=1": {"layers": 1},
        "input_feeding, cell=gru": MEMORY | {"input_feeding": True, "cell": "gru"},
        "input_feeding and everything": ALL_OF_A_RECURRENT | MEMORY | {"attention": "additive", "input_feeding": True},
    },
}


def class_and_options(node, path="model"):
    """What a file names, and what it sets for itself. The rest are the defaults of the class, as another test holds."""
    own = {key: value for key, value in node.items() if key[0] != "_" and key != "defaults" and "${" not in str(value)}
    return resolve(node["_target_"], path), own


def options_of(cls):
    """Name -> arguments: each option that the defaults of a constructor leave out."""
    found = {}
    for name, parameter in parameters_of(cls)[0].items():
        for value in values_of(name, parameter):
            found[f"{name}={value}"] = {name: value, **NEEDS.get(name, {})}
    return {name: arguments for name, arguments in found.items() if accepts(cls, arguments)}


def values_of(name, parameter):
    if name in NUMBERS:
        return [NUMBERS[name]]
    if name in SMALL or parameter.default is inspect.Parameter.empty:
        return []
    if isinstance(parameter.default, bool):
        return [not parameter.default]
    if isinstance(parameter.default, float) and not parameter.default:  # a share of something to drop
        return [0.3]
    return [value for value in literals(parameter.annotation) if value != parameter.default]


def literals(annotation):
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    return [value for part in typing.get_args(annotation) for value in literals(part)]


def accepts(cls, arguments):
    try:
        return bool(cls(V, **fitting(cls, SMALL | arguments)))
    except ArgumentError:
        return False


def fitting(cls, arguments):
    return {key: value for key, value in arguments.items() if key in parameters_of(cls)[0]}


NODES = {
    name: yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    for name in groups(conf_dir())["model"]
}
CHOICES = {name: class_and_options(node) for name, node in NODES.items()}


def names_of(kind):
    return [name for name, (cls, _) in CHOICES.items() if cls.kind == kind]


def singles_of(kind):
    """Name -> (class, arguments). Of choices with one class, only the first is tried with each option."""
    found, known = {}, set()
    for name in names_of(kind):
        cls, own = CHOICES[name]
        found[name] = cls, own
        options = {} if cls in known else options_of(cls) | TOGETHER.get(name, {})
        found |= {f"{name} {option}": (cls, own | arguments) for option, arguments in options.items()}
        known.add(cls)
    return found


def all_pairs():
    """Name -> (encoder, its arguments, decoder, its arguments, arguments of the pair)."""
    found = {}
    for encoder in names_of("encoder"):
        for decoder in names_of("decoder"):
            if "cross_attention" in parameters_of(CHOICES[decoder][0])[0]:
                found[f"{encoder} to {decoder}"] = *CHOICES[encoder], *CHOICES[decoder], {}
    for name in names_of("encoder_decoder"):
        encoder, decoder = (class_and_options(NODES[name][side], f"model.{side}") for side in ("encoder", "decoder"))
        first = next(choice for choice in names_of("decoder") if CHOICES[choice][0] is decoder[0])
        for option, arguments in (options_of(decoder[0]) | TOGETHER.get(first, {})).items():
            its = {key: value for key, value in arguments.items() if key not in MEMORY}
            if its and "memory" not in option:
                found[f"{name} {option}"] = encoder[0], encoder[1] | its, decoder[0], decoder[1] | arguments, {}
        apart = {"shared_embedding": False}
        found[f"{name} apart"] = *encoder, *decoder, apart
        two = apart | {"vocab_size": V + 7, "target_vocab_size": V}
        found[f"{name} of two vocabularies"] = *encoder, *decoder, two
        found[f"{name} of two widths"] = encoder[0], encoder[1] | {"width": 24}, *decoder, apart
    return found


ENCODERS, DECODERS, PAIRS = singles_of("encoder"), singles_of("decoder"), all_pairs()
ENCODER_NAMES = [f"encoder: {name}" for name in ENCODERS]
DECODER_NAMES = [f"decoder: {name}" for name in DECODERS]
PAIR_NAMES = [f"pair: {name}" for name in PAIRS]
encoders = pytest.mark.parametrize("name", ENCODER_NAMES)
decoders = pytest.mark.parametrize("name", DECODER_NAMES)
pairs = pytest.mark.parametrize("name", PAIR_NAMES)
writers = pytest.mark.parametrize("name", DECODER_NAMES + PAIR_NAMES)  # what reads its ids from left to right
alone = pytest.mark.parametrize(  # what can be read without a memory
    "name",
    [
        *ENCODER_NAMES,
        *(f"decoder: {name}" for name, (_, arguments) in DECODERS.items() if "cross_attention" not in arguments),
    ],
)
singles = pytest.mark.parametrize("name", ENCODER_NAMES + DECODER_NAMES)
everyone = pytest.mark.parametrize("name", ENCODER_NAMES + DECODER_NAMES + PAIR_NAMES)


def build(name, **options):
    """A model; ``options`` go before those of its name, and to both sides of a pair where they know them."""
    torch.manual_seed(SEED)
    side, family = name.split(": ")
    if side != "pair":
        cls, own = (ENCODERS if side == "encoder" else DECODERS)[family]
        return cls(V, **fitting(cls, SMALL | own | options))
    encoder, its, decoder, others, of_both = PAIRS[family]
    return EncoderDecoder(
        **{"vocab_size": V, **of_both},
        encoder=partial(encoder, **fitting(encoder, SMALL | its | options)),
        decoder=partial(decoder, **fitting(decoder, SMALL | others | MEMORY | options)),
    )


def random_ids(*shape, seed=1):
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def source_for(model, rows):
    """Arguments that only a decoder with cross-attention takes."""
    if model.kind != "decoder" or not model.cross_attention:
        return {}
    memory = torch.randn(rows, S, model.width, generator=torch.Generator().manual_seed(3))
    return {"memory": memory, "memory_mask": source_mask(rows)}


def source_mask(rows):
    mask = torch.ones(rows, S, dtype=torch.bool)
    mask[0, 3:] = False
    return mask


def source_ids(rows):
    """Of the last ten of the vocabulary only, which lets a test keep them apart from the target's."""
    return V - 1 - random_ids(rows, S, seed=4) % 10


def read(model, ids, **more):
    if model.reads_characters:
        more = {"characters": torch.stack((ids + 1, ids % 7 + 1), dim=-1), **more}
    if model.kind == "encoder":
        return model(ids, **more)
    if model.kind == "encoder_decoder":
        return model(source_ids(len(ids)), ids, source_mask(len(ids)))[0]
    hidden, state = model(ids, **source_for(model, len(ids)), **more)
    assert state is None  # nothing is kept in training
    return hidden


def close(a, b, tolerance=2e-5):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
