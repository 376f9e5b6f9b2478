"""Evaluation of every task: the batches are nobody's business, and bits per byte are those of the text."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from groundup.data.batching import Packed
from groundup.data.datamodule import TextDataModule
from groundup.data.sources.source import GivenRows
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.tasks.denoising import Denoising
from groundup.text.tokenizer import TokenizerSpec


@pytest.mark.parametrize("name", ["classification", "masked_lm", "causal_lm"])
def test_metrics_do_not_depend_on_the_evaluation_batch_size(name, make_data, make_task, quiet_trainer):
    results = []
    for size in (1, 7, 64):
        data = make_data(name, evaluation_batch_size=size)
        task = make_task(name, data)
        task.resamples = 50
        quiet_trainer().validate(task, datamodule=data, verbose=False)
        results.append(task.results)
    for other in results[1:]:
        assert other.keys() == results[0].keys()
        for metric, estimate in results[0].items():
            assert other[metric].n == estimate.n
            for field in ("value", "low", "high"):
                assert getattr(other[metric], field) == pytest.approx(getattr(estimate, field), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("tokenizer", ["char", "byte_bpe"])
def test_bits_per_byte_are_those_of_the_text(tokenizer, make_data, make_task, quiet_trainer):
    data = make_data("causal_lm", tokenizer, length=24)
    task = make_task("causal_lm", data)
    quiet_trainer().validate(task, datamodule=data, verbose=False)

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
    assert task.results["loss"].value == pytest.approx(nats / scored, rel=1e-5)
    assert task.results["perplexity"].value == pytest.approx(math.exp(nats / scored), rel=1e-4)
    assert task.results["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_bits_per_byte_of_restored_text_count_all_nats_over_all_bytes(quiet_trainer):
    texts = ["the sea is wide. " * 9, "é 海 and roses! " * 7]
    source = GivenRows({"train": [{"text": text} for text in texts], "validation": [{"text": text} for text in texts]})
    data = TextDataModule(source, TokenizerSpec("char", vocab_size=60), Packed(batch_size=4, length=16), None, seed=1)
    data.form = "packed"
    data.prepare_data()
    words = {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0}
    sides = partial(TransformerEncoder, **words), partial(TransformerDecoder, cross_attention=True, **words)
    task = Denoising(EncoderDecoder(data.facts.vocab_size, *sides), data.facts)
    data.collate = task.collator(data.tokenizer)
    quiet_trainer().validate(task, datamodule=data, verbose=False)
    nats = 0.0
    for batch in data.val_dataloader():
        logits = task.head(task.hidden_states(batch)).flatten(0, 1)
        nats += torch.nn.functional.cross_entropy(logits, batch["labels"].flatten(), reduction="sum").item()
    size = sum(len(text.encode()) for text in texts)
    assert task.results["bits_per_byte"].value == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_masked_lm_has_no_bits_per_byte_and_scores_hidden_tokens_only(make_data, make_task, quiet_trainer):
    data = make_data("masked_lm")
    task = make_task("masked_lm", data)
    quiet_trainer().validate(task, datamodule=data, verbose=False)
    assert "bits_per_byte" not in task.results
    hidden = sum(int((batch["labels"] != -100).sum()) for batch in data.val_dataloader())
    tokens = sum(batch["labels"].numel() for batch in data.val_dataloader())
    assert 0.05 < hidden / tokens < 0.3
    with torch.no_grad():
        losses = [task.loss(batch) for batch in data.val_dataloader()]
    by_hand = sum(float(loss.total) for loss in losses) / sum(float(loss.count) for loss in losses)
    assert task.results["loss"].value == pytest.approx(by_hand, rel=1e-5)


def test_language_model_scores_each_text_by_itself(make_data, make_task):
    data = make_data("causal_lm", length=64)
    task = make_task("causal_lm", data).eval()
    texts = ["roses and soil", "", "tide tide tide"]
    with torch.no_grad():
        answers = [
            row for batch in data.loader([{"text": text} for text in texts]) for row in task.predict_batch(batch)
        ]
        for text, answer in zip(texts, answers, strict=True):
            ids = torch.tensor([[data.facts.eos_id, *data.tokenizer.encode(text), data.facts.eos_id]])
            logits = task.head(task.model(ids[:, :-1])[0])
            loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:])
            assert answer["tokens"] == ids.numel() - 1
            assert answer["loss"] == pytest.approx(float(loss), rel=1e-5)
            assert answer["perplexity"] == pytest.approx(math.exp(float(loss)), rel=1e-5)
