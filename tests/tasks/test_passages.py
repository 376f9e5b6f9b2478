"""Language models are judged on passages of the text, which no tokenizer decides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from groundup.baselines.language import KneserNey
from groundup.data import passages as module
from groundup.data.batching import Packed
from groundup.data.examples import SplitToEncode
from groundup.data.packing import PackedText
from groundup.data.passages import Passages, running_texts, token_starts
from groundup.data.sources.source import GivenRows
from groundup.metrics.language import judge_passages
from groundup.tasks.evaluation import evaluate
from groundup.text import pieces
from groundup.text.tokenizer import Tokenizer

KINDS = ("byte_bpe", "char", "word", "wordpiece", "unigram")
TEXTS = ["", "the tide  rose. 海 é!", " \n ", "x" * 2500, "roses, and\nthe \tsoil " * 150]


def learned(kind: str, lowercase: bool = False) -> Tokenizer:
    return Tokenizer.train(["the tide rose", "roses and soil", "the anchor, the gulls é"] * 9, kind, 300, lowercase)


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[4:], [f"{text} {n}" for text in TEXTS for n in range(20)]])
def test_passages_are_the_same_text_for_every_tokenizer_and_hold_each_token_once(texts, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 300)  # characters that are tokenized as one
    source = GivenRows({"test": [{"text": text} for text in texts]})
    assert list(running_texts(source, "test")) == texts
    found = {}
    for kind in KINDS:
        tokenizer = learned(kind, lowercase=kind == "word")
        found[kind] = one = Passages.of(texts, tokenizer)
        stream = PackedText(SplitToEncode(tokenizer, source, "test", Packed(length=16)))
        assert len(one.of_token) == stream.size and (np.diff(one.of_token) >= 0).all()
        starts = token_starts(texts[-1], tokenizer)
        assert (np.diff(starts) >= 0).all() and len(texts[-1]) - 20 < starts[-1] <= len(texts[-1])
        assert one.texts == found[KINDS[0]].texts and one.bytes.sum() == stream.encoded.bytes
    assert "".join(one.texts) == "".join(texts)
    few = sum(bool(text) for text in texts) < module.DOCUMENTS
    assert max(map(len, one.texts)) == (module.PART if few else max(map(len, texts)))


@pytest.mark.parametrize("parts", [10, 1000])
@pytest.mark.parametrize("name", ["causal_lm", "masked_lm"])
def test_passages_add_up_to_the_figures_of_the_split(name, parts, make_data, make_task, monkeypatch):
    monkeypatch.setattr(module, "PART", parts)
    data = make_data(name)
    found = evaluate(make_task(name, data), data, "validation")
    judged = judge_passages(found.predictions)
    assert "index" not in found.predictions[0] and found.predictions[0]["text"] in data.texts("validation")[0]["text"]
    figures = {metric.name: one(np.ones((len(judged.quality), 1)))[0] for metric, one in judged.statistics.items()}
    assert figures == pytest.approx({name: one.value for name, one in found.metrics.items()}, rel=1e-6)
    assert ("bits_per_byte" in figures) is (name == "causal_lm")


def test_n_grams_are_judged_on_the_same_passages_as_a_network(make_data, make_task):
    data = make_data("causal_lm")
    network, counted = evaluate(make_task("causal_lm", data), data, "validation"), KneserNey().learn(data)("validation")
    about = [[(row["text"], row["bytes"], row["scored"]) for row in one.predictions] for one in (network, counted)]
    assert about[0] == about[1]
    judged = judge_passages(counted.predictions)
    figures = {metric.name: one(np.ones((len(judged.quality), 1)))[0] for metric, one in judged.statistics.items()}
    assert figures == pytest.approx({name: counted.metrics[name].value for name in figures}, rel=1e-6)


@pytest.mark.parametrize("tokenizer", ["byte_bpe", "char"])
def test_a_passage_costs_what_its_text_costs_alone(tokenizer, make_data, make_task):
    """With one window for all, and documents that do not see each other."""
    data = make_data("causal_lm", tokenizer, length=4000, mask_documents=True)
    task = make_task("causal_lm", data)
    found = evaluate(task, data, "validation").predictions
    rows = data.texts("validation")
    loader, _ = data.rows_loader(rows, task.collator())
    alone = {}
    for batch in loader:
        alone |= dict(zip(batch["index"].tolist(), task.predict_batch(batch), strict=True))
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    for place, row in enumerate(found[1:], 1):  # the very first token follows nothing
        assert (row["scored"], row["nll"]) == pytest.approx(
            (alone[place]["tokens"], row["scored"] * alone[place]["loss"])
        )
        assert row["bits_per_byte"] == pytest.approx(row["nll"] / math.log(2) / len(row["text"].encode()))


def test_a_part_of_the_split_tells_of_whole_passages_and_a_validation_in_training_of_none(make_data, make_task):
    data = make_data("causal_lm", batch_size=2)
    task = make_task("causal_lm", data)
    whole, part = (evaluate(task, data, "validation", limit=limit).predictions for limit in (None, 2))
    assert 0 < len(part) < len(whole)
    for one, other in zip(part, whole, strict=False):
        assert one == pytest.approx(other)
    assert evaluate(task, data, "validation", final=False).predictions == []


def test_tokens_that_the_vocabulary_lacks_are_counted(make_data, make_task):
    data = make_data("causal_lm", "char")
    task = make_task("causal_lm", data)
    strange = GivenRows({"test": [{"text": "roses ΩΩ"}, {"text": "soil"}]})
    other = type(data)(strange, type(task).examples, data.tokenizer, data.batching, None, 1, facts=data.facts)
    assert [row.get("unknown") for row in evaluate(task, other, "test").predictions] == [2, None]
