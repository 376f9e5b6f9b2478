"""Labelled texts: the form of an example, truncation, labels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from groundup.data.batching import Bucketed
from groundup.data.examples import SplitToEncode
from groundup.data.labelled import LabelledText
from groundup.data.sources.source import GivenRows
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.tokenizer import Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([LETTERS], "char", vocab_size=64)


def labelled(tokenizer, rows, split="train", cache=None, labels=("no", "yes"), **words) -> LabelledText:
    return LabelledText(
        SplitToEncode(tokenizer, GivenRows({split: rows}), split, Bucketed(**words), cache, labels=labels)
    )


def shown(tokenizer, dataset) -> list[str]:
    """Examples with <cls> as [ and <sep> as |."""
    marks = {tokenizer.cls_id: "[", tokenizer.sep_id: "|", tokenizer.unk_id: "?"}
    examples = dataset.__getitems__([(0, index) for index in range(len(dataset))])
    return [
        "".join(marks.get(i) or tokenizer.decode([i]) for i in example["input_ids"].tolist()) for example in examples
    ]


def test_one_text_and_a_pair(tokenizer):
    rows = [{"text": "abc", "label": "yes"}, {"text": "", "label": "no"}]
    assert shown(tokenizer, labelled(tokenizer, rows)) == ["[abc|", "[|"]
    rows = [{"text": "abc", "text_pair": "de", "label": "yes"}, {"text": "", "text_pair": "", "label": "no"}]
    dataset = labelled(tokenizer, rows)
    assert shown(tokenizer, dataset) == ["[abc|de|", "[||"]
    assert dataset.lengths(training=True).tolist() == [8, 3]
    example = dataset[(4, 1)]
    assert (example["index"], example["labels"], example["input_ids"].dtype) == (1, 0, np.int64)


@pytest.mark.parametrize(
    ("truncation", "expected"), [("head", "[abcdefgh|"), ("tail", "[stuvwxyz|"), ("head_tail", "[abuvwxyz|")]
)
def test_truncation_keeps_what_it_says(tokenizer, truncation, expected):
    rows = [{"text": text, "label": "yes"} for text in (LETTERS, "abcdefgh", "abcdefghi", "x")]
    dataset = labelled(tokenizer, rows, max_length=10, truncation=truncation)
    texts = shown(tokenizer, dataset)
    assert texts[0] == expected
    assert texts[1] == "[abcdefgh|" and texts[3] == "[x|"
    assert {len(text) for text in texts[:3]} == {10}
    assert dataset.report["truncated_rows"] == 2 and dataset.report["truncated_share"] == 0.5


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (26, 26, "[abcd|abcd|"),
        (26, 2, "[abcdef|ab|"),
        (2, 26, "[ab|abcdef|"),
        (5, 4, "[abcd|abcd|"),
        (0, 26, "[|abcdefgh|"),
        (4, 4, "[abcd|abcd|"),
    ],
)
def test_of_a_pair_the_longer_text_gives_way(tokenizer, first, second, expected):
    rows = [{"text": LETTERS[:first], "text_pair": LETTERS[:second], "label": "no"}]
    assert shown(tokenizer, labelled(tokenizer, rows, max_length=11)) == [expected]


def test_a_pair_is_truncated_text_by_text(tokenizer):
    rows = [{"text": LETTERS, "text_pair": LETTERS, "label": "no"}]
    assert shown(tokenizer, labelled(tokenizer, rows, max_length=11, truncation="tail")) == ["[wxyz|wxyz|"]
    assert shown(tokenizer, labelled(tokenizer, rows, max_length=11, truncation="head_tail")) == ["[axyz|axyz|"]


def test_an_odd_room_is_filled(tokenizer):
    rows = [{"text": LETTERS, "text_pair": LETTERS, "label": "no"}]
    assert shown(tokenizer, labelled(tokenizer, rows, max_length=12)) == ["[abcde|abcd|"]


def test_names_of_special_tokens_in_a_text_are_text(tokenizer):
    ids = labelled(tokenizer, [{"text": "<sep>a<pad>", "label": "no"}])[(0, 0)]["input_ids"].tolist()
    assert ids.count(tokenizer.sep_id) == 1 and tokenizer.pad_id not in ids


def test_labels_are_places_in_the_given_names(tokenizer):
    rows = [{"text": "a", "label": label} for label in ("b", 3, True, "b")]
    assert labelled(tokenizer, rows, labels=("True", "b", "3")).targets.tolist() == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"text": "a", "label": "yes"}, {"text": "b", "label": "maybe"}],
            "row 2 of the test split has the label 'maybe'",
        ),
        ([{"text": "a", "label": "yes"}, {"text": "b", "label": None}], "row 2 of the test split has no label"),
        ([{"text": "a"}, {"text": "b"}], "data.label=COLUMN"),
        ([], "test split is empty"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(tokenizer, rows, message):
    with pytest.raises(UserError, match=message):
        labelled(tokenizer, rows, split="test")


def test_rows_to_predict_need_no_label(tokenizer):
    dataset = labelled(tokenizer, [{"text": "abc"}, {"text": "b", "label": "whatever"}], split="predict")
    assert shown(tokenizer, dataset) == ["[abc|", "[b|"]
    assert "labels" not in dataset[(0, 1)]
    assert len(labelled(tokenizer, [], split="predict")) == 0


def test_unknown_tokens_are_counted(tokenizer):
    report = labelled(tokenizer, [{"text": "ab12", "label": "no"}, {"text": "éabc", "label": "no"}]).report
    assert report["unknown_share"] == 3 / 8
    assert report["bytes_per_token"] == 9 / 8
    assert (report["rows"], report["tokens"]) == (2, 12)


def test_texts_are_encoded_once_for_every_length_and_truncation(tokenizer, tmp_path, monkeypatch):
    rows = [{"text": LETTERS, "label": "no"}, {"text": "abc", "label": "yes"}]
    first = labelled(tokenizer, rows, cache=Cache(tmp_path))
    monkeypatch.setattr(tokenizer, "encode_batch", lambda *_: pytest.fail("encoded again"))
    second = labelled(tokenizer, rows, cache=Cache(tmp_path), labels=("yes", "no"), max_length=9, truncation="tail")
    assert shown(tokenizer, first)[0] == f"[{LETTERS}|"
    assert shown(tokenizer, second) == ["[tuvwxyz|", "[abc|"]
    assert first.targets.tolist() == [0, 1] and second.targets.tolist() == [1, 0]
    assert shown(tokenizer, pickle.loads(pickle.dumps(second))) == shown(tokenizer, second)


def test_many_short_rows_cross_the_blocks_of_the_encoder(tokenizer, monkeypatch):
    monkeypatch.setattr("groundup.data.encoding.BLOCK", 20)
    texts = [LETTERS[: number % 30] for number in range(100)]
    dataset = labelled(tokenizer, [{"text": text, "label": "no"} for text in texts], max_length=40)
    assert shown(tokenizer, dataset) == [f"[{text}|" for text in texts]
