"""Pairs of texts: the two forms of an example, truncation on each side, empty rows, prediction."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from groundup.data.batching import Bucketed
from groundup.data.collate import Collator
from groundup.data.encoding import EncodedText
from groundup.data.examples import SplitToEncode
from groundup.data.facts import Facts
from groundup.data.pairs import PairedText, PromptedText
from groundup.data.sources.source import GivenRows
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.tokenizer import Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
MARKS = {1: "?", 2: "[", 3: "]", 4: "|"}
FACTS = Facts(vocab_size=64, pad_id=0, unk_id=1, bos_id=2, eos_id=3, sep_id=4, mask_id=5, cls_id=6)
ROWS = [{"source": "abc", "target": "01"}, {"source": "", "target": "7"}, {"source": "xyz", "target": ""}]
FORMS = {"paired": PairedText, "prompted": PromptedText}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([LETTERS + DIGITS], "char", vocab_size=64)


def paired(tokenizer, rows=ROWS, split="train", cache=None, form=PairedText, target=None, **words) -> PairedText:
    source = GivenRows({split: rows})
    return form(SplitToEncode(tokenizer, source, split, Bucketed(**words), cache, target_tokenizer=target))


def shown(tokenizer, dataset, key: str = "input_ids", order=None) -> list[str]:
    """A key of each example: <bos> as [, <eos> as ], <sep> as |, -100 as a dot."""
    examples = dataset.__getitems__([(0, index) for index in (range(len(dataset)) if order is None else order)])
    marks = {**MARKS, -100: "."}
    return ["".join(marks.get(i) or tokenizer.decode([i]) for i in example[key].tolist()) for example in examples]


def test_a_pair_is_source_and_shifted_target(tokenizer):
    dataset = paired(tokenizer)
    assert shown(tokenizer, dataset) == ["abc]", "]", "xyz]"]
    assert shown(tokenizer, dataset, "decoder_input_ids") == ["[01", "[7", "["]
    assert shown(tokenizer, dataset, "labels") == ["01]", "7]", "]"]
    assert dataset.lengths(training=True).tolist() == [[4, 3], [1, 2], [4, 1]]
    assert shown(tokenizer, dataset, "labels", order=[2, 0]) == ["]", "01]"]
    example = dataset[(4, 1)]
    assert set(example) == {"input_ids", "decoder_input_ids", "labels", "index"} and example["index"] == 1
    assert {example[name].dtype for name in ("input_ids", "decoder_input_ids", "labels")} == {np.dtype(np.int64)}


def test_a_prompt_is_one_sequence_of_which_only_the_target_is_scored(tokenizer):
    dataset = paired(tokenizer, form=PromptedText)
    assert shown(tokenizer, dataset) == ["[abc|01", "[|7", "[xyz|"]
    assert shown(tokenizer, dataset, "labels") == ["....01]", ".7]", "....]"]
    assert dataset.lengths(training=True).tolist() == [7, 3, 5]
    assert set(dataset[(0, 0)]) == {"input_ids", "labels", "index"}


@every_form
def test_labels_are_the_tokens_that_follow(tokenizer, form):
    random = np.random.default_rng(0)
    rows = [
        {"source": "".join(random.choice(list(LETTERS), n)), "target": "".join(random.choice(list(DIGITS), n % 7))}
        for n in range(30)
    ]
    for example in paired(tokenizer, rows, form=form).__getitems__([(0, n) for n in range(30)]):
        given, labels = example.get("decoder_input_ids", example["input_ids"]), example["labels"]
        assert len(given) == len(labels)
        scored = labels[:-1] != -100
        assert np.array_equal(labels[:-1][scored], given[1:][scored])
        assert labels[-1] == tokenizer.eos_id
        assert tokenizer.decode(labels[labels != -100].tolist()) == rows[example["index"]]["target"]


@pytest.mark.parametrize(
    ("truncation", "source"), [("head", "abcdefghi]"), ("tail", "rstuvwxyz]"), ("head_tail", "abtuvwxyz]")]
)
def test_a_long_source_keeps_what_is_asked_and_its_end(tokenizer, truncation, source):
    rows = [{"source": text, "target": "1"} for text in (LETTERS, "abcdefghi", "abcdefghij", "x", LETTERS)]
    dataset = paired(tokenizer, rows, max_length=10, truncation=truncation)
    texts = shown(tokenizer, dataset)
    assert texts[0] == texts[4] == source and texts[1] == "abcdefghi]" and texts[3] == "x]"
    assert {len(text) for text in texts[:3]} == {10}
    assert dataset.truncated_rows.tolist() == [True, False, True, False, True]
    assert shown(tokenizer, dataset, "labels") == ["1]"] * 5
    prompts = shown(tokenizer, paired(tokenizer, rows, form=PromptedText, max_length=11, truncation=truncation))
    assert prompts == [f"[{text[:-1]}|1" for text in texts]


def test_a_long_target_goes_on_after_its_cut(tokenizer):
    rows = [{"source": "a", "target": DIGITS}, {"source": "a", "target": DIGITS[:7]}]
    dataset = paired(tokenizer, rows, max_length=8, truncation="tail")
    assert shown(tokenizer, dataset, "decoder_input_ids") == ["[0123456", "[0123456"]
    assert shown(tokenizer, dataset, "labels") == ["01234567", "0123456]"]  # only what ends teaches to stop
    dataset = paired(tokenizer, rows, max_length=8, form=PromptedText)
    assert shown(tokenizer, dataset) == ["[a|0123456", "[a|0123456"]
    assert shown(tokenizer, dataset, "labels") == ["..01234567", "..0123456]"]


def test_truncation_is_counted_on_each_side(tokenizer):
    sizes = [(20, 1), (20, 10), (1, 10), (1, 1), (7, 7), (0, 0), (0, 5)]  # with <eos>, 8 still fits
    rows = [{"source": LETTERS[:first], "target": DIGITS[:second]} for first, second in sizes]
    report = paired(tokenizer, rows, max_length=8).report
    assert (report["source_truncated_rows"], report["target_truncated_rows"], report["truncated_rows"]) == (2, 2, 3)
    assert report["truncated_share"] == 3 / 7 and report["empty_rows"] == 2 and report["rows"] == 7
    assert report["tokens"] == 8 + 8 + 2 + 2 + 8 + 1 + 1 + 2 + 8 + 8 + 2 + 8 + 1 + 6
    report = paired(tokenizer, rows, max_length=8, form=PromptedText).report
    assert (report["source_truncated_rows"], report["target_truncated_rows"]) == (3, 2)  # 7 + <bos> and <sep>


@every_form
def test_no_example_is_longer_than_allowed(tokenizer, form):
    rows = [{"source": LETTERS[:n], "target": DIGITS[:m]} for n in range(27) for m in range(11)]
    dataset = paired(tokenizer, rows, form=form, max_length=9)
    examples = dataset.__getitems__([(0, index) for index in range(len(rows))])
    lengths = dataset.lengths(training=True)
    for example, length in zip(examples, lengths.tolist(), strict=True):
        parts = [example[name] for name in ("input_ids", "decoder_input_ids") if name in example]
        assert [len(part) for part in parts] == (length if form is PairedText else [length])
        assert max(map(len, parts)) <= (9 if form is PairedText else 17)


@every_form
def test_rows_to_predict_need_no_target_and_all_come_out(tokenizer, form):
    rows = [{"source": ""}, {"source": LETTERS}, {"source": "a☃c☃", "target": "ignored"}, {"source": ""}]
    dataset = paired(tokenizer, rows, split="predict", form=form, max_length=10)
    expected = ["]", "abcdefghi]", "a?c?]", "]"] if form is PairedText else ["[|", "[abcdefgh|", "[a?c?|", "[|"]
    assert shown(tokenizer, dataset) == expected
    assert [set(example) for example in dataset.__getitems__([(0, 0), (0, 2)])] == [{"input_ids", "index"}] * 2
    assert dataset.lengths(training=False).tolist() == [len(text) for text in expected]
    assert dataset.truncated_rows.tolist() == [False, True, False, False]
    assert dataset.unknown_tokens.tolist() == [0, 0, 2, 0]
    assert dataset.bytes_per_token is None
    assert len(paired(tokenizer, [], split="predict", form=form)) == 0


def test_an_empty_split_is_refused(tokenizer):
    with pytest.raises(UserError, match="validation split is empty"):
        paired(tokenizer, [], split="validation")


def test_each_side_may_have_its_own_vocabulary(tokenizer):
    sources, targets = Tokenizer.train([LETTERS], "char", 64), Tokenizer.train([DIGITS], "char", 64)
    dataset = paired(sources, target=targets)
    assert shown(sources, dataset) == ["abc]", "]", "xyz]"]
    assert shown(targets, dataset, "labels") == ["01]", "7]", "]"]
    assert targets.vocab_size == 17 and dataset[(0, 0)]["labels"].max() < 17
    swapped = paired(targets, target=sources)
    assert shown(targets, swapped) == ["???]", "]", "???]"]
    assert swapped.report["unknown_share"] == 1.0 and swapped.unknown_tokens.tolist() == [3, 0, 3]


def test_bytes_are_those_of_the_target(tokenizer):
    rows = [{"source": "a" * 20, "target": "é1"}, {"source": "b", "target": ""}]
    assert paired(tokenizer, rows).bytes_per_token == 3 / 4  # é has two bytes; two tokens and two <eos>


def test_a_batch_is_padded_on_both_sides(tokenizer):
    dataset = paired(tokenizer)
    batch = Collator(FACTS)(dataset.__getitems__([(0, 0), (0, 1), (0, 2)]), [0, 0, 0])
    assert batch["attention_mask"].sum(1).tolist() == [4, 1, 4]
    assert batch["decoder_input_ids"][2].tolist() == [2, 0, 0]
    assert batch["labels"][2].tolist() == [3, -100, -100]
    assert batch["index"].tolist() == [0, 1, 2]
    even = Collator(FACTS)(dataset.__getitems__([(0, 0), (0, 2)]), [0, 0])
    assert "attention_mask" not in even  # the sources are of one length; targets need no mask


def test_each_side_is_encoded_once_and_apart(tokenizer, tmp_path, monkeypatch):
    first = paired(tokenizer, cache=Cache(tmp_path))
    assert len([folder for folder in tmp_path.iterdir() if not folder.name.startswith(".")]) == 2
    monkeypatch.setattr(tokenizer, "encode_batch", lambda *_: pytest.fail("encoded again"))
    second = paired(tokenizer, cache=Cache(tmp_path), form=PromptedText, max_length=20)
    assert shown(tokenizer, second)[0] == "[abc|01"
    assert shown(tokenizer, pickle.loads(pickle.dumps(first)), "labels") == shown(tokenizer, first, "labels")


def test_roles_are_part_of_the_cache_key(tokenizer, tmp_path):
    source, cache = GivenRows({"train": [{**ROWS[0], "text": "q"}]}), Cache(tmp_path)

    def encoded(*roles: tuple[str, ...]) -> str:
        text = EncodedText.of(source, "train", tokenizer, cache, False, False, *roles)
        return tokenizer.decode(text.ids.tolist())

    assert [encoded(("source",)), encoded(("target",)), encoded(("source", "target"))] == ["abc", "01", "abc01"]
    assert encoded() == "q"
