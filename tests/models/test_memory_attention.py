"""How a recurrent decoder looks at a memory, against loops that say the same in words."""

import pytest
import torch
from torch import nn

from groundup.errors import UserError
from groundup.models import recurrent_layer
from groundup.models.attention import MemoryAttention, make_mask
from groundup.models.recurrent import RecurrentDecoder
from groundup.models.recurrent_layer import CELLS, recurrence
from groundup.training.groups import parameter_groups

B, T, S, D, V = 2, 4, 5, 6, 20
SCORES = ("dot", "general", "additive")


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def batch():
    torch.manual_seed(0)
    mask = torch.ones(B, S, dtype=torch.bool)
    mask[1, 3:] = False
    return torch.randn(B, T, D), torch.randn(B, S, D), mask


def score(attention, h, m):
    if attention.score == "dot":
        return h @ m
    if attention.score == "general":
        return h @ (attention.key.weight @ m)
    return attention.energy.weight[0] @ torch.tanh(attention.query.weight @ h + attention.key.weight @ m)


def attend_by_loop(attention, hidden, memory, mask):
    """Attentional vectors (B, T, D) and weights (B, T, S), one query and one key at a time."""
    vectors, weights = torch.zeros_like(hidden), torch.zeros(*hidden.shape[:2], memory.shape[1])
    for b, row in enumerate(hidden):
        real = [s for s in range(memory.shape[1]) if mask[b, s]]
        for t, h in enumerate(row):
            shares = torch.stack([score(attention, h, memory[b, s]) for s in real]).softmax(0)
            context = sum(share * memory[b, s] for share, s in zip(shares, real, strict=True))
            vectors[b, t] = torch.tanh(attention.combine.weight @ torch.cat((context, h)))
            weights[b, t, real] = shares
    return vectors, weights


@pytest.mark.parametrize("word", SCORES)
def test_attention_equals_its_equations(word):
    hidden, memory, mask = batch()
    attention = MemoryAttention(D, word)
    seen = make_mask(T, S, False, mask)
    vectors, weights = attend_by_loop(attention, hidden, memory, mask)
    close(attention(hidden, *attention.project(memory), seen), vectors)
    close(attention.weights(hidden, *attention.project(memory), seen), weights)


@pytest.mark.parametrize("word", SCORES)
def test_weights_sum_to_one_over_real_tokens_and_padding_is_never_read(word):
    hidden, memory, mask = batch()
    attention, seen = MemoryAttention(D, word), make_mask(T, S, False, mask)
    weights = attention.weights(hidden, *attention.project(memory), seen)
    close(weights.sum(-1), torch.ones(B, T))
    assert not weights[1, :, 3:].any() and (weights[0] > 0).all()
    before = attention(hidden, *attention.project(memory), seen)
    memory[1, 3:] = 100.0
    close(attention(hidden, *attention.project(memory), seen), before)
    memory.requires_grad_()
    attention(hidden, *attention.project(memory), seen).sum().backward()
    assert not memory.grad[1, 3:].any()


def decoder(**words):
    torch.manual_seed(1)
    return RecurrentDecoder(V, D, layers=1, cross_attention=True, **words).eval()


def expected_start(model, memory, mask):
    """(hidden, cell or nothing) of the first step."""
    last = [int(row.sum()) - 1 for row in mask]
    ends = torch.cat((memory[range(B), last], memory[:, 0]), -1)
    parts = (ends @ model.start.weight.T + model.start.bias).split(D, -1)
    return [parts[0].tanh(), *parts[1:]]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_without_attention_the_memory_is_where_the_reading_starts(cell):
    _, memory, mask = batch()
    model, ids = decoder(cell=cell, attention="none"), torch.randint(V, (B, T))
    nn.init.normal_(model.start.bias)
    start = [part.unsqueeze(0) for part in expected_start(model, memory, mask)]
    reference = CELLS[cell](D, D, batch_first=True)
    reference.load_state_dict(model.blocks[0].forwards.state_dict())
    expected, _ = reference(model.embedding(ids), tuple(start) if len(start) == 2 else start[0])
    close(model(ids, memory=memory, memory_mask=mask)[0], expected)
    assert model.top_attention is None


@pytest.mark.parametrize("word", SCORES)
@pytest.mark.parametrize("feeding", [False, True])
def test_a_decoder_with_attention_is_a_loop_over_its_steps(word, feeding):
    _, memory, mask = batch()
    model, ids = decoder(attention=word, input_feeding=feeding), torch.randint(V, (B, T))
    layer, (h, c), vector = model.blocks[0].forwards, expected_start(model, memory, mask), torch.zeros(B, D)
    cell = nn.LSTMCell(layer.input_size, D)
    cell.load_state_dict({name.removesuffix("_l0"): parameter for name, parameter in layer.state_dict().items()})
    hidden, _ = model(ids, memory=memory, memory_mask=mask)
    assert layer.input_size == (2 * D if feeding else D)
    for t in range(T):
        x = model.embedding(ids[:, t])
        h, c = cell(torch.cat((x, vector), -1) if feeding else x, (h, c))
        vector = attend_by_loop(model.top_attention, h[:, None], memory, mask)[0][:, 0]
        close(hidden[:, t], vector)


def test_what_is_locked_or_dropped_from_a_matrix_is_so_for_all_steps_of_input_feeding(monkeypatch):
    _, memory, mask = batch()
    model = decoder(input_feeding=True, dropout=0.5, locked_dropout=True, weight_drop=0.5).train()
    calls = []
    monkeypatch.setattr(
        recurrent_layer,
        "recurrence",
        lambda rnn, x, state, matrix: calls.append(matrix) or recurrence(rnn, x, state, matrix),
    )
    hidden, _ = model(torch.randint(V, (B, 12)), memory=memory, memory_mask=mask)
    assert len(calls) == 12 and all(matrix is calls[0] for matrix in calls) and (calls[0] == 0).any()
    gone = hidden == 0
    assert gone.any() and torch.equal(gone, gone[:, :1].expand_as(gone))


def test_words_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="choose none, dot, general or additive"):
        decoder(attention="bahdanau")
    with pytest.raises(UserError, match="Try attention=general"):
        decoder(attention="none", input_feeding=True)
    with pytest.raises(UserError, match="Try input_feeding=false"):
        RecurrentDecoder(V, D, input_feeding=True)
    ids = torch.zeros(1, 3, dtype=torch.long)
    for word in ("none", "general"):
        with pytest.raises(ValueError, match="needs a memory"):
            decoder(attention=word)(ids)
        with pytest.raises(ValueError, match="document_ids"):
            decoder(attention=word)(ids, memory=torch.randn(1, S, D), document_ids=ids)


@pytest.mark.parametrize(("cell", "maps"), [("lstm", 4), ("gru", 2)])
def test_an_optimizer_of_matrices_sees_each_map_of_the_start_by_itself(cell, maps):
    model = RecurrentDecoder(20, width=D, layers=2, cell=cell, cross_attention=True)
    splits = {name: rows for group in parameter_groups(model, 1.0) for name, rows in group["splits"].items()}
    assert splits["start.weight"] == [D] * maps
