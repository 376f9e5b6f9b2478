"""Word vectors out of files, as these are found, and out of text, against the definition."""

from __future__ import annotations

import gzip
import random

import numpy as np
import pytest

from groundup.data import ppmi
from groundup.data.ppmi import SMOOTHING, WINDOW, count_pairs, learn_vectors
from groundup.data.vectors import SIZE, read_vectors, spellings, width_of
from groundup.errors import UserError
from groundup.text.tokenizer import Tokenizer

LINES = ["the 1 2 -3", "cat 0.5 1e-1 4", "The 9 9 9", ", 3 2 1", ". . 7 8 9", "好 1 1 2"]


def written(path, lines, header="", end="\n"):
    text = header + "".join(line + end for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.vec.gz"])
@pytest.mark.parametrize("header", ["", "6 3\n"])
@pytest.mark.parametrize("end", ["\n", " \r\n"])
def test_a_file_gives_each_word_its_vector_up_to_one_scale(tmp_path, name, header, end):
    words = ["", "the", "The", "CAT", ",", ". .", "好", "dog", "nothing"]
    table = read_vectors(written(tmp_path / name, LINES, header, end), words)
    expected = [[0] * 3, [1, 2, -3], [9, 9, 9], [0.5, 0.1, 4], [3, 2, 1], [7, 8, 9], [1, 1, 2], [0] * 3, [0] * 3]
    expected = np.array(expected, dtype=np.float32)
    scale = table[1, 0]
    np.testing.assert_allclose(table, expected * scale, rtol=1e-5)
    assert np.sqrt(np.square(table[table.any(axis=1)]).mean()) == pytest.approx(SIZE)
    assert width_of(tmp_path / name) == 3


def test_numbers_whose_squares_are_beyond_float32_are_scaled_like_any_other(tmp_path):
    one, other = (
        read_vectors(written(tmp_path / "a.txt", [f"the 1e{size} 2e{size}", f"cat 3e{size} -1e{size}"]), ["the", "cat"])
        for size in (0, 30)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert one.dtype == other.dtype == np.float32  # what an embedding takes


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["the 1 2 3", "cat 1 2"], "line 2: 2 numbers after the word, not 3"),
        (["the 1 2 3", "cat 1 x 3"], "line 2: not all are numbers"),
        (["the 1 2 3", "cat 1 nan 3"], "line 2: not all are numbers"),
        (["the 1 2 3", "cat 1 inf 3"], "line 2: not all are numbers"),
        (["a text of words"], "not all are numbers"),
        (["word"], "no file of vectors"),
        ([], "is empty"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, lines, said):
    file = written(tmp_path / "a.txt", lines)
    with pytest.raises(UserError, match=said) as refusal:
        read_vectors(file, ["the", "cat"])
    assert str(file) in str(refusal.value) and "\n" not in str(refusal.value)


def test_what_is_no_file_of_vectors_is_refused_in_one_line(tmp_path):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"the 1 2 3\n" * 9999)[:-20])
    (tmp_path / "model.bin").write_bytes(bytes(range(256)) * 9)
    for name, said in {
        "missing": "no file",
        "": "is a folder",
        "cut.gz": "cut off",
        "model.bin": "no file of|not all",
    }.items():
        with pytest.raises(UserError, match=said):
            read_vectors(tmp_path / name, ["the"])


@pytest.mark.parametrize("kind", ["word", "byte_bpe", "wordpiece", "unigram"])
def test_words_are_looked_up_as_they_are_spelled(kind):
    tokenizer = Tokenizer.train(["the cat, the dog."] * 20, kind, 340 if kind == "byte_bpe" else 60)
    said = spellings(tokenizer)
    assert len(said) == tokenizer.vocab_size and said[:7] == [""] * 7
    assert {"the", "cat", ","} <= {*said}


def test_pairs_are_counted_as_by_hand_whatever_the_block(monkeypatch):
    draw = random.Random(3)
    texts = [[draw.randrange(1, 20) for _ in range(draw.randrange(30))] for _ in range(40)]
    expected = np.zeros((20, 20))
    for text in texts:
        for i, one in enumerate(text):
            for j, other in enumerate(text):
                if 0 < abs(i - j) <= WINDOW and min(one, other) >= 7:
                    expected[one, other] += WINDOW + 1 - abs(i - j)
    for block in (40, 1 << 19):  # longer than any text
        monkeypatch.setattr(ppmi, "_BLOCK", block)
        np.testing.assert_array_equal(count_pairs(texts, 20).toarray(), expected)


def test_vectors_give_back_the_information_that_words_have_on_contexts():
    draw = random.Random(4)
    texts = [[draw.randrange(7, 30) for _ in range(12)] for _ in range(30)]
    pairs = count_pairs(texts, 32).toarray()  # 30 and 31 never occur
    context = pairs.sum(0) ** SMOOTHING
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(pairs / pairs.sum(1, keepdims=True) / (context / context.sum()))
    information = np.nan_to_num(np.maximum(information, 0))
    left, values, _ = np.linalg.svd(information)
    exact = left[:, :8] * np.sqrt(values[:8])
    table = learn_vectors(texts, 32, 8, seed=1)
    assert table.dtype == np.float32 and not table[[*range(7), 30, 31]].any()
    np.testing.assert_allclose(np.linalg.norm(table[7:30], axis=1), SIZE * 8**0.5, rtol=1e-5)
    unit, cosine = table / (SIZE * 8**0.5), exact[7:30] @ exact[7:30].T
    cosine /= np.outer(*[np.sqrt(np.diag(cosine))] * 2)
    assert np.abs(unit[7:30] @ unit[7:30].T - cosine).max() < 0.15  # the SVD is a randomized one
    np.testing.assert_array_equal(learn_vectors(texts, 32, 8, seed=1), table)
    assert not np.array_equal(learn_vectors(texts, 32, 8, seed=2), table)


def test_words_of_the_same_company_are_alike():
    draw = random.Random(5)
    groups = [range(7, 17), range(17, 27)]
    texts = [[draw.choice(group) for _ in range(8)] for group in groups for _ in range(200)]
    table = learn_vectors(texts, 27, 4, seed=0)
    unit = table[7:] / np.linalg.norm(table[7:], axis=1, keepdims=True)
    alike = unit @ unit.T
    assert alike[:10, :10].mean() > 0.5 > 0.2 > alike[:10, 10:].mean()


def test_no_text_and_few_words_give_a_table_all_the_same():
    assert not learn_vectors([], 30, 5, 0).any()
    assert not learn_vectors([[8], [], [1, 1, 1]], 30, 5, 0).any()
    assert learn_vectors([[8, 9, 8]], 10, 128, 0).shape == (10, 128)
