import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from groundup.errors import UserError
from groundup.models.recurrent import RecurrentDecoder, RecurrentEncoder
from groundup.models.recurrent_layer import CELLS, LockedDropout, Ragged, RecurrentLayer

B, T, D, H = 3, 7, 5, 8


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_bidirectional_stack_equals_torch_on_packed_sequences(cell):
    torch.manual_seed(0)
    model = RecurrentEncoder(20, 2 * H, layers=2, cell=cell, dropout=0)
    reference = CELLS[cell](2 * H, H, num_layers=2, batch_first=True, bidirectional=True)
    for i, block in enumerate(model.blocks):
        for ours, ending in ((block.forwards, ""), (block.backwards, "_reverse")):
            for name, parameter in ours.named_parameters():
                getattr(reference, name.replace("_l0", f"_l{i}{ending}")).data.copy_(parameter)
    lengths = torch.tensor([4, 7, 2])
    mask = torch.arange(T) < lengths[:, None]
    ids = torch.randint(20, (B, T))
    packed = pack_padded_sequence(model.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    torch.testing.assert_close(model(ids, mask)[mask], expected[mask], atol=1e-6, rtol=1e-5)


def test_the_state_after_padding_is_that_of_the_last_real_token():
    torch.manual_seed(0)
    model = RecurrentDecoder(20, H, dropout=0)
    ids, mask = torch.randint(20, (B, T)), torch.ones(B, T, dtype=torch.bool)
    mask[0, 3:] = mask[1, :4] = mask[2] = False
    _, start = model(torch.randint(20, (B, 2)), model.initial_state(B))
    _, state = model(ids, start, attention_mask=mask)
    for row, text in ((0, ids[:1, :3]), (1, ids[1:2, 4:])):
        _, alone = model(text, start.reorder(torch.tensor([row])))
        for layer, expected in zip(state.layers, alone.layers):
            for part, wanted in zip(layer, expected):
                torch.testing.assert_close(part[row], wanted[0], atol=1e-6, rtol=1e-5)
    for layer, before in zip(state.layers, start.layers):  # nothing was read in the last row
        assert all(torch.equal(part[2], old[2]) for part, old in zip(layer, before))


def test_initial_weights():
    layer = RecurrentLayer(D, H)
    gates = layer.forwards.weight_hh_l0.split(H)
    assert len(gates) == 4
    for gate in gates:
        torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)
    bias = (layer.forwards.bias_ih_l0 + layer.forwards.bias_hh_l0).view(4, H)
    assert bias.tolist() == [[0.0] * H, [1.0] * H, [0.0] * H, [0.0] * H]  # input, forget, content, output


def test_locked_dropout_is_one_mask_for_all_steps():
    torch.manual_seed(0)
    dropout, x = LockedDropout(0.5), torch.ones(50, T, 20)
    y = dropout(x)
    assert (y == y[:, :1]).all()
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(y[0], y[1])  # another mask for each text
    assert torch.equal(dropout.eval()(x), x)


def test_weight_drop_drops_in_training_only_and_keeps_the_parameter():
    torch.manual_seed(0)
    layer, plain = RecurrentLayer(D, H, weight_drop=0.5), RecurrentLayer(D, H)
    plain.load_state_dict(layer.state_dict())  # plain names: the weights fit a layer without weight drop
    x, before = torch.randn(B, T, D), layer.forwards.weight_hh_l0.clone()
    assert not torch.allclose(layer(x), plain(x))
    layer(x).sum().backward()
    assert torch.equal(layer.forwards.weight_hh_l0, before)
    assert 0.2 < (layer.forwards.weight_hh_l0.grad == 0).float().mean() < 0.8  # dropped entries learn nothing
    assert (plain(x).sum().backward(), (plain.forwards.weight_hh_l0.grad == 0).any())[1].item() is False
    torch.testing.assert_close(layer.eval()(x), plain(x))


def test_embedding_dropout_drops_words_of_the_vocabulary():
    torch.manual_seed(0)
    model = RecurrentEncoder(20, H, embedding_dropout=0.5, dropout=0)
    embedded = model.embed(torch.arange(20).repeat(2, 1))
    gone = (embedded == 0).all(-1)
    assert torch.equal(gone[0], gone[1]) and 0 < gone[0].sum() < 20
    torch.testing.assert_close(embedded[0][~gone[0]], 2 * model.embedding.weight[~gone[0]])


def test_ragged_layout_of_padding_anywhere():
    mask = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    ragged = Ragged.layout(mask, None)
    assert ragged.lengths.tolist() == [3, 0, 5]
    ids = torch.arange(15).view(3, 5)
    rows = ragged.gather(ids)
    assert rows[0, :3].tolist() == [1, 2, 4] and rows[2].tolist() == [10, 11, 12, 13, 14]
    back = ragged.scatter(rows.unsqueeze(-1), ids.shape).squeeze(-1)
    assert torch.equal(back[mask], ids[mask])
    assert ragged.reverse(rows.unsqueeze(-1))[0, :3, 0].tolist() == [4, 2, 1]


def test_ragged_layout_of_documents():
    documents = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 7, 7]])  # the same number in two rows is not one document
    mask = torch.tensor([[1, 1, 1, 0, 1], [1, 1, 1, 1, 0]]).bool()
    ragged = Ragged.layout(mask, documents)
    assert ragged.lengths.tolist() == [2, 2, 3, 1]
    ids = torch.arange(10).view(2, 5)
    assert ragged.gather(ids)[1, :2].tolist() == [2, 4]
    nothing = Ragged.layout(torch.zeros_like(mask), documents)
    assert nothing.lengths.tolist() == [0]


def test_numbers_and_words_that_do_not_fit_are_told():
    with pytest.raises(UserError, match="width=9"):
        RecurrentEncoder(20, 9)
    with pytest.raises(ValueError, match="choose lstm, gru or rnn"):
        RecurrentDecoder(20, 8, cell="qrnn")
    ids, model = torch.zeros(1, 3, dtype=torch.long), RecurrentDecoder(20, 8)
    with pytest.raises(ValueError, match="document_ids"):
        model(ids, model.initial_state(1), document_ids=ids)
    with pytest.raises(ValueError, match="no cross_attention"):
        model(ids, memory=torch.randn(1, 2, 8))
    with pytest.raises(ValueError, match="needs a memory"):
        RecurrentDecoder(20, 8, cross_attention=True)(ids)


def test_autocast_runs_both_ways():
    ids, mask = torch.randint(20, (B, T)), torch.ones(B, T, dtype=torch.bool)
    mask[0, 3:] = False
    for cell in ("lstm", "gru", "rnn"):
        model = RecurrentEncoder(20, 2 * H, cell=cell, weight_drop=0.3)
        with torch.autocast("cpu", torch.bfloat16):
            model(ids, mask).float().sum().backward()
        assert model.embedding.weight.grad.isfinite().all()


def test_a_residual_layer_adds_to_its_input():
    torch.manual_seed(0)
    model = RecurrentEncoder(20, H, layers=2, residual=True, dropout=0)
    x = model.blocks[0](model.embedding(torch.arange(6)[None]))
    torch.testing.assert_close(model(torch.arange(6)[None]), x + model.blocks[1](x))
