"""Windows of a stream: every token scored once, documents kept apart, memory bounded."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from groundup.data.batching import Packed
from groundup.data.examples import SplitToEncode
from groundup.data.packing import PackedText
from groundup.data.sources.source import GivenRows
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.tasks.denoising import Denoising
from groundup.tasks.span_corruption import SpanCorruption
from groundup.text.tokenizer import Tokenizer

ALPHABET = "".join(chr(0x4E00 + number) for number in range(2000))  # so many that each token of a text can be another


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([ALPHABET], "char", vocab_size=3000)


def documents(sizes: list[int]) -> list[str]:
    begins = np.cumsum([0, *sizes])
    return [ALPHABET[begin:end] for begin, end in pairwise(begins)]


def packed(tokenizer, texts, length=8, cache=None, split="train", **words) -> PackedText:
    source = GivenRows({split: [{"text": text} for text in texts]})
    return PackedText(SplitToEncode(tokenizer, source, split, Packed(length=length, **words), cache, seed=5))


def examples(dataset: PackedText, epoch: int) -> list[dict]:
    count = len(dataset.lengths(training=epoch >= 0))
    return dataset.__getitems__([(epoch, index) for index in range(count)])


SIZES = [[5, 1, 30, 2, 9, 17], [100], [3, 4], [16], [17], [1] * 40, [2, 0, 6]]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("length", [4, 8])
def test_evaluation_scores_each_token_but_the_first_once(tokenizer, sizes, length):
    dataset = packed(tokenizer, documents(sizes), length)
    windows = examples(dataset, -1)
    ids = dataset.encoded.ids
    assert np.concatenate([window["labels"] for window in windows]).tolist() == ids[1:].tolist()
    assert np.concatenate([window["input_ids"] for window in windows]).tolist() == ids[:-1].tolist()
    assert [len(window["labels"]) for window in windows] == dataset.lengths(training=False).tolist()
    assert all(len(window["labels"]) == length for window in windows[:-1])


@pytest.mark.parametrize("sizes", [[50, 1, 300, 20, 9, 170, 3, 44], [700]], ids=str)
def test_an_epoch_scores_each_token_once_but_for_less_than_two_windows(tokenizer, sizes):
    dataset = packed(tokenizer, documents(sizes), 8)
    starts = set()
    for epoch in range(6):
        windows = examples(dataset, epoch)
        assert len(windows) == len(dataset)
        words = Counter(np.concatenate([window["labels"] for window in windows]).tolist())
        del words[tokenizer.eos_id]
        assert set(words.values()) == {1}
        assert sum(sizes) - len(words) < 2 * 8
        starts.add(int(windows[0]["input_ids"][0]))
        for window in windows:
            assert np.array_equal(window["input_ids"][1:], window["labels"][:-1])
            assert len(window["labels"]) == 8
    assert len(starts) > 3  # windows begin elsewhere in each epoch


def test_documents_come_in_another_order_each_epoch_and_stay_whole(tokenizer):
    texts = documents([20] * 30)
    dataset = packed(tokenizer, texts, 8)
    orders = []
    for epoch in range(2):
        windows = examples(dataset, epoch)
        stream = np.concatenate([windows[0]["input_ids"][:1], *[window["labels"] for window in windows]])
        parts = "".join("|" if token == tokenizer.eos_id else tokenizer.decode([token]) for token in stream).split("|")
        assert all(part in texts for part in parts[1:-1])
        orders.append(parts[1:-1])
    assert orders[0] != orders[1]


def test_windows_do_not_depend_on_the_company_they_are_fetched_in(tokenizer):
    dataset, other = (packed(tokenizer, documents([50, 70, 3, 90]), 8, mask_documents=True) for _ in range(2))
    together = examples(dataset, 2)
    for index in (7, 0, 3):
        alone = other[(2, index)]
        assert alone.keys() == together[index].keys()
        assert all(np.array_equal(alone[name], together[index][name]) for name in alone)
        other[(3, index)]  # another epoch in between


@pytest.mark.parametrize("epoch", [-1, 0])
def test_document_ids_and_positions_start_again_with_each_document(tokenizer, epoch):
    dataset = packed(tokenizer, documents([5, 1, 30, 2, 9, 17]), 16, mask_documents=True)
    for window in examples(dataset, epoch):
        document = position = 0
        for place, token in enumerate(window["input_ids"]):
            if token == tokenizer.eos_id and place > 0:
                document, position = document + 1, 0
            assert (window["document_ids"][place], window["position_ids"][place]) == (document, position)
            position += 1
        assert len(window["document_ids"]) == len(window["input_ids"])
        assert max(window["position_ids"]) < dataset.longest == 16
    assert "document_ids" not in packed(tokenizer, documents([9]), 4)[(epoch, 0)]
    assert packed(tokenizer, documents([5, 1, 9]), 16, mask_documents=True).longest == 10


@pytest.mark.parametrize("epoch", [-1, 0, 1])
def test_a_masked_document_is_read_as_a_text_to_predict_is(tokenizer, epoch):
    texts = documents([5, 1, 30, 2, 9, 17, 1])
    columns = ("input_ids", "labels", "position_ids")
    alone = set()
    for window in examples(packed(tokenizer, texts, 64, split="predict"), -1):
        alone.add((*window["input_ids"], -1, *window["labels"], -1, *range(len(window["labels"]))))
    (window, *_) = examples(packed(tokenizer, texts, 71, mask_documents=True), epoch)
    found = set()
    for document in range(1, window["document_ids"][-1]):  # the first and the last may be cut by the window
        own = window["document_ids"] == document
        first, second, third = (tuple(window[name][own].tolist()) for name in columns)
        found.add((*first, -1, *second, -1, *third))
    assert len(found) >= 4 and found <= alone


def test_documents_are_separated_and_a_single_one_is_not(tokenizer):
    eos = tokenizer.eos_id
    first, second = ALPHABET[:3], ALPHABET[3:5]
    stream = packed(tokenizer, [first, "", second]).encoded.ids.tolist()
    assert stream == [*tokenizer.encode(first), eos, *tokenizer.encode(second), eos]
    assert packed(tokenizer, [ALPHABET[:9]]).encoded.ids.tolist() == tokenizer.encode(ALPHABET[:9])


def test_both_texts_of_a_pair_are_documents(tokenizer):
    source = GivenRows({"train": [{"text": ALPHABET[:3], "text_pair": ALPHABET[3:7]}]})
    dataset = PackedText(SplitToEncode(tokenizer, source, "train", Packed(length=4)))
    assert dataset.documents == 2 and dataset.size == 9


@pytest.mark.parametrize("task", [SpanCorruption, Denoising])
def test_documents_are_not_kept_apart_for_an_encoder_decoder(task):
    task.examples.check_batching(Packed(length=8))
    with pytest.raises(UserError, match=r"Try batching\.mask_documents=false"):
        task.examples.check_batching(Packed(length=8, mask_documents=True))


def test_rows_to_predict_are_windows_of_their_own(tokenizer):
    texts = [ALPHABET[:3], "", ALPHABET[3:40]]
    dataset = packed(tokenizer, texts, length=16, split="predict")
    windows, eos = examples(dataset, -1), tokenizer.eos_id
    assert dataset.lengths(training=False).tolist() == [4, 1, 16] == [len(window["labels"]) for window in windows]
    for text, window in zip(texts, windows, strict=True):
        assert window["labels"].tolist() == [*tokenizer.encode(text), eos][:16]
        assert window["input_ids"].tolist() == [eos, *tokenizer.encode(text)][:16]


def test_bytes_a_token_turn_nats_into_bits_a_byte(tokenizer):
    dataset = packed(tokenizer, documents([10, 20]))
    assert dataset.bytes_per_token == pytest.approx(
        3 * 30 / 31
    )  # 3 UTF-8 bytes each; 30 characters and 2 <eos>, less one
    assert dataset.report["documents"] == 2 and dataset.report["tokens"] == 32


def test_unknown_characters_are_counted(tokenizer):
    assert packed(tokenizer, [ALPHABET[:6] + "ab"]).report["unknown_share"] == 0.25


@pytest.mark.parametrize("texts", [[], [""], [ALPHABET[0]]])
def test_too_little_text_is_refused(tokenizer, texts):
    with pytest.raises(UserError, match=r"train split (has no text|is empty)"):
        packed(tokenizer, texts)


def test_text_is_encoded_once_and_mapped_from_disk(tokenizer, tmp_path, monkeypatch):
    texts = documents([40, 50])
    first = packed(tokenizer, texts, cache=Cache(tmp_path))
    assert first.encoded.ids.dtype == np.uint16
    monkeypatch.setattr(tokenizer, "encode_batch", lambda *_: pytest.fail("encoded again"))
    second = packed(tokenizer, texts, length=4, cache=Cache(tmp_path))
    assert np.array_equal(first.encoded.ids, second.encoded.ids)
    assert not second.encoded.ids.flags.owndata and not second.encoded.ids.flags.writeable
    monkeypatch.undo()
    assert packed(tokenizer, documents([41, 49]), cache=Cache(tmp_path)).encoded.offsets.tolist() == [0, 42, 92]


def test_a_worker_receives_a_path_instead_of_the_tokens(tokenizer, tmp_path):
    dataset = packed(tokenizer, documents([900, 1000]), cache=Cache(tmp_path))
    state = pickle.dumps(dataset)
    assert len(state) < 2000 < dataset.encoded.ids.nbytes
    copy = pickle.loads(state)
    assert np.array_equal(copy[(0, 3)]["labels"], dataset[(0, 3)]["labels"])
    in_memory = packed(tokenizer, documents([9]), 4)
    assert np.array_equal(pickle.loads(pickle.dumps(in_memory))[(0, 0)]["labels"], in_memory[(0, 0)]["labels"])


def test_large_vocabularies_take_four_bytes(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "vocab_size", 1 << 17)
    monkeypatch.setattr(tokenizer, "encode_batch", lambda texts, _: [[100_000] * len(text) for text in texts])
    dataset = packed(tokenizer, documents([5, 5]), 4)
    assert dataset.encoded.ids.dtype == np.uint32
    assert dataset[(-1, 0)]["labels"].tolist() == [100_000] * 4


class ByteTokenizer:
    """One token a byte, quickly: what is measured is our memory."""

    vocab_size, unk_id, eos_id, fingerprint = 300, 1, 3, "bytes"

    def encode_batch(self, texts: list[str], continued: list[bool]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]


class Generated(GivenRows):
    """30 MB of text, made while it is read."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__({"train": []})
        self.count, self.size = rows, size

    def rows(self, split: str):
        return ({"text": f"{number} words " * (self.size // 12)} for number in range(self.count))

    def fingerprint(self, split: str) -> str:
        return f"{self.count} {self.size}"


def test_memory_does_not_grow_with_a_streamed_corpus(tmp_path):
    tracemalloc.start()
    dataset = PackedText(SplitToEncode(ByteTokenizer(), Generated(10_000, 3000), "train", Packed(), Cache(tmp_path)))
    dataset.__getitems__([(0, index) for index in range(64)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.size > 25e6
    assert peak < 12e6


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "wordpiece", "word"])
def test_a_huge_document_is_cut_where_tokens_end(kind, monkeypatch):
    text = "\n\n".join(f"Chapter {n}.\n  It was a dark   and stormy night, {n} of them." for n in range(80))
    tokenizer = Tokenizer.train([text], kind, vocab_size=400)
    whole = packed(tokenizer, [text]).encoded.ids.tolist()
    monkeypatch.setattr("groundup.data.encoding.BLOCK", 100)
    monkeypatch.setattr("groundup.text.pieces.PIECE", 100)
    assert packed(tokenizer, [text]).encoded.ids.tolist() == whole == tokenizer.encode(text)
    monkeypatch.setattr("groundup.text.pieces.PIECE", 7)  # words longer than a piece: cut anywhere, nothing lost
    cut = packed(tokenizer, [text]).encoded.ids.tolist()
    assert cut == tokenizer.encode(text)
    if kind in ("byte_bpe", "unigram"):
        assert tokenizer.decode(cut) == tokenizer.decode(whole) == text
