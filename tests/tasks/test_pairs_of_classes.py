"""Classes of pairs that are read apart: what is alike counts, and which text is the first; padding and batches do not."""

from __future__ import annotations

import random
from functools import partial

import pytest
import torch
from seed import SEED

from groundup.data.batching import Bucketed, TokenBudget
from groundup.data.collate import PairCollator
from groundup.data.labelled import LabelledText
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.models.transformer import TransformerEncoder
from groundup.tasks.classification import Classification
from groundup.tasks.evaluation import evaluate
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

WORDS = "fern oak crow moss owl 海".split()


def make_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Which of two texts has all words of the other, or both, or none has."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        one, other = (draw.choices(WORDS, k=draw.randint(1, 6)) for _ in range(2))
        label = {(True, True): "both", (True, False): "first", (False, True): "second"}.get(
            ({*one} >= {*other}, {*other} >= {*one}), "none"
        )
        rows.append({"text": " ".join(one), "text_pair": " ".join(other), "label": label})
    return rows


def make_data(batch_size: int = 60, pairs: bool = True) -> TextData:
    rows = {"train": make_rows(60, 1), "validation": make_rows(25, 2)}
    if not pairs:
        rows = {name: [{"text": row["text"], "label": row["label"]} for row in split] for name, split in rows.items()}
    made = Bucketed(batch_size=batch_size, max_length=32)
    return TextData(GivenRows(rows), LabelledText, TokenizerSpec("word", 300), made, None, seed=1)


def make_task(data: TextData, **options) -> Classification:
    torch.manual_seed(SEED)
    optimize = Optimization(partial(torch.optim.Adam, lr=3e-3), Constant(), total_steps=1000)
    model = TransformerEncoder(data.facts.vocab_size, width=32, layers=1, heads=2, dropout=0.0)
    return Classification(
        model, data.facts, data.tokenizer, **{"pair": "apart", "dropout": 0.0, "optimize": optimize, **options}
    )


@pytest.mark.parametrize("options", [{}, {"r_drop": 1.0}, {"mixup": 0.2}], ids=["plain", "r_drop", "mixup"])
def test_it_learns_which_text_has_the_words_of_the_other(learn, options):
    data = make_data()
    task = make_task(data, **options)
    (batch,) = data.train_loader(task.collator(), total=1)
    assert batch["input_ids"].shape[0] == 2 * len(batch["labels"])

    def certain(task) -> bool:
        return bool((task.probabilities(batch).argmax(-1) == batch["labels"]).all())

    learn(task, batch, certain)
    found = evaluate(task, data, "train", final=False)
    assert found.metrics["accuracy"].value == 1


def test_answers_do_not_depend_on_the_batch_and_are_those_of_evaluation():
    task = make_task(make_data())
    torch.nn.init.normal_(task.head.linear.weight)
    found = [evaluate(task, make_data(size), "validation", final=False) for size in (1, 7)]
    data, rows = make_data(), make_rows(25, 2)
    loader, _ = data.rows_loader(rows, task.collator())
    with torch.inference_mode():
        answers = {
            index: answer
            for batch in loader
            for index, answer in zip(batch["index"].tolist(), task.predict_batch(batch), strict=True)
        }
    for row in range(len(rows)):
        expected = answers[row]["probabilities"]
        for one in found:
            assert one.predictions[row]["probabilities"] == pytest.approx(expected, abs=1e-4)


def test_single_texts_have_nothing_to_be_compared_with_and_pairs_no_graph():
    data = make_data(pairs=False)
    alone = make_task(data)
    assert not alone.apart and alone.matching is None
    data = make_data()
    task = make_task(data)
    with pytest.raises(UserError, match="read apart are no one graph"):
        task.graph(next(iter(data.loader("validation", task.collator()))))


@pytest.mark.parametrize("apart", [True, False])
def test_a_budget_of_tokens_holds_both_texts_of_a_pair_that_are_read_apart(apart):
    draw = random.Random(SEED)
    lengths = [draw.choice([(1, 26), (26, 1), (2, 2), (9, 9)]) for _ in range(200)]
    rows = [{"text": "fern " * one, "text_pair": "owl " * other, "label": "ab"[one > other]} for one, other in lengths]
    source = GivenRows({"train": rows, "validation": rows})
    data = TextData(source, LabelledText, TokenizerSpec("word", 300), TokenBudget(32, 128), None, seed=1, apart=apart)
    collate = PairCollator(data.facts)
    for loader in (data.train_loader(collate), data.loader("validation", collate)):
        sizes = [batch["input_ids"].numel() for batch in loader]
        assert sum(sizes) >= 2 * len(rows) and (max(sizes) <= 128) is apart  # without it a batch may be twice as large
        assert not apart or sorted(sizes)[len(sizes) // 2] > 64
