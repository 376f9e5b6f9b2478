"""What must hold for every encoder with every decoder that looks at it."""

import copy

import pytest
import torch
from families import PAIR_NAMES, PAIRS, S, T, V, build, close, pairs, random_ids, read, source_ids, source_mask
from torch import nn
from torch.nn import functional as F

from groundup.models.heads import LanguageModelHead


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
    *(name for name in PAIR_NAMES if " to " in name),
    "pair: transformer_encoder_decoder everything", "pair: lstm_encoder_decoder of two widths",
    *(f"pair: lstm_encoder_decoder {option}" for option in (
        "attention=none", "attention=dot", "attention=additive", "input_feeding=True"
    )),
])  # fmt: skip
def test_learns_to_copy_one_batch_of_sources(name):
    # Each target starts alike and is read in teacher forcing, so the first token can only come from the source.
    model = build(name, dropout=0.0, zero_init=True)
    head = LanguageModelHead(model.decoder)
    ids = random_ids(6, 4, seed=6) % 12 + 1
    target = torch.cat((torch.zeros(6, 1, dtype=torch.long), ids[:, :-1]), 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=5e-3)
    for _ in range(2000):
        loss = F.cross_entropy(head(model(ids, target)[0]).flatten(0, 1), ids.flatten())
        if loss < 0.1:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {loss:.2f}")
