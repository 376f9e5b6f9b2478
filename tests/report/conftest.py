"""A run folder as a real fine-tuning run leaves it, made in a millisecond."""

from __future__ import annotations

import math

import numpy as np
import pytest

from groundup.baselines.classification import Majority
from groundup.baselines.generation import CopySource, LeadSentence
from groundup.baselines.linear import LogisticRegression
from groundup.metrics.class_sections import classification_sections
from groundup.metrics.classification import CLASSIFICATION, classification_metrics
from groundup.metrics.estimate import LOSS, Estimate, labelled
from groundup.metrics.generation import (
    EXACT_MATCH,
    SUMMARIZATION,
    TRANSLATION,
    attention_sections,
    references_of,
    summarization_metrics,
    translation_metrics,
    written_sections,
)
from groundup.metrics.language import PERPLEXITY
from groundup.metrics.overlap import CHRF, ROUGE_L, sentence_chrf, sentence_rouge
from groundup.runs.folder import RunFolder
from groundup.training.step_logger import FIGURES

LABELS = ["concurrency", "files", "maths", "networking", "testing", "text"]
TEXTS = [
    "Return the shortest path between two nodes, or raise ValueError when there is none.",
    "把一段文字拆成词，并返回每个词在原文中的位置。标点符号单独成词。",
    'Open <file> & close it again; see https://example.org/a?b=1&c=2 for the "mode" argument.',
    "<script>alert('x')</script> A tag in a text is shown, never run.",
    "Acquire a lock, blocking or non-blocking. " * 12,
]


MEASURES = {"translation": translation_metrics, "summarization": summarization_metrics}
RANKED = {"translation": (CHRF, sentence_chrf), "summarization": (ROUGE_L, sentence_rouge)}


def fabricate(folder, state: str = "done", rows: int = 400) -> RunFolder:
    rng = np.random.default_rng(0)
    run = RunFolder(folder)
    choices = {"data": "python_docs_topic", "model": "transformer_encoder", "size": "tiny", "task": "classification"}
    run.set_status("running", stage="finetune", parameters=812_934, choices=choices)
    run.write_config({"stage": "finetune", "seed": 1, "model": {"width": 128, "layers": 4}, "optimizer": {"lr": 3e-3}})
    run.write_command(
        ["groundup", "finetune", "data=python_docs_topic", "model=transformer_encoder", "hub_token=hf_abc"]
    )
    names = ["train/loss", "train/lr", "train/tokens_per_second", "train/grad_norm"]
    lines = ["step," + ",".join([*names, "validation/loss", "validation/accuracy", "validation/macro_f1"])]
    for step in range(5, 1201 if state == "done" else 400, 5):
        fall = math.exp(-step / 250)
        train = [0.35 + 1.4 * fall + rng.normal(0, 0.07), 3e-3 * min(1, step / 100) * (1 - step / 1250)]
        train += [21000 + rng.normal(0, 900), 0.5 + fall + abs(rng.normal(0, 0.2))]
        valid = ["", "", ""]
        if step % 100 == 0:
            valid = [0.55 + 1.2 * fall + step / 9000, 0.82 - 0.5 * fall, 0.80 - 0.55 * fall]
        lines.append(f"{step}," + ",".join(str(value) for value in [*train, *valid]))
    run.metrics_csv.write_text("\n".join(lines) + "\n")
    run.write_json("measures.json", {metric.name: metric for metric in (*CLASSIFICATION, *FIGURES)})
    if state != "done":
        run.set_status(state, why="the loss became NaN at step 400. Try optimizer.lr=0.001", step=400)
        return run

    truth = rng.integers(0, len(LABELS), rows)
    logits = rng.normal(0, 1, (rows, len(LABELS)))
    logits[np.arange(rows), truth] += 2.3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    run.write_json("labels.json", LABELS)
    predictions = [
        {
            "index": i,
            "text": TEXTS[i % len(TEXTS)],
            "label": LABELS[truth[i]],
            "predicted": LABELS[probabilities[i].argmax()],
            "probability": probabilities[i].max(),
            "probabilities": dict(zip(LABELS, probabilities[i], strict=True)),
        }
        for i in range(rows)
    ]
    run.write_predictions(predictions)
    run.write_json("sections.json", classification_sections(predictions, LABELS))
    run.write_json("metrics.json", _named(classification_metrics(probabilities, truth)))
    uniform = np.tile([0.2, 0.16, 0.16, 0.16, 0.16, 0.16], (rows, 1))
    blurred = probabilities**0.4 / (probabilities**0.4).sum(axis=1, keepdims=True) + rng.uniform(0, 0.3, (rows, 6))
    blurred /= blurred.sum(axis=1, keepdims=True)
    baselines = {Majority.name: uniform, LogisticRegression.name: blurred}
    run.write_json("baselines.json", {k: _named(classification_metrics(p, truth)) for k, p in baselines.items()})
    run.samples.mkdir()
    (run.samples / "step_001200.txt").write_text(
        "The with statement is used to wrap the execution of a block …\n世界", "utf-8"
    )
    (run.samples / "step_000600.txt").write_text("The with the the of statement\n", "utf-8")
    run.set_status("done", step=1200)
    return run


def fabricate_written(folder, kind: str = "translation", rows: int = 60) -> RunFolder:
    """A run that translates into Chinese, or summarizes: row i of it is the better, the larger i is."""
    run = RunFolder(folder)
    run.set_status("running", stage="finetune", parameters=2_034_112)
    target = (
        "今天我们在学校的图书馆里看书" if kind == "translation" else "a new release of the tool brings faster tests"
    )
    units, glue = (list(target), "") if kind == "translation" else (target.split(), " ")
    written = [
        {
            "index": i,
            "source": f"Source number {i} of <b>{rows}</b>. A second sentence.",
            "target": target + glue + str(i),
            "hypothesis": glue.join([*units[: len(units) * i // rows], str(i)] if i else []),
            "score": -1.5,
            "status": {0: "empty", 7: "truncated", 8: "truncated"}.get(i, "ok"),
        }
        for i in range(rows)
    ]
    written[9]["references"] = ["another right answer"]
    run.write_predictions(written)
    right = [row["source"] for row in written], [references_of(row) for row in written]
    results = MEASURES[kind]([row["hypothesis"] for row in written], *right)
    scored = {PERPLEXITY: Estimate(4.48, 4.06, 4.95, 900), LOSS: Estimate(1.5, 1.4, 1.6, 900)}
    results |= labelled(scored)
    if kind == "translation":
        results["exact_match_new_years"] = Estimate(0.25, 0.1, 0.4, 30, metric=EXACT_MATCH, group="new_years")
    run.write_json("metrics.json", _named(results))
    simple = CopySource() if kind == "translation" else LeadSentence()
    run.write_json("baselines.json", {simple.name: _named(MEASURES[kind](simple.write(written), *right))})
    main = "bleu" if kind == "translation" else "rouge_l"
    run.metrics_csv.write_text(f"step,validation/loss,validation/{main}\n10,3.0,5.5\n20,2.0,12.25\n")
    weights = [[0.9, 0.1, 0.0], [0.25, 0.0, 0.75]]
    maps = [{"source": ["Hello", "world", "<eos>"], "target": ["你好", "\n"], "weights": weights}]
    texts = written_sections(written, "Translations" if kind == "translation" else "Summaries", *RANKED[kind])
    run.write_json("sections.json", [*texts, *attention_sections(maps)])
    reports = TRANSLATION if kind == "translation" else SUMMARIZATION
    run.write_json("measures.json", {metric.name: metric for metric in (*reports, PERPLEXITY, LOSS)})
    run.set_status("done", step=20)
    return run


def _named(results):
    return {f"test/{name}": value for name, value in results.items()}


@pytest.fixture
def fabricated(tmp_path):
    """``fabricated(state)`` -> a run folder in that state."""
    return lambda state="done": fabricate(tmp_path / f"run_{state}", state)


@pytest.fixture
def written(tmp_path):
    """``written(kind)`` -> the run folder of a finished translation or summarization."""
    return lambda kind="translation": fabricate_written(tmp_path / f"run_{kind}", kind)
