from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from groundup.baselines.classification import FILE, Majority, truth_of
from groundup.baselines.linear import LogisticRegression
from groundup.errors import UserError
from groundup.system.arrays import write_arrays

SHARED = Path("../shared/data")


def rows(*pairs):
    return [{"text": text, "label": label} for text, label in pairs]


def said_of(train, test, labels):
    """Probabilities of the bag of words (N, C)."""
    words, truth = LogisticRegression(), truth_of(train, labels)
    return words.fit(words.count(train), truth, len(labels)).probabilities(test)


TRAIN = rows(("a fine film", "good"), ("fine and warm", "good"), ("a dull film", "poor"), ("dull and cold", "poor")) * 3


def test_majority_says_the_most_frequent_class_of_the_train_split(reached):
    train, test = ([{"label": label} for label in labels] for labels in ("abb", "aabc"))
    result = reached(Majority(), train, test, "abc", alone=True).metrics
    assert result["accuracy"].value == 0.25
    assert result["auroc"].value == 0.5
    assert np.isfinite(result["loss"].value)


def test_a_classifier_answers_row_by_row_and_its_accuracy_is_that_of_its_answers(reached):
    test = rows(("fine", "good"), ("dull", "poor"), ("so cold", "good"))
    result = reached(LogisticRegression(), TRAIN, test, ["good", "poor"], alone=True)
    assert [row["label"] for row in result.predictions] == ["good", "poor", "good"]
    assert [row["predicted"] for row in result.predictions] == ["good", "poor", "poor"]
    assert result.metrics["accuracy"].value == pytest.approx(2 / 3)


def test_the_shares_of_the_majority_come_back_from_their_file_and_from_no_other(tmp_path):
    fitted = Majority().fit(np.arange(3), np.array([0, 1, 1]), 2)
    fitted.save(tmp_path)
    assert (Majority().load(tmp_path, 2).probabilities([{}] * 2) == [[0.4, 0.6]] * 2).all()
    with pytest.raises(UserError, match="3 classes"):
        Majority().load(tmp_path, 3)
    write_arrays(tmp_path / FILE, {"shares": np.array([0.4, 0.4])})
    with pytest.raises(UserError, match="damaged"):
        Majority().load(tmp_path, 2)


def test_bag_of_words_learns_words_and_is_deterministic():
    test = rows(("fine fine", "good"), ("so dull", "poor"), ("DULL", "poor"))
    first, second = (said_of(TRAIN, test, ["good", "poor"]) for _ in range(2))
    assert (first == second).all()
    assert first.sum(axis=1) == pytest.approx(np.ones(3))
    assert first.argmax(axis=1).tolist() == [0, 1, 1]


def test_chinese_is_read_by_characters():
    train = (
        rows(("这部电影很好看", "good"), ("这本书好看极了", "good"), ("电影太难看", "poor"), ("难看的书", "poor")) * 3
    )
    said = said_of(train, rows(("真的很好看", "good"), ("实在难看", "poor")), ["good", "poor"])
    assert said.argmax(axis=1).tolist() == [0, 1]


def test_the_second_text_of_a_pair_is_a_feature_of_its_own():
    train = [{"text": a, "text_pair": b, "label": b} for a in "xy" for b in "xy"] * 5
    said = said_of(train, train[:4], ["x", "y"])
    assert [("x", "y")[i] for i in said.argmax(axis=1)] == [row["label"] for row in train[:4]]


def test_a_class_without_train_rows_gets_no_probability():
    said = said_of(TRAIN, rows(("fine", "good")), ["good", "other", "poor"])
    assert said[0, 1] == 0
    assert said[0, 0] > 0.5


@pytest.mark.parametrize("train", [rows(("fine", "good"), ("warm", "good")), rows((" ", "good"), ("", "poor"))])
def test_one_class_or_blank_texts_give_the_class_shares(train):
    said = said_of(train, rows(("anything", "good")), ["good", "poor"])
    assert said[0].sum() == pytest.approx(1)
    assert said[0, 0] == np.mean([row["label"] == "good" for row in train])


def test_a_teachers_answers_are_not_learned_and_the_majority_stands_beside(reached):
    taught = [{**row, "label": "poor", "weight": 1.0} for row in TRAIN]
    result = reached(LogisticRegression(), TRAIN + taught, TRAIN, ["good", "poor"])
    assert list(result) == ["majority class", "bag-of-words logistic regression"]
    assert result["bag-of-words logistic regression"]["test/accuracy"].value == 1.0
    assert result["majority class"]["test/accuracy"].value == 0.5


@pytest.mark.parametrize(
    ("name", "train", "accuracy"), [("trec6", "train", 0.8940), ("sst2", "train_sentences", 0.8149)]
)
def test_figures_on_real_data_are_those_of_the_readme(name, train, accuracy):
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs {SHARED / name}")
    splits = []
    for split in (train, "test"):
        with gzip.open(SHARED / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            splits.append([json.loads(line) for line in file])
    labels = sorted({row["label"] for row in splits[0]})
    said = said_of(*splits, labels).argmax(axis=1)
    truth = [labels.index(row["label"]) for row in splits[1]]
    assert (said == truth).mean() == pytest.approx(accuracy, abs=5e-4)
