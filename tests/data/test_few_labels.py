"""Fewer labels than rows: shares of classes, smaller sets within greater ones, and text that nobody labelled."""

import json
import random
from collections import Counter

import pytest

from groundup.config.build import instantiate
from groundup.data.batching import Bucketed, Packed
from groundup.data.labelled import LabelledText
from groundup.data.packing import PackedText
from groundup.data.sources.few_labels import AllText, FewLabels, Taught, nested_order
from groundup.data.sources.files import Files
from groundup.data.sources.folds import Fold
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.text.tokenizer import TokenizerSpec

COUNTS = {"a": 600, "b": 300, "c": 99, "rare": 1}
ROWS = [
    {"text": f"text {number} of {name}", "label": name} for name, count in COUNTS.items() for number in range(count)
]
random.Random(0).shuffle(ROWS)
SOURCE = GivenRows({"train": ROWS, "validation": ROWS[:9]})


def texts(rows):
    return [row["text"] for row in rows]


@pytest.mark.parametrize("seed", range(5))
def test_each_beginning_of_the_order_has_every_class_in_its_share(seed):
    random.seed(seed)
    strata = [row["label"] for row in ROWS]
    order = nested_order(strata, [random.randbytes(8) for _ in strata])
    assert sorted(order) == list(range(len(ROWS)))
    seen = Counter()
    for size, number in enumerate(order, 1):
        seen[strata[number]] += 1
        if size >= len(COUNTS):
            assert all(abs(seen[name] - size * count / len(ROWS)) <= 2 for name, count in COUNTS.items())
            assert len(seen) == len(COUNTS)


def test_fewer_labels_are_among_more_and_follow_from_seed_and_texts_alone():
    chosen = {size: texts(FewLabels(SOURCE, labelled=size).rows("train")) for size in (4, 50, 51, 700)}
    assert [len(rows) for rows in chosen.values()] == [4, 50, 51, 700]
    assert set(chosen[4]) < set(chosen[50]) < set(chosen[51]) < set(chosen[700])
    assert chosen[50] == texts(FewLabels(SOURCE, labelled=50).rows("train"))
    other = set(texts(FewLabels(SOURCE, labelled=50, labelled_seed=2).rows("train")))
    assert other != set(chosen[50])
    shuffled = GivenRows({"train": random.Random(1).sample(ROWS, len(ROWS))})
    assert set(texts(FewLabels(shuffled, labelled=50).rows("train"))) == set(chosen[50])
    assert FewLabels(SOURCE, labelled=50).rows("validation") == SOURCE.rows("validation")


def test_every_row_is_either_learned_from_or_text_without_a_label(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (tmp_path / "more.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    files = Files("train.jsonl", unlabelled="more.txt", root=str(tmp_path), text="text", label="label")
    source = FewLabels(files, labelled=50)
    for _ in range(2):  # rows may be read again and again
        unlabelled = list(source.without_labels())
        assert sorted([*texts(source.rows("train")), *texts(unlabelled)]) == sorted([*texts(ROWS), "one", "two"])
    assert all(row.keys() == {"text"} for row in unlabelled)
    assert list(source.further()) == texts(unlabelled)
    assert texts(AllText(source).rows("train")) == [*texts(source.rows("train")), *texts(unlabelled)]
    assert list(Fold(source, 5, 2).without_labels()) == unlabelled


def test_what_is_cached_has_another_name_whenever_the_rows_are_others():
    few = [FewLabels(SOURCE, labelled=size, labelled_seed=seed) for size, seed in ((50, 1), (50, 2), (51, 1))]
    names = [one.fingerprint("train") for one in [SOURCE, *few, *map(AllText, few)]]
    names += [one.further_fingerprint() for one in few]
    assert len(set(names)) == len(names)
    again = FewLabels(SOURCE, labelled=50)
    assert (again.fingerprint("train"), again.further_fingerprint()) == (names[1], few[0].further_fingerprint())
    assert again.fingerprint("validation") == SOURCE.fingerprint("validation")


def test_students_have_the_rows_of_their_teachers_beside_their_own(tmp_path):
    file = tmp_path / "pseudo.jsonl"
    rows = [{"text": "a\u2028b", "label": "a", "weight": 0.5}, {"text": "c", "label": "b", "weight": 0.25}]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    taught = Taught(FewLabels(SOURCE, labelled=50), str(file))
    assert list(taught.rows("train"))[50:] == rows
    assert list(taught.rows("validation")) == list(SOURCE.rows("validation"))
    data = TextData(taught, LabelledText, TokenizerSpec("word", 5000), Bucketed(16), None, seed=1)
    examples = data.examples("train").__getitems__([(0, 49), (0, 50), (0, 51)])
    assert [example["weights"] for example in examples] == [1.0, 0.5, 0.25]
    assert all("weights" not in example for example in data.examples("validation").__getitems__([(0, 0), (0, 1)]))
    before = taught.fingerprint("train")
    file.write_text("", encoding="utf-8")
    assert Taught(FewLabels(SOURCE, labelled=50), str(file)).fingerprint("train") != before


def test_streams_give_the_same_rows(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    kept, streamed = (
        FewLabels(Files(train=str(path), text="text", label="label", streaming=streaming), labelled=60)
        for streaming in (False, True)
    )
    assert list(kept.rows("train")) == list(streamed.rows("train"))
    assert list(kept.further()) == list(streamed.further())


def test_tokenizers_and_language_models_learn_from_all_text_and_classifiers_from_labels(tmp_path):
    few = FewLabels(SOURCE, labelled=50)
    spec = TokenizerSpec("char", 5000)
    classes = TextData(few, LabelledText, spec, Bucketed(16), str(tmp_path), seed=1)
    text = TextData(few, PackedText, spec, Packed(8), str(tmp_path), seed=1)
    whole = TextData(SOURCE, PackedText, spec, Packed(8), str(tmp_path), seed=1)
    assert len(classes.examples("train")) == sum(classes.facts.label_counts) == 50
    assert classes.tokenizer.vocab_size == whole.tokenizer.vocab_size
    assert isinstance(text.source, AllText)
    assert len(text.examples("train").encoded.ids) == len(whole.examples("train").encoded.ids)
    assert whole.order_fingerprint != text.order_fingerprint  # other rows come first


def test_a_language_model_reads_what_questions_are_asked_about_once():
    asked = [{"question": f"q{n}", "context": f"c{n // 3}", "answers": []} for n in range(12)]
    source = GivenRows({"train": asked, "validation": asked[:4]})
    text = TextData(source, PackedText, TokenizerSpec("char", 100), Packed(2, batch_size=1), None, seed=1)
    assert [row["text"] for row in text.texts("train")] == ["c0", "c1", "c2", "c3"]
    assert [row["text"] for row in text.texts("validation")] == ["c0", "c1"]
    assert text.tokenizer.decode(text.examples("train").encoded.ids) == "c0c1c2c3"
    few = TextData(FewLabels(source, labelled=3), PackedText, TokenizerSpec("char", 100), Packed(2), None, seed=1)
    assert {row["text"] for row in few.texts("train")} == {"c0", "c1", "c2", "c3"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labelled": 1001}, "only 1,000 labelled rows"),
        ({"labelled": 3}, "data.labelled=3 is less than one row for each of 4 classes. Try data.labelled=4"),
    ],
)
def test_what_cannot_be_chosen_is_said_in_one_line(options, said):
    source = FewLabels(SOURCE, **options)
    with pytest.raises(UserError, match=said) as error:
        list(source.rows("train"))
    assert "\n" not in str(error.value)


def test_text_alone_has_no_labels_to_choose_from():
    with pytest.raises(UserError, match="the data has no labels"):
        FewLabels(GivenRows({"train": [{"text": "a"}]}), labelled=5)


def test_a_source_of_a_configuration_takes_fewer_labels(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    node = {"_target_": "groundup.data.sources.files.Files", "train": str(tmp_path / "train.jsonl"), "label": "label"}
    keys = {"labelled": None, "labelled_seed": 1}
    whole = instantiate({**node, **keys}, "data")
    assert isinstance(whole, Files)  # it costs nothing
    few = instantiate({**node, **keys, "labelled": 30}, "data")
    assert len(list(few.rows("train"))) == 30
    assert len(list(few.without_labels())) == len(ROWS) - 30
