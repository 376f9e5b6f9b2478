"""Questions from SQuAD's own files to a run that answers, by the commands."""

from __future__ import annotations

import json
import random

import pytest

from groundup import cli

THINGS = "tide oven rose anchor flour gull seed whisk soil".split()


def article(count: int, seed: int) -> dict:
    """Paragraphs that say what things cost; a third of the questions is about something else."""
    draw, paragraphs = random.Random(seed), []
    for number in range(count):
        things = draw.sample(THINGS, 6)
        context = " ".join(f"The {thing} costs {draw.randrange(90)} é." for thing in things[:5])
        asked = things[number % 5] if number % 3 else things[5]
        start = context.find(f"The {asked} costs ") + len(f"The {asked} costs ")
        answers = [{"text": context[start:].split()[0], "answer_start": start}] if number % 3 else []
        asked = {"id": f"q{number}", "question": f"What costs the {asked}?", "answers": answers}
        paragraphs.append({"context": context, "qas": [{**asked, "is_impossible": not answers}]})
    return {"title": "Prices", "paragraphs": paragraphs}


@pytest.fixture(scope="module")
def answered(groundup, tmp_path_factory):
    """A folder with train.json and dev.json, and a run on them; contexts take several windows."""
    folder = tmp_path_factory.mktemp("asked")
    for seed, (name, count) in enumerate({"train": 60, "dev": 24}.items()):
        content = {"version": "v2.0", "data": [article(count, seed)]}
        (folder / f"{name}.json").write_text(json.dumps(content))
    words = ["size=nano", "tokenizer=wordpiece", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1"]
    words += ["batching.max_length=24", "budget.steps=8", "validate_every=8", "task.unanswerable=true", "data.id=id"]
    files = [f"data.train={folder / 'train.json'}", f"data.validation={folder / 'dev.json'}"]
    return folder, groundup("finetune", "data=files", "task=question_answering", *files, *words)


def test_a_run_tells_figures_predictions_and_sections(answered):
    _, run = answered
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["validation/f1"]["n"] == 24 and metrics["validation/no_answer_accuracy"]["n"] == 8
    assert json.loads((run / "baselines.json").read_text()).keys() == {"TF-IDF sentence", "sliding window"}
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 24 and rows[3]["id"] == "q3" and max(row["windows"] for row in rows) > 1
    assert all(row["context"][row["start"] or 0 : row["end"] or 0] == row["answer"] for row in rows)
    titles = [section["title"] for section in json.loads((run / "sections.json").read_text())]
    assert titles == ["Answers", "F1 by kind of question"]


def test_the_run_answers_squads_files_and_rows_of_any_length(answered, tmp_path, capsys):
    folder, run = answered
    told = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert cli.run(["predict", f"run={run}", f"input={folder / 'dev.json'}", f"output={tmp_path / 'a.jsonl'}"]) == 0
    said = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(row["answer"], row["start"]) for row in said] == [(row["answer"], row["start"]) for row in told]
    rows = [
        {"question": "What?", "context": "The é " * 300},
        {"question": " ", "context": "x"},
        {"question": "?", "context": ""},
    ]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.run(["predict", f"run={run}", f"input={tmp_path / 'b.jsonl'}", f"output={tmp_path / 'c.jsonl'}"]) == 0
    long, *empty = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert long["status"] == "ok" and [row["answer"] for row in empty] == ["", ""] and empty[0]["status"] == "empty"
    (tmp_path / "d.txt").write_text("What?\n")
    capsys.readouterr()
    assert cli.run(["predict", f"run={run}", f"input={tmp_path / 'd.txt'}", f"output={tmp_path / 'e.jsonl'}"]) == 2
    assert "a .txt has one text a row, and this run reads question and context. Try input=" in capsys.readouterr().err


def test_questions_without_an_answer_are_refused_before_training(answered, capsys):
    folder, _ = answered
    words = ["finetune", "data=files", "task=question_answering", f"data.train={folder / 'train.json'}", "size=nano"]
    assert cli.run([*words, "wandb.mode=disabled", "budget.steps=1"]) == 2
    assert "questions of train have no answer. Try task.unanswerable=true" in capsys.readouterr().err
