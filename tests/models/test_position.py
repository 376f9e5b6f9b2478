import pytest
import torch

from groundup.models.position import LearnedPosition, Rotary, SinusoidalPosition, alibi_slopes, rotate


def test_rotary_products_depend_on_the_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(8), torch.randn(8)
    rotary = Rotary(8, 32)

    def product(i, j):
        at = torch.tensor([[i, j]])
        turned = rotate(torch.stack((q, k)).view(1, 2, 1, 8), *rotary.tables(at, 0, 2))[0, :, 0]
        return turned[0] @ turned[1]

    torch.testing.assert_close(product(3, 1), product(30, 28))
    assert not torch.isclose(product(3, 1), product(3, 2))
    torch.testing.assert_close(product(7, 7), q @ k)


def test_rotary_is_a_rotation_of_complex_pairs():
    x = torch.randn(1, 6, 1, 8)
    pairs = torch.complex(x[..., :4].double(), x[..., 4:].double())
    angle = torch.arange(6.0, dtype=torch.float64)[:, None] * 10_000.0 ** -(torch.arange(4.0, dtype=torch.float64) / 4)
    expected = torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)[None, :, None])
    expected = torch.cat((expected[..., 0], expected[..., 1]), -1).float()
    torch.testing.assert_close(rotate(x, *Rotary(8, 6).tables(None, 0, 6)), expected, atol=1e-5, rtol=1e-5)


def test_alibi_slopes_are_those_of_the_paper():
    assert alibi_slopes(8).tolist() == [2**-i for i in range(1, 9)]
    torch.testing.assert_close(alibi_slopes(6), torch.tensor([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3.0]))
    assert alibi_slopes(1).tolist() == [2**-8]


def test_sinusoids_are_as_large_as_the_token_embeddings():
    table = SinusoidalPosition(100, 64, std=0.02).table
    assert abs(table.square().mean().sqrt() - 0.02) < 1e-4
    assert SinusoidalPosition(10, 7, std=1.0).table.shape == (10, 7)


def test_tables_are_not_in_a_checkpoint_unless_learned():
    assert not Rotary(8, 32).state_dict()
    assert not SinusoidalPosition(32, 8, 1.0).state_dict()
    assert list(LearnedPosition(32, 8).state_dict()) == ["weight"]


@pytest.mark.parametrize("position", ["learned", "rope", "sinusoidal"])
def test_a_document_longer_than_the_table_is_one_line(position):
    from groundup.errors import UserError
    from groundup.models.transformer import TransformerEncoder

    model = TransformerEncoder(vocab_size=9, width=8, layers=1, heads=2, position=position, max_length=4)
    ids, places = torch.ones(1, 6, dtype=torch.long), torch.tensor([[0, 1, 2, 3, 0, 1]])
    assert model(ids, position_ids=places, document_ids=torch.tensor([[0, 0, 0, 0, 1, 1]])).shape == (1, 6, 8)
    with pytest.raises(UserError, match=r"a document of 6 tokens, but max_length=4"):
        model(ids, position_ids=torch.arange(6)[None], document_ids=torch.zeros_like(ids))
