"""From rows to batches: facts, reports, the same order for any number of workers and ranks."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from groundup.data.batching import Bucketed, Packed, TokenBudget
from groundup.data.collate import Collator, MaskedCollator
from groundup.data.corruption import DenoisingCollator, SpanCorruptionCollator
from groundup.data.datamodule import TextDataModule
from groundup.data.facts import Facts
from groundup.data.labelled import LabelledText
from groundup.data.packing import PackedText
from groundup.data.pairs import PairedText, PromptedText
from groundup.data.sources.files import Files
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.text.tokenizer import TokenizerSpec

WORDS = "the quick brown fox jumps over a lazy dog and then goes home to sleep under the old oak tree".split()


def rows(count: int, seed: int) -> list[dict]:
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 20, (count,), generator=random).tolist()
    return [
        {
            "text": " ".join(WORDS[(number + i) % len(WORDS)] for i in range(length)),
            "label": ("short", "long")[length > 9],
        }
        for number, length in enumerate(lengths)
    ]


def pairs(count: int, seed: int) -> list[dict]:
    return [
        {"source": row["text"], "target": " ".join(reversed(row["text"].upper().split()))} for row in rows(count, seed)
    ]


PAIRS = {"train": pairs(203, 0), "validation": pairs(41, 1), "test": pairs(30, 2)}
SPLITS = {"train": rows(203, 0), "validation": rows(41, 1), "test": rows(30, 2)}
CASES = {
    "causal": (PackedText, Packed(length=16, batch_size=4), Collator),
    "masked": (PackedText, Packed(length=16, batch_size=4, mask_documents=True), MaskedCollator),
    "bucketed": (LabelledText, Bucketed(max_length=64, batch_size=8), Collator),
    "token_budget": (LabelledText, TokenBudget(max_length=64, tokens=256), Collator),
    "paired": (PairedText, Bucketed(max_length=64, batch_size=8), Collator),
    "paired_budget": (PairedText, TokenBudget(max_length=64, tokens=512), Collator),
    "prompted": (PromptedText, Bucketed(max_length=64, batch_size=8), Collator),
    "spans": (PackedText, Packed(length=16, batch_size=4), SpanCorruptionCollator),
    "noise": (PackedText, Packed(length=16, batch_size=4), DenoisingCollator),
}
every_case = pytest.mark.parametrize("case", CASES)


def opened(case: str, cache, splits=None, **words) -> TextData:
    examples, batching, _ = CASES[case]
    splits = splits or (PAIRS if issubclass(examples, PairedText) else SPLITS)
    words = {"tokenizer": TokenizerSpec("word", 64), "seed": 3, "batching": batching, **words}
    data = TextData(GivenRows(splits), examples, cache_dir=str(cache), **words)
    data.prepare()
    return data


def collator(case: str, data: TextData):
    return CASES[case][2](data.facts)


def module(case: str, cache, total=None, start=0, num_workers=0, **words) -> TextDataModule:
    data = opened(case, cache, **words)
    return TextDataModule(data, collator(case, data), total, start, num_workers)


def test_classes_are_told_with_their_counts_and_those_that_may_be_one(tmp_path, caplog):
    def told(labels: list[str]) -> list[str]:
        caplog.clear()
        rows = [{"text": "x", "label": label} for label in labels]
        with caplog.at_level("INFO"):
            opened("bucketed", tmp_path, {"train": rows, "validation": rows[:1]})
        return [record.getMessage() for record in caplog.records]

    said = told(["world"] * 3 + ["Sport"] * 5 + ["sport"])
    assert "classes of train: Sport 5, world 3, sport 1" in said
    assert "classes 'Sport' and 'sport' differ in their spelling only: are they one?" in said
    assert any(line.endswith(" 2, ... (30 in all)") for line in told([f"class {i}" for i in range(30)] * 2))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def assert_same(batches: list[dict], others: list[dict]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in batch)


@every_case
def test_workers_change_nothing(case, cache):
    expected = None
    for workers in (0, 2):
        data = module(case, cache, total=12, num_workers=workers)
        loader = data.train_dataloader()
        got = [[*loader], [*loader], [*data.val_dataloader()]]
        assert len(loader) == len(got[0]) == 12
        assert_same(got[0], got[1])
        if expected is not None:
            for one, other in zip(got, expected):
                assert_same(one, other)
        expected = got


@every_case
def test_a_resumed_run_sees_the_tail(case, cache):
    epoch = opened(case, cache).batches_per_epoch
    total, start = 3 * epoch, epoch + 5
    whole = list(module(case, cache, total).train_dataloader())
    loader = module(case, cache, total, start).train_dataloader()
    assert len(loader) == len(whole)  # of the run, not what is left of it
    assert_same(list(loader), whole[start:])


@every_case
def test_ranks_share_training_and_evaluation(case, cache, monkeypatch):
    data = module(case, cache, total=10)
    alone, evaluated = list(data.train_dataloader()), list(data.val_dataloader())
    training, indexes = [], []
    for rank in range(2):
        data = module(case, cache, total=5)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        training.append(list(data.train_dataloader()))
        indexes += [index for batch in data.val_dataloader() for index in batch["index"].tolist()]
    assert_same([batch for step in zip(*training) for batch in step], alone)
    assert sorted(indexes) == sorted(index for batch in evaluated for index in batch["index"].tolist())
    assert len(set(indexes)) == len(indexes)


@every_case
def test_index_restores_the_order_of_evaluation(case, cache):
    data = opened(case, cache)
    found = {}
    for batch in data.loader("test", collator(case, data)):
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"], dtype=torch.bool))
        for index, ids, real in zip(batch["index"].tolist(), batch["input_ids"], mask):
            found[index] = data.tokenizer.decode(ids[real].tolist())
    assert sorted(found) == list(range(len(found)))
    if CASES[case][0] is LabelledText:
        assert [found[index] for index in range(30)] == [row["text"] for row in data.texts("test")]
    if CASES[case][0] is PairedText:
        assert [found[index] for index in range(30)] == [row["source"] for row in data.texts("test")]


def test_facts_and_reports(cache):
    data = opened("bucketed", cache)
    assert data.facts.labels == ("long", "short")
    longer = sum(row["label"] == "long" for row in SPLITS["train"])
    assert data.facts.label_counts == (longer, 203 - longer)
    assert data.facts.vocab_size == data.tokenizer.vocab_size and data.facts.cls_id == 6
    report = data.report["train"]
    assert set(data.report) == {"train", "validation", "test"}
    assert report["rows"] == 203 and report["unknown_share"] == 0 and report["truncated_share"] == 0
    assert report["tokens"] == sum(len(row["text"].split()) + 2 for row in SPLITS["train"])
    assert data.batches_per_epoch == 26
    assert data.tokens_per_batch == report["tokens"] / 26
    batches = list(data.train_loader(collator("bucketed", data)))
    assert len(batches) == 26
    real = sum(int(batch.get("attention_mask", batch["input_ids"] >= 0).sum()) for batch in batches)
    places = sum(batch["input_ids"].numel() for batch in batches)
    assert report["padding_share"] == pytest.approx(1 - real / places)
    assert 0 < report["padding_share"] < 0.1


def test_packed_batches_have_no_padding_and_no_mask(cache):
    data = opened("causal", cache)
    for batch in data.train_loader(collator("causal", data), 20):
        assert set(batch) == {"input_ids", "labels", "index"}
        assert batch["input_ids"].shape[1] == 16
    assert data.report["train"]["padding_share"] == 0
    assert data.facts.labels == ()
    text = sum(len(row["text"].encode()) for row in SPLITS["test"])
    scored = sum(int((batch["labels"] != -100).sum()) for batch in data.loader("test", collator("causal", data)))
    assert data.examples("test").bytes_per_token == pytest.approx(text / scored)


def test_masks_are_fixed_in_evaluation_and_new_in_each_epoch(cache):
    data = module("masked", cache)
    assert_same(list(data.val_dataloader()), list(data.val_dataloader()))
    other = module("masked", cache, batching=Packed(length=16, batch_size=7, mask_documents=True))
    masks = [
        {
            index: labels.tolist()
            for batch in batches
            for index, labels in zip(batch["index"].tolist(), batch["labels"][:, :8])
        }
        for batches in (data.val_dataloader(), other.val_dataloader())
    ]
    assert masks[0] == masks[1]


def test_a_finished_run_lends_its_tokenizer_and_labels(cache):
    run = opened("bucketed", cache)
    source = GivenRows({"test": SPLITS["test"][:3]})
    data = TextData(source, LabelledText, run.tokenizer, Bucketed(), str(cache), seed=3, facts=run.facts)
    data.prepare()
    assert data.facts == run.facts
    assert sum(len(batch["labels"]) for batch in data.loader("test", collator("bucketed", run))) == 3
    with pytest.raises(UserError, match="train"):
        data.examples("train")
    others = Facts.from_dict({**run.facts.as_dict(), "vocab_size": 9})
    data = TextData(None, LabelledText, run.tokenizer, Bucketed(), str(cache), seed=3, facts=others)
    with pytest.raises(UserError, match="9 tokens"):
        data.prepare()


@every_case
def test_predictions_need_nothing_but_texts(case, cache):
    run = opened(case, cache)
    data = TextData(None, CASES[case][0], run.tokenizer, run.batching, str(cache), seed=3, facts=run.facts)
    texts = ("the lazy dog", "", "fox " * 9)
    given = [{"text": text, "source": text, "label": "ignored", "target": "ignored"} for text in texts]
    given = [given[0], {"text": "", "source": ""}, given[2]]
    loader, examples = data.rows_loader(given, collator(case, run), batch_size=2)
    assert sorted(index for batch in loader for index in batch["index"].tolist()) == [0, 1, 2]
    assert examples.statuses(given)[1] == "empty" and len(examples.unknown_tokens) == len(given)
    assert list(data.rows_loader([], collator(case, run))[0]) == []


def test_the_order_has_a_fingerprint(cache):
    data = opened("bucketed", cache)
    same = opened("bucketed", cache, batching=Bucketed(max_length=64, batch_size=8, evaluation_batch_size=99))
    assert data.order_fingerprint == same.order_fingerprint
    others = [
        opened("bucketed", cache, seed=4),
        opened("bucketed", cache, batching=Bucketed(max_length=64, batch_size=9)),
        opened("bucketed", cache, splits={**SPLITS, "train": SPLITS["train"][:-1]}),
    ]
    assert len({data.order_fingerprint, *(other.order_fingerprint for other in others)}) == 4


def test_the_fingerprint_is_that_of_the_rows_that_were_opened(cache, tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in SPLITS["train"]))

    def of_file() -> TextData:
        source = Files(train=str(file), label="label", validation_share=0.2)
        data = TextData(source, LabelledText, TokenizerSpec("word", 64), Bucketed(), str(cache), seed=3)
        data.prepare()
        return data

    data = of_file()
    file.rename(tmp_path / "moved")
    before = data.order_fingerprint, data.fingerprint("train"), data.fingerprint("validation")
    file.write_text('{"text": "another", "label": "short"}')  # an edit while it trains, undone before the resume
    assert (data.order_fingerprint, data.fingerprint("train"), data.fingerprint("validation")) == before
    (tmp_path / "moved").replace(file)
    again = of_file()
    assert (again.order_fingerprint, again.fingerprint("train"), again.fingerprint("validation")) == before


def test_rows_read_before_an_edit_are_not_cached_as_those_after_it(tmp_path):
    file = tmp_path / "train.jsonl"

    def write(word: str) -> None:
        file.write_text("\n".join(json.dumps({"text": f"{word} {n}", "label": "ab"[n % 2]}) for n in range(9)))

    def texts(edit: str | None = None) -> list[str]:
        source = Files(train=str(file), label="label")
        data = TextData(source, LabelledText, TokenizerSpec("char", 64), Bucketed(), str(tmp_path / "cache"), seed=3)
        list(data.source.rows("train"))
        if edit:
            write(edit)
        ids = data.examples("train").encoded
        return [data.tokenizer.decode(ids.ids[a:b].tolist()) for a, b in pairwise(ids.offsets.tolist())]

    write("old")
    assert texts(edit="new")[0] == "old 0"
    assert texts()[0] == "new 0"


def test_a_checkpoint_does_not_ask_the_source(cache, monkeypatch):
    data = opened("causal", cache)
    monkeypatch.setattr(data.source, "fingerprint", lambda split: pytest.fail("asked the source at a save"))
    monkeypatch.setattr(data.source, "rows", lambda split: pytest.fail("read the source at a save"))
    assert data.order_fingerprint == data.order_fingerprint


def test_a_batching_of_the_other_form_is_refused(cache):
    with pytest.raises(UserError, match="try batching=packed"):
        opened("causal", cache, batching=Bucketed())
    with pytest.raises(UserError, match="try batching=bucketed or batching=token_budget"):
        opened("bucketed", cache, batching=Packed())


@pytest.mark.parametrize(
    ("case", "has", "message"),
    [
        (
            "paired",
            ("text", "label"),
            r"needs source and target, but the data has text and label\. Try data\.source=COLUMN data\.target",
        ),
        ("prompted", ("source",), r"needs source and target, but the data has source\. Try data\.target=COLUMN"),
        (
            "bucketed",
            ("source", "target"),
            r"needs text and label, but the data has source and target\. Try data\.text=",
        ),
    ],
)
def test_texts_in_place_of_pairs_and_pairs_in_place_of_texts_are_refused(cache, case, has, message):
    with pytest.raises(UserError, match=message):
        opened(case, cache, splits={"train": [dict.fromkeys(has, "fox")]})


def test_pairs_have_one_vocabulary_of_both_sides_or_two(cache):
    joint = opened("paired", cache)
    assert joint.facts.target_vocab_size is None and joint.target_tokenizer is joint.tokenizer
    assert joint.tokenizer.unk_id not in joint.tokenizer.encode("fox FOX the THE")
    apart = opened("paired", cache, target_tokenizer=TokenizerSpec("char", 40))
    assert (apart.tokenizer.kind, apart.target_tokenizer.kind) == ("word", "char")
    assert apart.facts.vocab_size == apart.tokenizer.vocab_size < joint.facts.vocab_size
    assert apart.facts.target_vocab_size == apart.target_tokenizer.vocab_size
    assert apart.tokenizer.encode("fox FOX")[1] == apart.tokenizer.unk_id  # of the sources alone
    assert set(apart.target_tokenizer.encode("Of")) >= {apart.target_tokenizer.unk_id}  # of the targets alone
    assert apart.report["train"]["unknown_share"] == 0
    row = apart.texts("train")[5]
    labels = apart.examples("train")[(0, 5)]["labels"][:-1].tolist()
    assert apart.target_tokenizer.decode(labels) == row["target"]
    for case in ("prompted", "causal"):
        with pytest.raises(UserError, match="one sequence: try target_tokenizer=null"):
            opened(case, cache, target_tokenizer=TokenizerSpec("char", 40))


def test_a_finished_run_lends_both_tokenizers(cache):
    run = opened("paired", cache, target_tokenizer=TokenizerSpec("char", 40))

    def lent(**words) -> TextData:
        return TextData(None, PairedText, run.tokenizer, run.batching, str(cache), seed=3, facts=run.facts, **words)

    data = lent(target_tokenizer=run.target_tokenizer)
    rows = [{"source": "fox"}, {"source": ""}, {"source": "fox " * 70}]
    loader, examples = data.rows_loader(rows, collator("paired", run), batch_size=2)
    assert sorted(index for batch in loader for index in batch["index"].tolist()) == [0, 1, 2]
    assert examples.truncated_rows.tolist() == [False, False, True]
    assert data.facts == run.facts and data.target_tokenizer is run.target_tokenizer
    with pytest.raises(UserError, match="the target tokenizer has none"):
        lent().prepare()


def test_what_is_said_of_pairs_counts_both_sides(cache, caplog):
    rows = [*PAIRS["train"], {"source": "", "target": "THE"}, {"source": "fox " * 99, "target": "FOX"}]
    with caplog.at_level("INFO"):
        data = opened("paired", cache, splits={**PAIRS, "train": rows})
    assert "1 rows with cut sources, 1 rows with empty sides" in caplog.text
    report = data.report["train"]
    assert report["rows"] == 205 == len(data.texts("train"))
    words = sum(len(row["source"].split()) + len(row["target"].split()) + 2 for row in PAIRS["train"])
    assert report["tokens"] == words + 1 + 2 + 64 + 2
    assert data.tokens_per_batch == report["tokens"] / data.batches_per_epoch
    real, places = 0, 0
    for batch in data.train_loader(collator("paired", data)):
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        real += int(mask.sum()) + int((batch["labels"] != -100).sum())
        places += batch["input_ids"].numel() + batch["labels"].numel()
    assert real == report["tokens"]
    assert report["padding_share"] == pytest.approx(1 - real / places)
    targets = PAIRS["test"]
    scored = sum(len(row["target"].split()) + 1 for row in targets)
    assert data.examples("test").bytes_per_token == sum(len(row["target"].encode()) for row in targets) / scored


@pytest.mark.parametrize("case", ["causal", "spans"])
def test_language_models_read_both_sides_of_pairs(case, cache):
    data = opened(case, cache, splits=PAIRS)
    assert data.report["train"]["documents"] == 406
    text = data.tokenizer.decode(data.examples("test").encoded.ids.tolist())
    assert text == " ".join(f"{row['source']} {row['target']}" for row in PAIRS["test"])


def test_a_missing_split_is_named(cache):
    with pytest.raises(UserError, match="validation"):
        opened("bucketed", cache, splits={"train": SPLITS["train"]}).examples("validation")


def test_a_label_that_training_lacks_is_found_before_training(cache):
    splits = {**SPLITS, "test": [{"text": "fox", "label": "huge"}]}
    with pytest.raises(UserError, match="row 1 of the test split has the label 'huge'"):
        opened("bucketed", cache, splits=splits)


def test_data_are_prepared_once(cache, monkeypatch):
    opened("bucketed", cache)
    monkeypatch.setattr("groundup.data.encoding.encode", lambda *words: pytest.fail("encoded again"))
    monkeypatch.setattr("groundup.text.tokenizer.Tokenizer.train", lambda *words: pytest.fail("trained again"))
    data = opened("token_budget", cache)
    examples = data.examples("train")
    data.prepare()
    assert data.examples("train") is examples


@pytest.mark.parametrize("file", ["ids.bin", "labels.bin", "offsets.bin", "about.json"])
@pytest.mark.parametrize("half", [True, False])
def test_a_damaged_cache_is_not_trained_on(tmp_path, file, half):
    expected = list(module("bucketed", tmp_path).train_dataloader())
    for path in tmp_path.glob(f"*/{file}"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if half else bytes(len(content)))
    assert_same(list(module("bucketed", tmp_path).train_dataloader()), expected)


@every_case
def test_a_sequence_that_the_model_has_no_room_for_is_refused(case, cache):
    data = opened(case, cache)
    longest = max(data.examples(split).longest for split in ("train", "validation"))
    data.check_lengths(longest)
    data.check_lengths(None)
    with pytest.raises(UserError, match=rf"try model\.max_length={longest}"):
        data.check_lengths(longest - 1)
