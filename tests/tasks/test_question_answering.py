"""Answers are spans of the raw context, found in whichever window holds them; the same for any batch."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from seed import SEED

from groundup.data.answers import check_answers
from groundup.data.batching import Bucketed
from groundup.data.collate import IGNORE
from groundup.data.questions import CONTEXT, CONTEXT_SHARED, QUESTION, QUESTION_SHARED, QuestionWindows
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.decoding.spans import best_spans, join_windows
from groundup.errors import UserError
from groundup.models.recurrent import RecurrentEncoder
from groundup.models.transformer import TransformerEncoder
from groundup.tasks.evaluation import Evaluation, Split, evaluate
from groundup.tasks.question_answering import QuestionAnswering
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

ODD = [*"ab cTXY.,'-é海边鋸İΣ😀▁#\u0301\u3000\n", "the ", "cat ", " Don't ", "well-known ", "  "]
THINGS = "tide oven rose anchor flour gull seed whisk soil".split()


def odd_rows(count: int, seed: int) -> list[dict]:
    """Contexts of odd characters; each answer is some stretch of one."""
    draw, rows = random.Random(seed), []
    while len(rows) < count:
        context = "".join(draw.choices(ODD, k=draw.randint(1, 60)))
        begin = draw.randrange(len(context))
        text = context[begin : begin + draw.randint(1, 9)]
        if text.strip() and context.strip():
            answer = {"text": text, "answer_start": begin}
            rows.append({"question": "the cat?", "context": context, "answers": [answer]})
    return rows


def make_rows(count: int, seed: int, longest: int = 9) -> list[dict]:
    """``what has the gull?`` in ``the rose has 3 . the gull has 27 .``: the number is asked for."""
    draw, rows = random.Random(seed), []
    for _ in range(count):
        things = draw.sample(THINGS, draw.randint(2, longest))
        numbers = [str(draw.randrange(100)) for _ in things]
        context = " ".join(f"the {thing} has {number} ." for thing, number in zip(things, numbers))
        asked = draw.randrange(len(things))
        start = context.index(f"the {things[asked]} has ") + len(f"the {things[asked]} has ")
        answers = [{"text": numbers[asked], "answer_start": start}]
        rows.append({"question": f"what has the {things[asked]} ?", "context": context, "answers": answers})
    return rows


def make_data(train, validation, tokenizer="wordpiece", lowercase=True, **batching) -> TextData:
    made = Bucketed(**{"batch_size": 8, "max_length": 64, **batching})
    spec = TokenizerSpec(tokenizer, 400, lowercase)
    return TextData(GivenRows({"train": train, "validation": validation}), QuestionWindows, spec, made, None, seed=1)


def make_task(data: TextData, model=TransformerEncoder, **options) -> QuestionAnswering:
    torch.manual_seed(SEED)
    optimize = Optimization(partial(torch.optim.Adam, lr=3e-3), Constant(), total_steps=1000)
    sizes = {"width": 32, "layers": 2, "dropout": 0.0, **({"heads": 2} if model is TransformerEncoder else {})}
    made = model(data.facts.vocab_size, **sizes)
    return QuestionAnswering(made, data.facts, data.tokenizer, dropout=0.0, optimize=optimize, **options)


def held(example: dict, context: str) -> str:
    """What the gold tokens of a window stand for."""
    return context[example["begins"][example["start_positions"]] : example["ends"][example["end_positions"]]]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenizer", ["char", "word", "wordpiece", "byte_bpe", "unigram"])
def test_tokens_of_an_answer_stand_for_its_characters(tokenizer, lowercase):
    rows = odd_rows(150, 3)
    examples = make_data(rows, rows, tokenizer, lowercase, max_length=200).examples("validation")
    aligned = 0
    for index, row in enumerate(rows):
        example = examples[(-1, index)]
        begins, ends = example["begins"], example["ends"]
        real = (example["token_type_ids"] >= CONTEXT) & (ends > begins)
        covered = {place for begin, end in zip(begins[real], ends[real]) for place in range(begin, end)}
        bare = {place for place, character in enumerate(row["context"]) if not character.isspace()}
        assert covered >= bare  # no character of a context is lost, whatever a token looks like
        (answer,) = row["answers"]
        text = answer["text"].strip()
        begin = row["context"].index(text, answer["answer_start"])
        found = held(example, row["context"])
        assert text in found
        if begin in begins[real] and begin + len(text) in ends[real]:
            aligned += 1
            assert found == text
    assert aligned == len(rows) if tokenizer == "char" and not lowercase else aligned > 10


@pytest.mark.parametrize("overlap", [0, 3, None])
def test_windows_cover_a_context_and_share_what_is_asked(overlap):
    rows = make_rows(30, 1)
    data = make_data(rows, rows, "word", max_length=24, overlap=overlap)
    examples, ids = data.examples("validation"), data.tokenizer.encode
    shared = 24 // 4 if overlap is None else overlap
    for number, row in enumerate(rows):
        windows = [examples[(-1, index)] for index in np.flatnonzero(examples.row == number)]
        context, question = ids(row["context"]), ids(row["question"])
        read: list[int] = []
        for place, window in enumerate(windows):
            types, tokens = window["token_type_ids"], window["input_ids"]
            inside = types >= CONTEXT
            assert len(tokens) <= 24 and tokens[1 : len(question) + 1].tolist() == question
            part = tokens[inside].tolist()
            assert (types[inside] == CONTEXT_SHARED).tolist() == [token in question for token in part]
            assert {*types[~inside]} <= {QUESTION, QUESTION_SHARED}
            if place:
                assert part[:shared] == read[len(read) - shared :]
            read += part[shared if place else 0 :]
        assert read == context
        held_whole = [window for window in windows if window["start_positions"] > 0]
        assert all(held(window, row["context"]) == row["answers"][0]["text"] for window in held_whole)
        assert held_whole or examples.report["cut_answers"]


def test_without_windows_only_the_first_is_read():
    rows = make_rows(30, 1)
    data = make_data(rows, rows, "word", max_length=24, truncation="head")
    examples = data.examples("train")
    assert len(examples) == len(rows) and 0 < examples.report["truncated_rows"] < 30 > examples.report["cut_answers"]
    with pytest.raises(UserError, match=r"overlap=8 is for texts in windows"):
        make_data(rows, rows, truncation="head", overlap=8)
    with pytest.raises(UserError, match=r"overlap=40: windows beside a long question have 31 tokens.*overlap=16"):
        make_data(rows, rows, overlap=40).prepare()
    with pytest.raises(UserError, match=r"truncation=tail is not for this task. Try batching.truncation=windows"):
        make_data(rows, rows, truncation="tail")


def test_best_spans_equal_a_brute_force():
    draw = np.random.default_rng(0)
    for _ in range(60):
        T, longest, count = int(draw.integers(2, 12)), int(draw.integers(1, 5)), 4
        logits = torch.tensor(draw.normal(size=(1, T, 2)), dtype=torch.float32)
        begins = torch.arange(T)[None] * 2
        ends = begins + torch.tensor(draw.integers(0, 2, size=(1, T)))
        ends[:, 0] = 0
        start, end = (logits[0, :, side] - logits[0, 0, side] for side in (0, 1))
        real = (ends > begins)[0].tolist()
        spans = [(i, j) for i in range(T) for j in range(i, min(T, i + longest)) if real[i] and real[j]]
        ranked = sorted((-float(start[i] + end[j]), int(begins[0, i]), int(ends[0, j])) for i, j in spans)
        found = {name: value[0].numpy() for name, value in best_spans(logits, begins, ends, longest, count).items()}
        spans_found = join_windows([found], count)
        assert [(one.start, one.end) for one in spans_found.spans] == [(i, j) for _, i, j in ranked[:count]]
        total = sum(float(np.logaddexp.reduce([0.0, *side[real].tolist()])) for side in (start, end))
        assert spans_found.log_normalizer == pytest.approx(total, abs=1e-5)


def test_a_window_without_an_answer_does_not_win_by_its_own_scale():
    span = {"begins": np.array([0]), "ends": np.array([3])}
    sure = {**span, "scores": np.array([4.0]), "log_starts": np.array(2.0), "log_ends": np.array(2.0)}
    other = {**sure, "begins": np.array([9]), "ends": np.array([12]), "scores": np.array([-4.0])}
    found = join_windows([other, sure, sure], 3)
    assert [one.start for one in found.spans] == [0, 9]  # the same span of two windows is one


@pytest.mark.parametrize("model", [TransformerEncoder, RecurrentEncoder])
def test_figures_and_answers_do_not_depend_on_the_batch(model):
    found = []
    rows = make_rows(25, 2)
    for size in (1, 7):
        data = make_data(make_rows(40, 1), rows, max_length=32, evaluation_batch_size=size)
        found.append(evaluate(make_task(data, model), data, "validation"))
    assert len(found[0].predictions) == len(rows) == found[0].metrics["f1"].n
    for one, other in zip(*(results.predictions for results in found), strict=True):
        assert one["answer"] == other["answer"] and one["probability"] == pytest.approx(other["probability"], abs=1e-5)
        row = rows[one["index"]]
        assert row["context"][one["start"] : one["end"]] == one["answer"]
        assert 0 < one["probability"] <= 1 and one["n_best"][0]["answer"] == one["answer"]
    assert {row["windows"] for row in found[0].predictions} > {1}
    for name, one in found[0].metrics.items():
        assert found[1].metrics[name].value == pytest.approx(one.value, abs=1e-6)


def test_it_learns_to_answer_and_predicts_the_same(learn):
    rows = make_rows(24, 1, longest=4)
    data = make_data(rows, rows, batch_size=64)
    task = make_task(data)
    (batch,) = data.train_loader(task.collator(), total=1)

    def certain(task) -> bool:
        loss = task.loss(batch)
        return loss.total / loss.count < 0.02

    learn(task, batch, certain)
    results = evaluate(task, data, "validation")
    assert results.metrics["exact_match"].value == 1.0
    loader, examples = data.rows_loader(rows, task.collator(), 5)
    with torch.inference_mode():
        said = {n: one for batch in loader for n, one in zip(batch["index"].tolist(), task.predict_batch(batch))}
    for number, row in enumerate(rows):
        parts = [said[index] for index in np.flatnonzero(examples.row == number)]
        answer = task.joined(parts, row)
        assert (answer["answer"], answer["start"]) == (row["answers"][0]["text"], row["answers"][0]["answer_start"])


def test_questions_without_an_answer_need_the_option_and_get_a_threshold():
    rows = make_rows(20, 1)
    mixed = [{**row, "answers": [] if number % 2 else row["answers"]} for number, row in enumerate(rows)]
    data = make_data(mixed, mixed)
    data.prepare()
    with pytest.raises(UserError, match=r"10 questions of train have no answer. Try task.unanswerable=true"):
        make_task(data).check_data(data)
    task = make_task(data, unanswerable=True)
    task.check_data(data)
    examples = data.examples("train")
    assert all(examples[(0, n)]["start_positions"] == 0 for n in range(len(examples)) if examples.row[n] % 2)
    before = task.threshold.clone()
    final = evaluate(task, data, "validation")
    assert torch.equal(task.threshold, before)  # an evaluation changes nothing
    evaluation = Evaluation(task, Split(data, "validation", final=False))
    with torch.inference_mode():
        for batch in data.loader("validation", task.collator()):
            evaluation.add(batch)
    table = evaluation.table()
    task.choose(table, evaluation.split)
    chosen = evaluation.results(table)
    assert chosen.metrics["f1"].value >= max(final.metrics["f1"].value, 0.5)  # answering nothing is right for a half
    assert chosen.metrics["no_answer_accuracy"].n == 10 and "no_answer_probability" in chosen.predictions[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"answers": [{"text": "bc", "answer_start": 0}]},
            "'bc' is not at character 0 .* where 'ab' stands; it begins at 1",
        ),
        (
            {"answers": [{"text": "x", "answer_start": 9}]},
            "'x' is not at character 9 .*which has 4; it is nowhere in it",
        ),
        ({"answers": [{"text": " ", "answer_start": 0}]}, "an answer is empty"),
        ({"question": " ", "answers": []}, "the question is empty"),
        ({"context": "\n", "answers": []}, "the context is empty"),
    ],
)
def test_answers_that_cannot_be_are_named(row, message):
    with pytest.raises(UserError, match=f"^a.jsonl line 3: .*{message}"):
        check_answers({"question": "?", "context": "abcd", **row}, "a.jsonl line 3")


def test_an_answer_beyond_all_tokens_is_not_scored():
    rows = [{"question": "a", "context": "a b", "answers": [{"text": "b", "answer_start": 2}]}] * 2
    examples = make_data(rows, rows, "char").examples("train")
    examples.targets[0] = -2
    assert examples[(0, 0)]["start_positions"] == IGNORE and examples[(0, 1)]["start_positions"] > 0


@pytest.mark.parametrize(("tokenizer", "told"), [("byte_bpe", True), ("char", False)])
def test_answers_that_begin_or_end_inside_a_token_are_counted_and_told(tokenizer, told, caplog):
    context = "北京大学坐落在北京市海淀区，" * 3  # what is not separated becomes a token
    rows = [{"question": "在哪？", "context": context, "answers": [{"text": "海淀区", "answer_start": 10}]}] * 20
    rows += [{"question": "在哪？", "context": context, "answers": []}] * 5
    data = make_data(rows, rows, tokenizer, lowercase=False, max_length=200)
    data.prepare()
    make_task(data, unanswerable=True).check_data(data)
    assert data.report["train"]["inexact_answers"] == 20 * told
    line = "20 of 20 answers begin or end inside a token, so they cannot be given exactly. Try tokenizer=char"
    warnings = [one for one in caplog.messages if "inside a token" in one]
    assert warnings == [f"{split}: {line}" for split in ("train", "validation")] * told
