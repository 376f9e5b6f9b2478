"""Words known by their spelling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from seed import SEED

from groundup.errors import ArgumentError, UserError
from groundup.models.characters import CharacterFeatures
from groundup.models.recurrent import RecurrentEncoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.text.word_bytes import LONGEST, spelled

WORDS = ["a", "running", "海", "x" * 100, ""]
MODELS = [RecurrentEncoder, TransformerEncoder]


def table(words, longest=LONGEST) -> torch.Tensor:
    return torch.from_numpy(spelled(words)[:, :longest].astype(np.int64))


def test_every_word_has_its_own_spelling():
    words = ["", "a", "á", "A", "ab", "ba", "海", "湖", "\x00", "a\x00"]
    assert len({row.tobytes() for row in spelled(words)}) == len(words)
    assert spelled(["a"])[0, :4].tolist() == [254, ord("a") + 1, 255, 0]
    assert (spelled(["x" * 100])[0] > 0).all()
    assert spelled(["ab" + "x" * 100 + "yz"])[0, [1, 2, -3, -2]].tolist() == [ord(c) + 1 for c in "abyz"]
    assert spelled(["\ud800"]).shape == (1, LONGEST)  # half a character


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_a_word_has_one_vector_whatever_stands_beside_it(kind):
    torch.manual_seed(SEED)
    features = CharacterFeatures(kind, 16, 0.1).eval()
    characters = torch.zeros(2, 3, LONGEST, dtype=torch.long)
    characters[0, 1], characters[1, 0], characters[1, 2] = table(["running", "a", "running"])
    ids = torch.zeros(2, 3, dtype=torch.long)
    found = features(ids, characters)
    torch.testing.assert_close(found[0, 1], found[1, 2])
    assert not found[0, 0].any() and not found[1, 1].any() and found[1, 0].any()
    short = features(ids[:1, :1], table(["running"], 9)[None])
    torch.testing.assert_close(short[0, 0], found[0, 1])
    assert not features(ids, torch.zeros_like(characters)).any()


@pytest.mark.parametrize(("kind", "part"), [("cnn", "convolve"), ("lstm", "recur")])
def test_a_word_that_stands_often_in_a_batch_is_read_once_and_counts_as_often(kind, part, monkeypatch):
    torch.manual_seed(SEED)
    features, read = CharacterFeatures(kind, 16, 0.1), []
    original = getattr(features, part)
    monkeypatch.setattr(features, part, lambda x, real: read.append(len(x)) or original(x, real))
    batch = table(["the", "of", "the", "the"])[None]
    gradients = []
    for places in ([0, 1, 2, 3], [0], [1]):
        features.zero_grad()
        features(torch.zeros(1, len(places), dtype=torch.long), batch[:, places]).square().sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in features.parameters()]))
    assert read == [2, 1, 1]
    torch.testing.assert_close(gradients[0], 3 * gradients[1] + gradients[2])


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
@pytest.mark.parametrize("model", MODELS)
def test_models_read_spelling_and_padding_changes_nothing(model, kind):
    torch.manual_seed(SEED)
    encoder = model(30, width=16, layers=2, characters=kind).eval()
    assert encoder.reads_characters and not model(30, width=16).reads_characters
    ids = torch.randint(7, 30, (2, 5))
    characters = torch.zeros(2, 5, LONGEST, dtype=torch.long)
    characters[0, :3], characters[1] = table(WORDS[:3]), table(WORDS)
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    for parameter in encoder.parameters():  # blocks start as the identity
        if not parameter.any() and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    together = encoder(ids, attention_mask=mask, characters=characters)
    alone = encoder(ids[:1, :3], characters=characters[:1, :3, :9])
    torch.testing.assert_close(together[0, :3], alone[0], atol=1e-5, rtol=1e-4)
    other = characters.clone()
    other[1, 1] = table(["runner"])[0]
    assert not torch.allclose(encoder(ids, attention_mask=mask, characters=other)[1], together[1], atol=1e-4)
    together.sum().backward()
    missing = [name for name, one in encoder.characters.named_parameters() if one.grad is None or not one.grad.any()]
    assert missing == []
    assert any(one is encoder.characters for one in encoder.levels()[0])


def test_a_decoder_has_none():
    with pytest.raises(ArgumentError, match="read by encoders"):
        TransformerDecoder(30, width=16, characters="cnn")


def test_a_task_without_words_refuses_them(tmp_path):
    from functools import partial

    from groundup.data.batching import Bucketed
    from groundup.data.sources.source import GivenRows
    from groundup.data.text_data import TextData
    from groundup.tasks.classification import Classification
    from groundup.text.tokenizer import TokenizerSpec

    rows = GivenRows({"train": [{"text": "fern oak", "label": "a"}, {"text": "crow", "label": "b"}]})
    data = TextData(rows, Classification.examples, TokenizerSpec("char", 30), Bucketed(2), None, seed=1)
    model = partial(RecurrentEncoder, data.facts.vocab_size, width=16)
    with pytest.raises(UserError, match=r"Classification does not read words one by one"):
        Classification(model(characters="cnn"), data.facts, data.tokenizer)
    assert Classification(model(), data.facts, data.tokenizer)
