"""Facts survive the formats they are saved in."""

import json

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
