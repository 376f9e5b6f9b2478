"""Word vectors out of files as GloVe and fastText write them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from groundup.data.formats.text import kind_of, opened
from groundup.errors import UserError
from groundup.text.tokenizer import Tokenizer

SIZE = 0.3  # root mean square of the numbers of a table


def spellings(tokenizer: Tokenizer) -> list[str]:
    """What each token of a vocabulary says, without blanks around it; nothing for special tokens."""
    return [tokenizer.decode([token]).strip() for token in range(tokenizer.vocab_size)]


def read_vectors(path: Path, words: Sequence[str]) -> np.ndarray:
    """The vectors of ``words`` (V,) from a text file, also packed by gzip: (V, D) float32, zeros where there is none.

    A line is a word and D numbers, with blanks between them, as of GloVe; a first line of two whole numbers, as of
    fastText, is passed over. A word that the file lacks has the vector of its small letters. All are scaled alike, to
    numbers of the size ``SIZE``. The file is read once, line by line.

    Raises UserError: missing, no such file, damaged; a line with too few numbers, or something else than numbers.
    """
    wanted = {word.encode("utf-8", "surrogatepass") for text in words if text for word in (text, text.lower())}
    found: dict[bytes, np.ndarray] = {}
    width = None
    for number, line in lines_of(path):
        width = width or width_of(path, line)
        parts = line.rsplit(b" ", width)
        if len(parts) <= width:
            raise UserError(
                f"{path} line {number}: {len(parts) - 1} numbers after the word, not {width}. Mend the line"
            )
        if parts[0] in wanted and parts[0] not in found:
            found[parts[0]] = numbers_of(parts[1:], f"{path} line {number}")
    assert width is not None
    table = np.zeros((len(words), width), dtype=np.float32)
    for row, text in enumerate(words):
        known = (found.get(one.encode("utf-8", "surrogatepass")) for one in (text, text.lower()))
        if text and (vector := next((one for one in known if one is not None), None)) is not None:
            table[row] = vector
    filled = table[table.any(axis=1)]
    return table * np.float32(SIZE / np.sqrt(np.square(filled, dtype=np.float64).mean())) if len(filled) else table


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines with vectors, and their numbers."""
    try:
        with opened(path) as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip()
                if number == 1:
                    if kind := kind_of(path, line):
                        raise UserError(f"{path} is {kind}")
                    if len(line.split()) == 2:
                        continue
                if line:
                    yield number, line
            if not file.tell():
                raise UserError(f"{path} is empty")
    except FileNotFoundError:
        raise UserError(f"no file {path}. Try model.vectors=ppmi, which learns vectors from the text itself") from None
    except IsADirectoryError:
        raise UserError(
            f"{path} is a folder: name a file in it, as in model.vectors={path}/glove.6B.100d.txt"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut off gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def width_of(path: Path, line: bytes | None = None) -> int:
    """How many numbers a vector has, from the first of them. Raises UserError for a file of something else."""
    if line is None:
        _, line = next(lines_of(path), (0, b""))
    numbers = line.split(b" ")[1:]
    if len(numbers) < 2:
        raise UserError(
            f"{path}: no file of vectors: its first line is not a word and numbers with blanks between them"
        )
    numbers_of(numbers, f"{path}, first vector")
    return len(numbers)


def numbers_of(parts: Sequence[bytes], where: str) -> np.ndarray:
    try:
        vector = np.array(parts, dtype=np.float32)
    except ValueError:
        vector = np.array([np.nan], dtype=np.float32)
    if not np.isfinite(vector).all():
        raise UserError(f"{where}: not all are numbers. Mend the line, or remove it")
    return vector
