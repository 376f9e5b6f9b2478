"""Evaluation of every task: the batches are nobody's business, and bits per byte are those of the text."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from groundup.data.batching import Packed
from groundup.data.packing import PackedText
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.tasks.denoising import Denoising
from groundup.tasks.evaluation import evaluate
from groundup.text.tokenizer import TokenizerSpec


@pytest.mark.parametrize("name", ["classification", "masked_lm", "causal_lm"])
def test_metrics_do_not_depend_on_the_evaluation_batch_size(name, make_data, make_task):
    results = []
    for size in (1, 7, 64):
        data = make_data(name, evaluation_batch_size=size)
        results.append(evaluate(make_task(name, data), data, "validation").metrics)
    for other in results[1:]:
        assert other.keys() == results[0].keys()
        for metric, estimate in results[0].items():
            assert other[metric].n == estimate.n
            for field in ("value", "low", "high"):
                assert getattr(other[metric], field) == pytest.approx(getattr(estimate, field), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("tokenizer", ["char", "byte_bpe"])
def test_bits_per_byte_are_those_of_the_text(tokenizer, make_data, make_task):
    data = make_data("causal_lm", tokenizer, length=24)
    task = make_task("causal_lm", data)
    results = evaluate(task, data, "validation", final=False)

    texts = [row["text"] for row in data.texts("validation")]
    stream = [token for text in texts for token in (*data.tokenizer.encode(text), data.facts.eos_id)]
    nats, scored = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(stream) - 1, 24):
            window = torch.tensor(stream[start : start + 25])
            hidden, _ = task.eval().model(window[None, :-1])
            log_probabilities = task.head(hidden)[0].log_softmax(-1)
            nats -= float(log_probabilities.gather(1, window[1:, None]).double().sum())
            scored += len(window) - 1
    size = sum(len(text.encode()) for text in texts)
    assert scored == len(stream) - 1
    assert results.metrics["loss"].value == pytest.approx(nats / scored, rel=1e-5)
    assert results.metrics["perplexity"].value == pytest.approx(math.exp(nats / scored), rel=1e-4)
    assert results.metrics["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_bits_per_byte_of_restored_text_count_all_nats_over_all_bytes():
    texts = ["the sea is wide. " * 9, "é 海 and roses! " * 7]
    source = GivenRows({"train": [{"text": text} for text in texts], "validation": [{"text": text} for text in texts]})
    spec = TokenizerSpec("char", vocab_size=60)
    data = TextData(source, PackedText, spec, Packed(batch_size=4, length=16), None, seed=1)
    words = {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0}
    sides = partial(TransformerEncoder, **words), partial(TransformerDecoder, cross_attention=True, **words)
    task = Denoising(EncoderDecoder(data.facts.vocab_size, *sides), data.facts, data.tokenizer)
    results = evaluate(task, data, "validation", final=False)
    nats = 0.0
    for batch in data.loader("validation", task.collator()):
        logits = task.head(task.hidden_states(batch)).flatten(0, 1)
        nats += torch.nn.functional.cross_entropy(logits, batch["labels"].flatten(), reduction="sum").item()
    size = sum(len(text.encode()) for text in texts)
    assert results.metrics["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_masked_lm_has_no_bits_per_byte_and_scores_hidden_tokens_only(make_data, make_task):
    data = make_data("masked_lm")
    task = make_task("masked_lm", data)
    results = evaluate(task, data, "validation", final=False)
    assert "bits_per_byte" not in results.metrics
    hidden = sum(int((batch["labels"] != -100).sum()) for batch in data.loader("validation", task.collator()))
    tokens = sum(batch["labels"].numel() for batch in data.loader("validation", task.collator()))
    assert 0.05 < hidden / tokens < 0.3
    with torch.no_grad():
        losses = [task.loss(batch) for batch in data.loader("validation", task.collator())]
    by_hand = sum(float(loss.total) for loss in losses) / sum(float(loss.count) for loss in losses)
    assert results.metrics["loss"].value == pytest.approx(by_hand, rel=1e-5)


def test_language_model_scores_each_text_by_itself(make_data, make_task):
    data = make_data("causal_lm", length=64)
    task = make_task("causal_lm", data).eval()
    texts = ["roses and soil", "", "tide tide tide"]
    with torch.no_grad():
        answers = [
            row
            for batch in data.rows_loader([{"text": text} for text in texts], task.collator())[0]
            for row in task.predict_batch(batch)
        ]
        for text, answer in zip(texts, answers, strict=True):
            ids = torch.tensor([[data.facts.eos_id, *data.tokenizer.encode(text), data.facts.eos_id]])
            logits = task.head(task.model(ids[:, :-1])[0])
            loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:])
            assert answer["tokens"] == ids.numel() - 1
            assert answer["loss"] == pytest.approx(float(loss), rel=1e-5)
            assert answer["perplexity"] == pytest.approx(math.exp(float(loss)), rel=1e-5)
