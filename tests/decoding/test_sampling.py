import pytest
import torch

from groundup.decoding.beam import Beam
from groundup.decoding.sampling import Greedy, Sampler

PROBABILITIES = torch.tensor([[0.1, 0.5, 0.05, 0.3, 0.05]])
LOGITS = PROBABILITIES.log()


def distribution(sampler):
    probabilities, ids = sampler.nucleus(LOGITS)
    return torch.zeros(5).scatter(0, ids[0], probabilities[0])


def draw(sampler, n=20_000):
    uniform = torch.rand(n, generator=torch.Generator().manual_seed(0))
    return sampler(LOGITS.expand(n, -1), uniform).bincount(minlength=5) / n


# The entropy is 1.241 nats; the surprises are 2.30, 0.69, 3.00, 1.20 and 3.00: token 3 is the most typical, then 1.
@pytest.mark.parametrize(("words", "expected"), [
    ({}, [0.1, 0.5, 0.05, 0.3, 0.05]),
    ({"temperature": 0.5}, (PROBABILITIES[0] ** 2 / (PROBABILITIES[0] ** 2).sum()).tolist()),
    ({"top_k": 2}, [0, 5 / 8, 0, 3 / 8, 0]),
    ({"top_k": 99}, [0.1, 0.5, 0.05, 0.3, 0.05]),
    ({"top_k": 0}, [0.1, 0.5, 0.05, 0.3, 0.05]),  # off
    ({"top_p": 0.6}, [0, 5 / 8, 0, 3 / 8, 0]),  # 0.5 is short of 0.6: the token that crosses it stays
    ({"top_p": 0.4}, [0, 1, 0, 0, 0]),
    ({"top_p": 1e-9}, [0, 1, 0, 0, 0]),
    ({"top_p": 1.0}, [0.1, 0.5, 0.05, 0.3, 0.05]),
    ({"min_p": 0.15}, [1 / 9, 5 / 9, 0, 3 / 9, 0]),
    ({"typical_p": 0.2}, [0, 0, 0, 1, 0]),  # not the most likely one
    ({"typical_p": 0.4}, [0, 5 / 8, 0, 3 / 8, 0]),
    ({"typical_p": 0.85}, [1 / 9, 5 / 9, 0, 3 / 9, 0]),
    ({"typical_p": 1.0}, [0.1, 0.5, 0.05, 0.3, 0.05]),
    ({"top_k": 3, "top_p": 0.8, "min_p": 0.7}, [0, 1, 0, 0, 0]),
])  # fmt: skip
def test_the_distribution_and_the_draws_are_those_of_the_words(words, expected):
    sampler = Sampler(**words)
    torch.testing.assert_close(distribution(sampler), torch.tensor(expected).float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(draw(sampler), torch.tensor(expected).float(), atol=0.015, rtol=0)


@pytest.mark.parametrize("typical_p", [0.05, 0.3, 0.7, 0.95])
def test_typical_sampling_against_its_definition(typical_p):
    logits = 3 * torch.randn(6, 50, generator=torch.Generator().manual_seed(1))
    logits[:, 7] = float("-inf")
    probabilities, ids = Sampler(typical_p=typical_p).nucleus(logits)
    for row in range(6):
        p = logits[row].double().softmax(0)
        entropy = -sum(x * x.log() for x in p if x > 0)
        order = sorted((i for i in range(50) if p[i] > 0), key=lambda i: abs(-p[i].log() - entropy))
        kept, mass = [], 0.0
        for i in order:
            kept.append(i)
            mass += p[i].item()
            if mass >= typical_p:
                break
        expected = torch.zeros(50).double()
        expected[kept] = p[kept] / mass
        found = torch.zeros(50).scatter(0, ids[row], probabilities[row])
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)


def test_temperature_zero_takes_the_best():
    assert draw(Sampler(temperature=0), 10).tolist() == [0, 1, 0, 0, 0]


def test_the_ends_of_the_draw_never_give_an_impossible_token():
    logits = torch.full((2, 1000), float("-inf"))
    logits[:, 500:] = torch.randn(500)
    uniform = torch.tensor([0.0, 1 - 2**-24])
    for words in ({}, {"top_p": 0.9}, {"top_k": 700}, {"typical_p": 0.9}):
        assert (Sampler(**words)(logits, uniform) >= 500).all()


@pytest.mark.parametrize("words", [{"top_k": 3}, {"top_p": 0.1}, {"min_p": 1.0}, {"typical_p": 0.01}])
def test_the_most_likely_token_is_in_every_set_of_likely_tokens(words):
    logits = torch.randn(100, 50)
    greedy = Greedy()(logits, None)
    assert torch.equal(greedy, logits.argmax(-1))
    assert torch.equal(Sampler(temperature=0, **words)(logits, None), greedy)


def test_no_temperature_is_too_low():
    logits = torch.tensor([[1e4, 3e4, 2e4], [-5.0, -7.0, -4.0]])
    for temperature in (1e-3, 1e-20, 1e-35):
        assert Sampler(temperature)(logits, torch.tensor([0.5, 1 - 2**-24])).tolist() == [1, 2]


def test_0_turns_off_what_counts():
    for method in (Sampler(0, top_k=0, no_repeat_ngram=0), Beam(no_repeat_ngram=0)):
        assert method.no_repeat_ngram is None
