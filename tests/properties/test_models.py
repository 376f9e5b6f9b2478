"""What must hold for every architecture word. A new word is one more line in WORDS and gets every test."""

import copy
import inspect
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.heads import LanguageModelHead
from groundup.models.recurrent import RecurrentDecoder, RecurrentEncoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.training.groups import parameter_groups

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
    torch.manual_seed(0)
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


@everyone
def test_loss_at_init_is_that_of_a_uniform_guess(name):
    model = build(name, zero_init=True).eval()
    ids = random_ids(64, T)
    for head in (
        LanguageModelHead(model),
        LanguageModelHead(model, tied=False),
        LanguageModelHead(model, transform=True),
    ):
        loss = F.cross_entropy(head(read(model, ids)).flatten(0, 1), random_ids(64, T, seed=2).flatten())
        assert abs(loss - math.log(V)) < 0.15


@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("zero_init", [True, False])
def test_loss_at_init_does_not_grow_with_width(width, zero_init):
    # A tied head favours the token it has just read; labels that repeat it would hide that, so none do.
    torch.manual_seed(0)
    model = TransformerDecoder(V, width, 2, 4, zero_init=zero_init)
    ids = random_ids(16, T)
    logits = LanguageModelHead(model)(model(ids)[0])
    assert abs(F.cross_entropy(logits.flatten(0, 1), ((ids + 1) % V).flatten()) - math.log(V)) < 0.35


@writers
def test_no_token_sees_the_future_in_values_or_gradients(name):
    model = build(name).eval()
    ids, cut = random_ids(2, T), 5
    changed = ids.clone()
    changed[:, cut:] = (ids[:, cut:] + 1) % V
    close(read(model, ids)[:, :cut], read(model, changed)[:, :cut], 1e-6)
    assert not torch.allclose(read(model, ids)[:, cut:], read(model, changed)[:, cut:], atol=1e-3)

    ids = torch.randperm(V - 10)[: 2 * T].view(
        2, T
    )  # no token twice, so the embedding's gradient says who was looked at
    read(model, ids)[:, cut - 1].square().sum().backward()
    used = model.embedding.weight.grad.abs().sum(-1)[ids] > 0
    assert used[:, :cut].all() and not used[:, cut:].any()


@encoders
def test_an_encoder_sees_both_sides(name):
    model = build(name).eval()
    ids = random_ids(2, T)
    changed = ids.clone()
    changed[:, -1] = (ids[:, -1] + 1) % V
    differs = (read(model, ids) - read(model, changed)).abs().amax(-1)[:, 0] > 1e-7
    assert differs.all() if "one direction" not in name else not differs.any()


@singles
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_and_neighbours_change_nothing(name, side):
    model = build(name).eval()
    lengths = [4, T, 1, 7]
    texts = [random_ids(1, length, seed=length) for length in lengths]
    width = T + 3
    ids, mask = random_ids(4, width, seed=9), torch.zeros(4, width, dtype=torch.bool)  # padding is not even constant
    position_ids = torch.zeros(4, width, dtype=torch.long)
    for row, text in enumerate(texts):
        n = text.shape[1]
        at = slice(0, n) if side == "right" else slice(width - n, width)
        ids[row, at], mask[row, at], position_ids[row, at] = text, True, torch.arange(n)
    more = source_for(model, 4)
    together = model(ids, attention_mask=mask, position_ids=position_ids, **more)
    together = together if model.kind == "encoder" else together[0]
    assert together.isfinite().all()
    for row, text in enumerate(texts):
        one = {key: value[row : row + 1] for key, value in more.items()}
        alone = model(text, **one)
        alone = alone if model.kind == "encoder" else alone[0]
        close(together[row][mask[row]], alone[0])


@singles
def test_padding_gets_no_gradient_and_gives_no_nan(name):
    model = build(name).eval()
    ids = random_ids(3, T) % (V - 1)
    mask = torch.ones(3, T, dtype=torch.bool)
    mask[0, 4:] = False
    mask[1] = False  # a row of padding only
    mask[2, :3] = False
    ids[~mask] = V - 1
    hidden = read(model, ids, attention_mask=mask)
    assert hidden.isfinite().all()
    hidden[mask].square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert (model.embedding.weight.grad[V - 1] == 0).all()


@pytest.mark.parametrize("name", [n for n in ENCODER_NAMES + DECODER_NAMES if "memory" not in n])
def test_packed_documents_are_read_as_if_apart(name):
    model = build(name).eval()
    lengths = [3, 5, 1]
    texts = [random_ids(1, length, seed=length) for length in lengths]
    ids = torch.cat([*texts, *texts[::-1]], 1).view(2, T)
    document_ids = torch.tensor([[0] * 3 + [1] * 5 + [2], [0] + [1] * 5 + [2] * 3])
    position_ids = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 0], [0, 0, 1, 2, 3, 4, 0, 1, 2]])
    packed = read(model, ids, position_ids=position_ids, document_ids=document_ids)
    for row, order in enumerate((texts, texts[::-1])):
        close(packed[row], torch.cat([read(model, text)[0] for text in order]))
    apart = read(model, ids, position_ids=position_ids)
    assert not torch.allclose(packed, apart, atol=1e-4)  # without document_ids they are not


@encoders
def test_documents_and_padding_together(name):
    model = build(name).eval()
    ids = random_ids(2, T)
    document_ids = torch.tensor([[0] * 4 + [1] * 5, [0] * 9])
    mask = torch.ones(2, T, dtype=torch.bool)
    mask[0, 7:] = mask[1, :2] = False
    position_ids = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 0], [0, 0, 0, 1, 2, 3, 4, 5, 6]])
    hidden = model(ids, mask, position_ids, document_ids)
    close(hidden[0, :4], model(ids[:1, :4])[0])
    close(hidden[0, 4:7], model(ids[:1, 4:7])[0])
    close(hidden[1, 2:], model(ids[1:, 2:])[0])


@decoders
@torch.no_grad()
def test_decoding_with_a_state_is_the_full_forward(name):
    model = build(name).eval()
    ids = random_ids(3, T)
    full = read(model, ids)
    state, parts, source = model.initial_state(3, T), [], source_for(model, 3)
    for start, stop in ((0, 4), (4, 5), (5, 8), (8, 9)):  # a prompt, a token, a chunk, a token
        hidden, state = model(ids[:, start:stop], state, **source)
        parts.append(hidden)
        assert state.length == stop
        source = {}  # the state keeps the memory
    close(torch.cat(parts, 1), full)


@decoders
@torch.no_grad()
def test_a_reordered_state_goes_on_as_the_rows_it_came_from(name):
    model = build(name).eval()
    ids, index = random_ids(3, T), torch.tensor([2, 0, 0, 1])
    _, state = model(ids[:, :5], model.initial_state(3, T), **source_for(model, 3))
    state = state.reorder(index)
    assert state.length == 5
    tail = random_ids(4, T - 5, seed=5)
    hidden, _ = model(tail, state)
    source = {key: value[index] for key, value in source_for(model, 3).items()}
    full, _ = model(torch.cat((ids[index, :5], tail), 1), **source)
    close(hidden, full[:, 5:])


@decoders
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_prompts_of_different_lengths_decode_as_if_alone(name, side):
    model = build(name).eval()
    lengths, width, new = [2, 6, 4], 6, 3
    texts = [random_ids(1, length + new, seed=length) for length in lengths]
    ids, mask = random_ids(3, width, seed=8), torch.zeros(3, width, dtype=torch.bool)
    position_ids = torch.zeros(3, width, dtype=torch.long)
    for row, n in enumerate(lengths):
        at = slice(0, n) if side == "right" else slice(width - n, width)
        ids[row, at], mask[row, at], position_ids[row, at] = texts[row][0, :n], True, torch.arange(n)
    source = source_for(model, 3)
    hidden, state = model(ids, model.initial_state(3, width + new), mask, position_ids, **source)
    prompts = hidden
    for step in range(new):
        token = torch.stack([text[0, n + step] for text, n in zip(texts, lengths)])[:, None]
        hidden, state = model(token, state, position_ids=torch.tensor(lengths)[:, None] + step)
        for row, (text, n) in enumerate(zip(texts, lengths)):
            alone, _ = model(text, **{key: value[row : row + 1] for key, value in source.items()})
            close(hidden[row, 0], alone[0, n + step])
            close(prompts[row][mask[row]], alone[0, :n])
        state = state.reorder(torch.arange(3))  # keeps mask, positions and memory


@everyone
def test_every_parameter_gets_a_gradient(name):
    model = build(name).eval()
    head = LanguageModelHead(model)
    F.cross_entropy(head(read(model, random_ids(4, T))).flatten(0, 1), random_ids(4, T, seed=2).flatten()).backward()
    silent = [n for n, p in [*model.named_parameters(), *head.named_parameters()] if p.grad is None or not p.grad.any()]
    assert not silent


@everyone
def test_a_model_is_the_same_after_save_and_load_and_stays_tied(name, tmp_path):
    model = build(name).eval()
    both = nn.ModuleDict({"model": model, "head": LanguageModelHead(model)})
    torch.save(both.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(5)
    other = copy.deepcopy(both)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    ids = random_ids(2, T)
    close(other["head"](read(other["model"], ids)), both["head"](read(model, ids)), 0)
    with torch.no_grad():
        other["model"].embedding.weight.zero_()
    assert not other["head"](torch.randn(2, D)).any()  # the copy is tied to itself
    assert both["head"](torch.randn(2, D)).any()


@everyone
def test_every_parameter_is_in_exactly_one_optimizer_group(name):
    model = build(name)
    both = nn.ModuleDict({"model": model, "head": LanguageModelHead(model, tied=False)})
    for layer_decay in (1.0, 0.5):
        groups = parameter_groups(both, lr=1.0, layer_decay=layer_decay, log_table=False)
        held = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(held) == sorted({id(parameter) for parameter in both.parameters()})
        for group in groups:
            for parameter_name, parameter in zip(group["names"], group["params"], strict=True):
                if "embedding.weight" in parameter_name:
                    assert group["kind"] == "embedding"
                rows = group["splits"].get(parameter_name)
                assert rows is None or sum(rows) == len(parameter)


@pytest.mark.parametrize(
    "name", ["decoder: transformer position=rope", "decoder: transformer everything", "decoder: recurrent cell=lstm"]
)
def test_overfits_one_batch(name):
    model = build(name, dropout=0.0, zero_init=True)
    head = LanguageModelHead(model, tied=False)
    ids = random_ids(4, T + 1)
    ids[:, 0] = torch.arange(4)  # a start that two rows share would have two continuations
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-2)
    for _ in range(200):
        loss = F.cross_entropy(head(read(model, ids[:, :-1])).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@everyone
def test_evaluation_has_no_randomness(name):
    model, ids = build(name).eval(), random_ids(2, T)
    close(read(model, ids), read(model, ids), 0)
    if name.endswith(("dropout", "everything")):
        model.train()
        assert not torch.allclose(read(model, ids), read(model, ids))


# What is true of an encoder-decoder only


@pairs
def test_padding_and_neighbours_of_source_and_target_change_nothing(name):
    model = build(name).eval()
    sources = [random_ids(1, length, seed=length) for length in (3, 7, 1)]
    targets = [random_ids(1, length, seed=10 + length) for length in (T, 2, 4)]
    ids, mask = random_ids(3, 8, seed=9), torch.zeros(3, 8, dtype=torch.bool)  # padding is not even constant
    decoder_input_ids = random_ids(3, T + 2, seed=8)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        ids[row, : source.shape[1]], mask[row, : source.shape[1]] = source, True
        decoder_input_ids[row, : target.shape[1]] = target
    together, _ = model(ids, decoder_input_ids, mask)
    assert together.isfinite().all()
    looked = model.attention_weights(ids, decoder_input_ids, mask)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        close(together[row, : target.shape[1]], model(source, target)[0][0])
        alone = model.attention_weights(source, target)
        assert (alone is None) == (looked is None)
        if looked is not None:
            close(looked[row, : target.shape[1], : source.shape[1]], alone[0])
            assert not looked[row, :, source.shape[1] :].any()


def test_dropout_that_is_switched_on_by_itself_drops_in_evaluation():
    """Monte Carlo dropout (Gal and Ghahramani 2016): several answers of one model show how sure it is."""
    model = TransformerEncoder(V, 32, 2, 2, dropout=0.5, zero_init=False).eval()
    ids = random_ids(2, T)
    assert torch.equal(model(ids), model(ids))
    for part in model.modules():
        part.training = isinstance(part, torch.nn.Dropout)
    assert not torch.allclose(model(ids), model(ids))


@pairs
def test_the_target_depends_on_the_whole_source(name):
    model = build(name).eval()
    ids, target = random_ids(2, S), random_ids(2, T)
    before, _ = model(ids, target)
    for at in range(S):
        changed = ids.clone()
        changed[:, at] = (ids[:, at] + 1) % V
        assert not torch.allclose(model(changed, target)[0][:, 0], before[:, 0], atol=1e-6)


@pairs
@pytest.mark.parametrize("orders", [
    [[2, 0, 0, 1]],
    [[0, 0, 1, 1, 2, 2], [1, 1, 2, 3, 5, 4], [2, 3, 4, 5]],  # beams: born, chosen within a source, a source is done
    [[0, 1, 1, 2, 2, 2], [5, 4, 0]],
], ids=str)  # fmt: skip
@torch.no_grad()
def test_decoding_from_an_encoded_source_is_the_full_forward_after_reorders_too(name, orders):
    model = build(name).eval()
    ids, mask, written = source_ids(3), source_mask(3), random_ids(3, 2)
    memory = model.encode(ids, mask)
    assert memory.shape == (3, S, model.width)
    _, state = model.decoder(written, model.decoder.initial_state(3, 11), memory=memory, memory_mask=mask)
    for step, order in enumerate(orders):
        index = torch.tensor(order)
        ids, mask, written, state = ids[index], mask[index], written[index], state.reorder(index)
        for tokens in (1, 2):
            more = random_ids(len(order), tokens, seed=10 * step + tokens)
            hidden, state = model.decoder(more, state)
            written = torch.cat((written, more), 1)
            close(hidden, model(ids, written, mask)[0][:, -tokens:])
        assert state.length == written.shape[1]


@pairs
def test_shared_embeddings_stay_one_through_save_load_copy_and_training(name, tmp_path):
    model = build(name)
    shared = PAIRS[name.removeprefix("pair: ")][-1].get("shared_embedding", True)
    assert (model.encoder.embedding is model.decoder.embedding) == shared
    names = [key for key, _ in model.named_parameters(remove_duplicate=True) if key.endswith(".embedding.weight")]
    assert len(names) == (1 if shared else 2)
    assert {"encoder.embedding.weight", "decoder.embedding.weight"} <= model.state_dict().keys()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    head = LanguageModelHead(other.decoder)
    optimizer = torch.optim.SGD([*other.parameters()], lr=0.1)
    head(read(other, random_ids(2, T))).square().sum().backward()
    optimizer.step()
    assert (other.encoder.embedding.weight is other.decoder.embedding.weight is head.matrix) == shared
    assert not torch.equal(head.matrix, model.embedding.weight)


@pytest.mark.parametrize("name", [
    "pair: transformer position=rope", "pair: transformer everything", "pair: recurrent to transformer, other width",
    "pair: transformer to recurrent, shared", "pair: recurrent cell=gru", "pair: recurrent attention=none",
    "pair: recurrent attention=dot", "pair: recurrent attention=additive", "pair: recurrent input_feeding cell=lstm",
])  # fmt: skip
def test_learns_to_copy_one_batch_of_sources(name):
    # Each target starts alike and is read in teacher forcing, so the first token can only come from the source.
    model = build(name, dropout=0.0, zero_init=True)
    head = LanguageModelHead(model.decoder)
    ids = random_ids(6, 4, seed=6) % 12 + 1
    target = torch.cat((torch.zeros(6, 1, dtype=torch.long), ids[:, :-1]), 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-2)
    for _ in range(250):
        loss = F.cross_entropy(head(model(ids, target)[0]).flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
