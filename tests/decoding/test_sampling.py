import pytest
import torch

from groundup.decoding.sampling import Sampler

PROBABILITIES = torch.tensor([[0.1, 0.5, 0.05, 0.3, 0.05]])
LOGITS = PROBABILITIES.log()


def distribution(sampler, seen=None):
    probabilities, ids = sampler.nucleus(LOGITS, seen)
    return torch.zeros(5).scatter(0, ids[0], probabilities[0])


def draw(sampler, n=20_000):
    uniform = torch.rand(n, generator=torch.Generator().manual_seed(0))
    return sampler(LOGITS.expand(n, -1), uniform).bincount(minlength=5) / n


@pytest.mark.parametrize(("words", "expected"), [
    ({}, [0.1, 0.5, 0.05, 0.3, 0.05]),
    ({"temperature": 0.5}, (PROBABILITIES[0] ** 2 / (PROBABILITIES[0] ** 2).sum()).tolist()),
    ({"top_k": 2}, [0, 5 / 8, 0, 3 / 8, 0]),
    ({"top_k": 99}, [0.1, 0.5, 0.05, 0.3, 0.05]),
    ({"top_p": 0.6}, [0, 5 / 8, 0, 3 / 8, 0]),  # 0.5 is short of 0.6: the token that crosses it stays
    ({"top_p": 0.4}, [0, 1, 0, 0, 0]),
    ({"top_p": 1e-9}, [0, 1, 0, 0, 0]),
    ({"top_p": 1.0}, [0.1, 0.5, 0.05, 0.3, 0.05]),
    ({"min_p": 0.15}, [1 / 9, 5 / 9, 0, 3 / 9, 0]),
    ({"top_k": 3, "top_p": 0.8, "min_p": 0.7}, [0, 1, 0, 0, 0]),
])  # fmt: skip
def test_the_distribution_and_the_draws_are_those_of_the_words(words, expected):
    sampler = Sampler(**words)
    torch.testing.assert_close(distribution(sampler), torch.tensor(expected).float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(draw(sampler), torch.tensor(expected).float(), atol=0.015, rtol=0)


def test_temperature_zero_takes_the_best():
    assert draw(Sampler(temperature=0), 10).tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("temperature", [0, 1])
def test_repetition_penalty_weakens_what_was_written(temperature):
    logits, seen = torch.tensor([[2.0, 1.9, -1.0]]), torch.tensor([[True, False, True]])
    sampler = Sampler(temperature=temperature, repetition_penalty=2.0)
    assert sampler.penalize(logits, seen).tolist() == [[1.0, pytest.approx(1.9), -2.0]]
    if temperature == 0:
        assert sampler(logits, torch.zeros(1), seen).item() == 1
        assert sampler(logits, torch.zeros(1)).item() == 0


def test_the_ends_of_the_draw_never_give_an_impossible_token():
    logits = torch.full((2, 1000), float("-inf"))
    logits[:, 500:] = torch.randn(500)
    uniform = torch.tensor([0.0, 1 - 2**-24])
    for words in ({}, {"top_p": 0.9}, {"top_k": 700}):
        assert (Sampler(**words)(logits, uniform) >= 500).all()
