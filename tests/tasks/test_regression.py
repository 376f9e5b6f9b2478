"""Numbers for texts and pairs: in the unit of the data, the same for any batch, of pairs the same when swapped."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from seed import SEED

from groundup.data.augmentation import EDA, Augmented
from groundup.data.batching import Bucketed, TokenBudget
from groundup.data.facts import Facts
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.models.recurrent import RecurrentEncoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.tasks.evaluation import evaluate
from groundup.tasks.regression import Regression, ScoredText
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

WORDS = "fern oak crow moss owl 海".split()
PAIRS = [pytest.param(True, id="pairs"), pytest.param(False, id="texts")]


def make_rows(count: int, seed: int, pairs: bool) -> list[dict]:
    """The score of a text: how many words are crows; of a pair: the share of words that both have. In odd units."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        one, other = (draw.choices(WORDS, k=draw.randint(1, 8)) for _ in range(2))
        same = len({*one} & {*other}) / len({*one, *other})
        score = same if pairs else one.count("crow")
        second = {"text_pair": " ".join(other)} if pairs else {}
        rows.append({"text": " ".join(one), **second, "score": 1e6 + 250.0 * score})
    return rows


def make_data(pairs: bool, batching=None) -> TextData:
    splits = {"train": make_rows(60, 1, pairs), "validation": make_rows(25, 2, pairs)}
    made = batching or Bucketed(batch_size=8, max_length=32)
    return TextData(GivenRows(splits), ScoredText, TokenizerSpec("word", 300), made, None, seed=1)


def make_task(data: TextData, model=TransformerEncoder, **options) -> Regression:
    torch.manual_seed(SEED)
    optimize = Optimization(partial(torch.optim.Adam, lr=3e-3), Constant(), total_steps=1000)
    words = {"heads": 2} if model is not RecurrentEncoder else {"bidirectional": True}
    made = model(data.facts.vocab_size, width=32, layers=1, dropout=0.0, **words)
    return Regression(made, data.facts, data.tokenizer, **{"dropout": 0.0, "optimize": optimize, **options})


def test_the_scale_is_that_of_the_train_split_and_travels_as_plain_values():
    data = make_data(pairs=True)
    scores = [row["score"] for row in data.texts("train")]
    assert data.facts.scale == pytest.approx((np.mean(scores), np.std(scores), min(scores), max(scores)))
    assert data.facts.parts == 2 and make_data(pairs=False).facts.parts == 1
    assert Facts.from_dict(data.facts.as_dict()) == data.facts
    for broken in ([1.0, 0.0, 1.0, 1.0], [1.0, 2.0], "x", [float("nan"), 1.0, 0.0, 1.0]):
        with pytest.raises(ValueError, match="scale"):
            Facts.from_dict({**data.facts.as_dict(), "scale": broken})


@pytest.mark.parametrize("model", [TransformerEncoder, TransformerDecoder, RecurrentEncoder])
@pytest.mark.parametrize("pair", ["apart", "joint"])
def test_it_learns_pairs(model, pair, learn):
    if (model, pair) == (RecurrentEncoder, "joint"):
        pytest.skip("slow, and the same way through the task as a Transformer's")
    data = make_data(pairs=True)
    task = make_task(data, model, pair=pair, pooling="last" if model is TransformerDecoder else "mean")
    (batch,) = data.train_loader(task.collator(), total=1)

    def certain(task) -> bool:
        loss = task.loss(batch)
        return loss.total / loss.count < 0.02

    learn(task, batch, certain)


def test_it_learns_texts_and_answers_in_the_unit_of_the_data(learn):
    data = make_data(pairs=False, batching=Bucketed(batch_size=60, max_length=32))
    task = make_task(data)
    (batch,) = data.train_loader(task.collator(), total=1)
    learn(task, batch, lambda task: task.loss(batch).total / len(batch["labels"]) < 0.02)
    found = evaluate(task, data, "train", final=False)
    assert found.metrics["pearson"].value > 0.98 and found.metrics["mae"].value < 100
    assert all(1e6 - 300 < row["predicted"] < 1e6 + 2500 for row in found.predictions)


@pytest.mark.parametrize("pairs", PAIRS)
def test_figures_do_not_depend_on_the_batch(pairs):
    found = []
    for batching in (Bucketed(32, 1), Bucketed(32, 7), TokenBudget(32, 100)):
        data = make_data(pairs, batching)
        found.append(evaluate(make_task(data), data, "validation"))
    for one in found[1:]:
        for ours, theirs in zip(found[0].predictions, one.predictions, strict=True):
            assert ours["predicted"] == pytest.approx(theirs["predicted"], abs=0.1)  # of 250
    gold = [row["score"] for row in make_rows(25, 2, pairs)]
    errors = [row["predicted"] - score for row, score in zip(found[0].predictions, gold, strict=True)]
    assert found[0].metrics["mae"].value == pytest.approx(np.mean(np.abs(errors)))


def test_texts_that_are_read_apart_may_be_swapped_and_the_answer_is_that_of_evaluation():
    data = make_data(pairs=True)
    task = make_task(data).eval()
    rows = make_rows(25, 2, pairs=True)
    swapped = [{**row, "text": row["text_pair"], "text_pair": row["text"]} for row in rows]
    answers = []
    for given in (rows, swapped):
        loader, _ = data.rows_loader(given, task.collator())
        with torch.inference_mode():
            found = {
                index: row["predicted"]
                for batch in loader
                for index, row in zip(batch["index"].tolist(), task.predict_batch(batch), strict=True)
            }
        answers.append([found[index] for index in range(len(rows))])
    assert answers[0] == pytest.approx(answers[1], abs=0.1)
    said = [row["predicted"] for row in evaluate(task, data, "validation").predictions]
    assert answers[0] == pytest.approx(said, abs=0.1)


def test_pairs_whose_words_were_changed_are_parted_between_the_texts():
    data = make_data(pairs=True)
    train, first = data.examples("train"), set(data.tokenizer.encode("fern oak crow"))
    examples = [one for one in train.__getitems__([(0, row) for row in range(60)]) if len(one["input_ids"]) > 9]
    for one in examples:  # other words in each of the two texts
        place = int((one["input_ids"] == data.facts.sep_id).argmax())
        one["input_ids"][1:place] = data.tokenizer.encode("fern oak crow " * 9)[: place - 1]
        one["input_ids"][place + 1 : -1] = data.tokenizer.encode("moss owl " * 9)[: len(one["input_ids"]) - place - 2]
    shorter = EDA(data.tokenizer, train, rows=1.0, deletion=0.5, swap=0.0, insertion=0.0, replacement=0.0)
    ids = Augmented(make_task(data).collator(), [shorter])(examples, range(len(examples)))["input_ids"].tolist()
    for row, text in enumerate(ids):
        words = {token for token in text if token not in data.facts.special_ids}
        assert words and (words <= first) == (row < len(examples)), row
        assert text.count(data.facts.cls_id) == text.count(data.facts.sep_id) == 1


@pytest.mark.parametrize(("loss", "expected"), [("mse", 4.0), ("mae", 2.0), ("huber", 1.5)])
def test_losses_are_of_standardised_scores(loss, expected):
    task = make_task(make_data(pairs=False), loss=loss)
    assert task.criterion(torch.zeros(3), torch.full((3,), 2.0)) == expected


def test_clipped_answers_stay_in_the_range_that_was_seen():
    data = make_data(pairs=False)
    scale = data.facts.scale
    for clip, most in ((False, scale.mean + 50 * scale.deviation), (True, scale.high)):
        assert make_task(data, clip=clip)._scores(torch.tensor([50.0])).item() == pytest.approx(most)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0, None, 3.0], "row 2 of the train split has no finite score"),
        ([1.0, float("nan"), 3.0], "row 2 of the train split has no finite score"),
        ([1.0, 2.0, float("-inf")], "row 3 of the train split has no finite score"),
        ([2.5, 2.5, 2.5], "has 1 different score, 2.5"),
        ([1e308, -1e308, 0.0], "beyond what can be computed"),
    ],
)
def test_scores_that_cannot_be_learned_are_told(scores, message):
    rows = [{"text": "fern", "score": score} for score in scores]
    data = TextData(GivenRows({"train": rows}), ScoredText, TokenizerSpec("word", 30), Bucketed(), None, seed=1)
    with pytest.raises(UserError, match=message):
        _ = data.facts


def test_data_for_another_task_is_refused_with_what_to_type():
    def made(row: dict) -> TextData:
        return TextData(GivenRows({"train": [row]}), ScoredText, TokenizerSpec("word", 30), Bucketed(), None, seed=1)

    with pytest.raises(UserError, match=r"Try data\.score=COLUMN, or task=classification"):
        made({"text": "fern", "label": "x"})
    with pytest.raises(UserError, match=r"needs a training split with scores"):
        Regression.check_facts(Facts(*range(30, 22, -1)))
