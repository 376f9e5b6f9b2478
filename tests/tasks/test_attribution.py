"""What answers come from: attributions add up, and are those of brute force where that can be computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from groundup.models.ngrams import CNNEncoder
from groundup.models.recurrent import RecurrentEncoder
from groundup.models.transformer import TransformerEncoder
from groundup.tasks.attribution import TOLERANCE, copies, integrated_gradients, occlusion

MODELS = {
    "transformer": lambda: TransformerEncoder(50, width=32, layers=2, heads=2, feed_forward="gelu"),
    "bilstm": lambda: RecurrentEncoder(50, width=32, layers=1, embedding_dropout=0.3),
    "cnn": lambda: CNNEncoder(50, width=32),
}


def scored(name: str):
    """A model, and a score of texts that is far from linear."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    head = nn.Linear(32, 2)

    def score(batch):
        logits = head(model(batch["input_ids"], batch.get("attention_mask")).mean(1) * 3)
        return logits[:, 0] - logits[:, 1]

    return model, score


@pytest.mark.parametrize("name", MODELS)
def test_attributions_add_up_to_the_difference_of_scores(name):
    model, score = scored(name)
    batch = {"input_ids": torch.randint(5, 50, (1, 14)), "index": torch.tensor([3])}
    hidden = torch.full((1, 14), 4)
    hidden[0, 0] = batch["input_ids"][0, 0]
    found, difference = integrated_gradients(model.embedding, score, batch, hidden)
    with torch.no_grad():
        real = score(batch)[0] - score({"input_ids": hidden})[0]
    assert float(difference) == pytest.approx(float(real), abs=1e-5)
    assert float(found.sum()) == pytest.approx(float(real), abs=TOLERANCE * abs(float(real)))
    assert found[0, 0] == 0  # a token that stays adds nothing
    assert model.embedding.weight.grad is None and not model.embedding._forward_hooks


@pytest.mark.parametrize("name", MODELS)
def test_occlusion_is_the_score_without_one_token(name):
    _, score = scored(name)
    batch, hidden = {"input_ids": torch.randint(5, 50, (1, 20))}, torch.full((1, 20), 4)
    hidden[0, 7] = batch["input_ids"][0, 7]
    found = occlusion(score, batch, hidden)
    for place in range(20):
        changed = batch["input_ids"].clone()
        changed[0, place] = hidden[0, place]
        with torch.no_grad():
            want = score(batch)[0] - score({"input_ids": changed})[0]
        assert float(found[0, place]) == pytest.approx(float(want), abs=1e-5)


def test_nothing_can_be_hidden_of_an_empty_text():
    model, score = scored("cnn")
    batch = {"input_ids": torch.tensor([[2, 3]])}
    assert not occlusion(score, batch, batch["input_ids"]).any()
    assert not integrated_gradients(model.embedding, score, batch, batch["input_ids"])[0].any()


def test_a_long_text_is_read_in_smaller_batches_with_the_same_result(monkeypatch):
    model, score = scored("transformer")
    batch, hidden = {"input_ids": torch.randint(5, 50, (1, 14))}, torch.full((1, 14), 4)
    sizes: list[int] = []

    def watched(batch):
        sizes.append(len(batch["input_ids"]))
        return score(batch)

    def both():
        sizes.clear()
        one, other = integrated_gradients(model.embedding, watched, batch, hidden)[0], occlusion(watched, batch, hidden)
        return torch.cat([one, other]).detach(), max(sizes)

    whole, largest = both()
    monkeypatch.setattr("groundup.tasks.attribution._TOKENS", 14 * 3)
    parts, fewer = both()
    assert (largest, fewer) == (16, 3) and torch.allclose(whole, parts, atol=1e-4)


def test_of_a_linear_score_both_ways_are_exact():
    embedding, weights = nn.Embedding(50, 8), torch.randn(8)

    def score(batch):
        return (embedding(batch["input_ids"]) @ weights).sum(-1)

    batch, hidden = {"input_ids": torch.randint(5, 50, (1, 9))}, torch.full((1, 9), 4)
    exact = (embedding(batch["input_ids"]) - embedding(hidden)) @ weights
    assert torch.allclose(integrated_gradients(embedding, score, batch, hidden)[0], exact, atol=1e-4)
    assert torch.allclose(occlusion(score, batch, hidden), exact, atol=1e-4)


def test_the_texts_of_a_pair_are_told_apart():
    embedding, weights = nn.Embedding(50, 8), torch.randn(8)

    def score(batch):  # as a task that reads pairs apart: first all first texts, then all second ones
        one, other = (embedding(batch["input_ids"]) @ weights).sum(-1).chunk(2)
        return one - 2 * other

    batch, hidden = {"input_ids": torch.randint(5, 50, (2, 6)), "index": torch.tensor([0])}, torch.full((2, 6), 4)
    assert copies(batch, 3)["input_ids"].tolist() == [
        *[batch["input_ids"][0].tolist()] * 3,
        *[batch["input_ids"][1].tolist()] * 3,
    ]
    exact = torch.tensor([[1.0], [-2.0]]) * ((embedding(batch["input_ids"]) - embedding(hidden)) @ weights)
    assert torch.allclose(integrated_gradients(embedding, score, batch, hidden)[0], exact, atol=1e-4)
    assert torch.allclose(occlusion(score, batch, hidden), exact, atol=1e-4)
