"""What must hold for every model, and for each of its options; ``families`` finds them."""

import copy
import math

import pytest
import torch
from families import (
    T,
    V,
    alone,
    build,
    close,
    decoders,
    encoders,
    everyone,
    names_of,
    random_ids,
    read,
    singles,
    source_for,
    writers,
)
from torch import nn
from torch.nn import functional as F

from groundup.config.signatures import parameters_of
from groundup.models.heads import LanguageModelHead
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.stages.stored import no_more_than
from groundup.training.groups import parameter_groups


@everyone
def test_loss_at_init_is_that_of_a_uniform_guess(name):
    model = build(name, zero_init=True).eval()
    ids = random_ids(64, T)
    for head in (
        LanguageModelHead(model),
        LanguageModelHead(model, tied=False),
        LanguageModelHead(model, transform="rms"),
    ):
        loss = F.cross_entropy(head(read(model, ids)).flatten(0, 1), random_ids(64, T, seed=2).flatten())
        assert abs(loss - math.log(V)) < 0.15


@pytest.mark.parametrize("width", [64, 512])
@pytest.mark.parametrize("zero_init", [True, False])
def test_loss_at_init_does_not_grow_with_width(width, zero_init):
    # A tied head favours the token it has just read; labels that repeat it would hide that, so none do.
    torch.manual_seed(0)
    model = TransformerDecoder(V, width, 2, 4, zero_init=zero_init).eval()
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
    assert differs.all() if model.reads_both_ways else not differs.any()


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


@alone
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
@torch.no_grad()
def test_features_are_added_to_the_embeddings_of_their_tokens(name):
    model = build(name).eval()
    ids, mask = random_ids(2, T), torch.ones(2, T, dtype=torch.bool)
    mask[0, :2] = mask[1, 6:] = False
    features = torch.randn(2, T, model.embedding.embedding_dim)
    for words in ({}, {"attention_mask": mask}):
        plain = model(ids, **words)
        close(model(ids, **words, features=torch.zeros_like(features))[mask], plain[mask])
        noisy = features * ~mask[..., None] if words else 0 * features  # of padding nobody hears
        close(model(ids, **words, features=noisy)[mask], plain[mask])
        same = features[:1, :1].expand_as(features)
        moved = model(ids, **words, features=same)
        model.embedding.weight += same[0, 0]
        close(model(ids, **words)[mask], moved[mask])
        model.embedding.weight -= same[0, 0]


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
@torch.no_grad()
def test_states_that_join_go_on_as_each_by_itself(name):
    model = build(name).eval()
    if source_for(model, 3):
        pytest.skip("texts about a source join no others")
    texts = [random_ids(2, T, seed=1), random_ids(3, T, seed=2)]
    (_, long), (_, short) = (model(ids[:, :n], model.initial_state(len(ids), n)) for ids, n in zip(texts, (5, 3)))
    index = torch.tensor([3, 1, 4])
    for one, other, order in ((long, short, (0, 1)), (short, long, (1, 0))):
        both, read = torch.cat([texts[which] for which in order]), torch.tensor([n for which in order for n in
                                                                                [(5, 5), (3, 3, 3)][which]])  # fmt: skip
        state = one.join(other, T - 5)
        for step in range(T - 5):
            token = both.gather(1, (read + step)[:, None])
            hidden, state = model(token, state, position_ids=(read + step)[:, None])
            full, _ = model(both)
            close(hidden[:, 0], full[torch.arange(len(both)), read + step])
            if step == 1:  # what left no trace of the longer ones is given up when others join
                state, both, read = state.reorder(index), both[index], read[index]


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
    hidden = torch.randn(2, model.width)
    assert not other["head"](hidden).any()  # the copy is tied to itself
    assert both["head"](hidden).any()


@everyone
def test_every_parameter_is_in_exactly_one_optimizer_group(name):
    model = build(name)
    both = nn.ModuleDict({"model": model, "head": LanguageModelHead(model, tied=False)})
    for layer_decay in (1.0, 0.5):
        groups = parameter_groups(both, lr=1.0, layer_decay=layer_decay)
        held = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(held) == sorted({id(parameter) for parameter in both.parameters()})
        scales = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
        for below, block in enumerate(reversed(model.blocks), start=1):  # of the head
            assert {scales[id(parameter)] for parameter in block.parameters()} == {layer_decay**below}
        assert scales[id(model.embedding.weight)] == layer_decay ** (len(model.blocks) + 1)
        for group in groups:
            for parameter_name, parameter in zip(group["names"], group["params"], strict=True):
                if "embedding.weight" in parameter_name:
                    assert group["kind"] == "embedding"
                rows = group["splits"].get(parameter_name)
                assert rows is None or sum(rows) == len(parameter)


@pytest.mark.parametrize("name", [f"{kind}: {name}" for kind in ("encoder", "decoder") for name in names_of(kind)])
def test_free_arguments_change_no_tensor(name):
    usual = build(name)
    defaults = {name: parameter.default for name, parameter in parameters_of(type(usual))[0].items()}
    changed = {bool: True, float: 0.4, int: 7}  # of the types of defaults
    other = build(name, **{free: changed[type(defaults[free])] for free in usual.free_arguments & defaults.keys()})
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (usual, other)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "name", [*(f"decoder: {name}" for name in names_of("decoder")), "decoder: transformer_decoder everything"]
)
def test_overfits_one_batch(name):
    model = build(name, dropout=0.0, zero_init=True)
    head = LanguageModelHead(model, tied=False)
    ids = random_ids(4, T + 1)
    ids[:, 0] = torch.arange(4)  # a start that two rows share would have two continuations
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-2)
    for _ in range(2000):
        loss = F.cross_entropy(head(read(model, ids[:, :-1])).flatten(0, 1), ids[:, 1:].flatten())
        if loss < 0.1:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {loss:.2f}")


@everyone
def test_evaluation_has_no_randomness(name):
    model, ids = build(name).eval(), random_ids(2, T)
    close(read(model, ids), read(model, ids), 0)
    if any(isinstance(part, nn.Dropout) and part.p for part in model.modules()):
        model.train()
        assert not torch.allclose(read(model, ids), read(model, ids))


def test_dropout_that_is_switched_on_by_itself_drops_in_evaluation():
    """Monte Carlo dropout (Gal and Ghahramani 2016): several answers of one model show how sure it is."""
    model = TransformerEncoder(V, 32, 2, 2, dropout=0.5, zero_init=False).eval()
    ids = random_ids(2, T)
    assert torch.equal(model(ids), model(ids))
    for part in model.modules():
        part.training = isinstance(part, torch.nn.Dropout)
    assert not torch.allclose(model(ids), model(ids))


@pytest.mark.parametrize("tied", [True, False])
def test_nothing_is_made_that_a_checkpoint_does_not_keep(tied):
    """Or a run would be taken for one whose config asks for more than is stored: see ``stages.stored``."""
    for name in [name for name in everyone.args[1] if "=" not in name or "embedding_width" in name]:

        def made(name: str = name) -> nn.Module:
            model = build(name)
            return nn.ModuleList([model, LanguageModelHead(model, tied)])

        kept = [value for value in made().state_dict().values() if value.dim()]
        with no_more_than(sum(value.numel() for value in kept), len(kept), name):
            made()
