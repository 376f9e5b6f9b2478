"""Facts survive the formats they are saved in."""

import json

import pytest

from groundup.data.facts import Facts


def test_facts_survive_json():
    facts = Facts(300, 0, 1, 2, 3, 4, 5, 6, labels=("a", "中"), label_counts=(3, 4))
    assert Facts.from_dict(json.loads(json.dumps(facts.as_dict()))) == facts
    assert facts.target_vocab_size is None
    separate = Facts(300, 0, 1, 2, 3, 4, 5, 6, target_vocab_size=200)
    assert Facts.from_dict(json.loads(json.dumps(separate.as_dict()))) == separate
    without = {name: value for name, value in facts.as_dict().items() if name != "target_vocab_size"}
    assert Facts.from_dict(without) == facts  # as runs of earlier versions saved it
    assert type(facts.as_dict()["labels"]) is list


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("vocab_size", value) for value in (-5, "300", 3e2, None, True)],
        *[("eos_id", value) for value in (300, -1, None, "3", 10**9)],
        ("target_vocab_size", 4), ("target_vocab_size", "x"), ("labels", ["a", 1]), ("labels", ["a", "a"]),
        ("labels", "ab"), ("labels", ["a", {"b": 1}]), ("label_counts", [1]), ("label_counts", [1, -1]),
        ("label_counts", 5), ("length_ratio", float("nan")), ("length_ratio", "x"), ("length_ratio", -1.0),
    ],
)  # fmt: skip
def test_facts_that_no_data_can_have_are_refused(name, value):
    facts = Facts(300, 0, 1, 2, 3, 4, 5, 6, labels=("a", "b"), label_counts=(3, 4), length_ratio=1.5)
    with pytest.raises(ValueError):
        Facts.from_dict(facts.as_dict() | {name: value})
