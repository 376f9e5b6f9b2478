"""N-grams of words and of characters, counted with arrays.

An n-gram is the 64-bit hash of its parts; there is no table of strings. So counting is fast, a vocabulary is an array, and what
was counted once serves every fold. Among a million n-grams two share a hash with a chance of 1 in 40 million.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from groundup.data.roles import Row
from groundup.data.seeding import GOLDEN
from groundup.text.words import COMBINING

log = logging.getLogger(__name__)
Text = Literal["text", "text_pair"]
Unit = Literal["word", "inside", "character"]
LONGEST = 8  # parts of an n-gram, at most
MOST = 60_000_000  # n-grams of all rows that are kept at a time, each in 8 bytes, more while they are made
# Words, and punctuation marks by themselves: right for raw and for tokenized text. Combining marks are part of a word.
_TOKEN = re.compile(rf"[\w{COMBINING}]+|[^\w\s]")
_CHUNK = 1 << 20  # characters counted at a time
_SAMPLE = 400  # texts whose n-grams foretell those of all
_SPACE = ord(" ")


@dataclass(frozen=True)
class Block:
    """What is counted of one column: n-grams of up to ``longest`` parts.

    unit: ``word``, words and marks; ``inside``, characters within a word, its edges being blanks; ``character``, any
    characters, for scripts that do not part words.
    """

    role: Text
    unit: Unit
    longest: int


class Counts:
    """How often each n-gram occurs in each row.

    Args:
        names: (V,) uint64, the hashes of the n-grams, rising.
        matrix: (N, V) sparse, float32.
    """

    def __init__(self, names: np.ndarray, matrix: Any) -> None:
        self.names, self.matrix = names, matrix

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, rows: np.ndarray) -> Counts:
        return Counts(self.names, self.matrix[rows])

    def frequent(self, least: int, most: int) -> np.ndarray:
        """The n-grams in at least ``least`` rows; of these the ``most`` that occur most often. Rising."""
        columns = np.flatnonzero(np.bincount(self.matrix.indices, minlength=len(self.names)) >= least)
        if len(columns) > most:
            total = np.bincount(self.matrix.indices, self.matrix.data, minlength=len(self.names))[columns]
            columns = np.sort(columns[np.argsort(-total, kind="stable")[:most]])
        return self.names[columns]

    def onto(self, names: np.ndarray) -> Any:
        """The columns of the n-grams ``names`` (F,) in their order, as a sparse matrix (N, F)."""
        from scipy.sparse import csr_matrix

        if len(names) == 0:
            return csr_matrix((len(self), 0), dtype=np.float32)
        place = np.searchsorted(names, self.names).clip(max=len(names) - 1)
        place[names[place] != self.names] = -1
        columns = place[self.matrix.indices]
        kept = columns >= 0
        ends = np.concatenate([[0], np.cumsum(kept)])[self.matrix.indptr]
        return csr_matrix((self.matrix.data[kept], columns[kept].astype(np.int32), ends), shape=(len(self), len(names)))


@dataclass(frozen=True)
class Counted:
    """Rows as the counts of each block."""

    blocks: tuple[Block, ...]
    counts: tuple[Counts, ...]

    def __len__(self) -> int:
        return len(self.counts[0])

    def __getitem__(self, rows: np.ndarray) -> Counted:
        return Counted(self.blocks, tuple(counts[rows] for counts in self.counts))


def blocks_for(rows: Sequence[Row], words: int, characters: int) -> tuple[Block, ...]:
    """What to count of such rows: n-grams of up to ``words`` words and of up to ``characters`` characters, of each column.

    Texts without blanks between words are read by one to three characters instead. Where all n-grams would be more than
    memory has room for, the longest are left out, which is told.
    """
    roles: list[Text] = ["text", "text_pair"] if "text_pair" in rows[0] else ["text"]
    blocks = []
    for role in roles:
        texts = texts_of(rows, role)
        if without_spaces(texts):
            blocks.append(Block(role, "character", 3))
        else:
            blocks += [Block(role, "word", words)] if words else []
            blocks += [Block(role, "inside", characters)] if characters else []
    return tuple(_affordable(rows, block, MOST // len(blocks)) for block in blocks)


def count_rows(rows: Sequence[Row], blocks: Sequence[Block]) -> Counted:
    """The rows as counts."""
    return Counted(tuple(blocks), tuple(count(texts_of(rows, block.role), block) for block in blocks))


def count(texts: Sequence[str], block: Block) -> Counts:
    """The n-grams of each text."""
    from scipy.sparse import csr_matrix, vstack

    parts = []
    for chunk in _chunks(texts):
        grams, rows = zip(*_grams(chunk, block), strict=True)
        names, columns = np.unique(np.concatenate(grams), return_inverse=True)
        places = np.concatenate(rows)
        ones = np.ones(len(places), dtype=np.float32)
        parts.append((names, csr_matrix((ones, (places, columns.astype(np.int32))), shape=(len(chunk), len(names)))))
    if not parts:
        return Counts(np.zeros(0, np.uint64), csr_matrix((0, 0), dtype=np.float32))
    names = np.unique(np.concatenate([names for names, _ in parts]))
    matrices = []
    for own, matrix in parts:  # both rise, so that the columns of a row stay in order
        columns = np.searchsorted(names, own).astype(np.int32)[matrix.indices]
        matrices.append(csr_matrix((matrix.data, columns, matrix.indptr), shape=(matrix.shape[0], len(names))))
    return Counts(names, vstack(matrices, format="csr"))


def texts_of(rows: Sequence[Row], role: str) -> list[str]:
    return [row.get(role) or "" for row in rows]


def without_spaces(texts: Sequence[str]) -> bool:
    """Whether the texts are in a script that does not part words: more than a fifth of the letters are Han or kana."""
    sample = texts[:: max(1, len(texts) // _SAMPLE)]  # rows may be sorted by language
    letters = [character for text in sample for character in text[:500] if character.isalpha()]
    wide = sum(unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for character in letters)
    return wide > len(letters) / 5


def _affordable(rows: Sequence[Row], block: Block, most: int) -> Block:
    sample = texts_of(rows[:: max(1, len(rows) // _SAMPLE)], block.role)
    for longest in range(block.longest, 0, -1):
        smaller = Block(block.role, block.unit, longest)
        if longest == 1 or count(sample, smaller).matrix.nnz * len(rows) <= most * len(sample):
            break
    if longest < block.longest:
        log.info(
            "%s: n-grams of %d parts at most instead of %d (%s): more would not fit into memory",
            block.role, longest, block.longest, block.unit,
        )  # fmt: skip
    return smaller


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk, characters = [], 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if characters >= _CHUNK:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _grams(texts: Sequence[str], block: Block) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For one part, two, ... up to the longest: hashes of the n-grams, and the text that each stands in."""
    pieces = [_word_hashes(text) if block.unit == "word" else _codes(text, block.unit) for text in texts]
    text = np.repeat(np.arange(len(pieces), dtype=np.int32), [len(piece) for piece in pieces])
    items = np.concatenate(pieces)  # (T,)
    blank = items == _SPACE if block.unit == "inside" else np.zeros(len(items), dtype=bool)
    blanks = np.concatenate([[0], np.cumsum(blank)])
    grams = _mixed(items)
    for n in range(1, block.longest + 1):
        if n > 1:
            with np.errstate(over="ignore"):
                grams = _mixed(grams[:-1] * GOLDEN + items[n - 1 :])
        size = max(len(items) - n + 1, 0)
        grams = grams[:size]
        whole = text[:size] == text[n - 1 :]
        if block.unit == "inside" and n <= 2:  # a blank is the edge of a word, and nothing by itself
            whole &= ~(blank[:size] & blank[n - 1 :])
        elif block.unit == "inside":
            whole &= blanks[n - 1 : n - 1 + size] == blanks[1 : 1 + size]
        yield grams[whole], text[:size][whole]


def _codes(text: str, unit: str) -> np.ndarray:
    text = " ".join(text.lower().split())
    text = f" {text} " if unit == "inside" else text
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)


def _word_hashes(text: str) -> np.ndarray:
    return np.array([_word_hash(word) for word in _TOKEN.findall(text.lower())], dtype=np.uint64)


@functools.lru_cache(maxsize=1 << 20)
def _word_hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mixed(state: np.ndarray) -> np.ndarray:
    """Each number as another that looks drawn at random (the last steps of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
