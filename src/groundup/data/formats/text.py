"""Text files as they are found: packed or not, in UTF-8, as a byte order mark says, or as the user says."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from groundup.data.reading import Located, Reading
from groundup.errors import UserError

SUFFIXES = (".txt",)
OPTIONS = ("txt", "encoding")
COLUMNS = ("text",)
_HEAD = 1 << 16  # bytes that are looked at before a file is read
_MARKS = {  # byte order marks; those of UTF-32 begin with those of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_TEXT = {
    b"PAR1": "a parquet file: call it .parquet",
    b"PK\x03\x04": "a zip archive or an Excel workbook: save its table as .csv (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its table as .csv (UTF-8)",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it first",
    b"\xfd7zXZ": "packed with xz: unpack it first",
    b"BZh": "packed with bzip2: unpack it first",
    b"%PDF": "a PDF: extract its text first",
    b"\x1f\x8b": "packed twice: unpack it once",  # what was packed once has been unpacked by now
    b"version https://git-lfs": "a pointer of Git LFS: get the file itself with git lfs pull",
    b"<!doctype html": "a web page: fetch the file that it shows",
    b"<html": "a web page: fetch the file that it shows",
}
# Asked in this order when a file is not UTF-8. Bytes of one often decode in another, so a reader has to choose.
_LIKELY = ("gb18030", "big5", "euc_kr", "shift_jis", "euc_jp", "cp1252", "cp1250", "cp1251", "koi8_r", "latin_1")
_SHOWN, _EXCERPT = 3, 24  # encodings in a message, characters of each
_LEAST = 0.7  # plausibility of a reading that is shown
_SAMPLE = 20  # lines by which encodings are compared


def read(path: Path, reading: Reading) -> Iterator[Located]:
    r"""The document, or its lines without their end, which is \n or \r\n (str.splitlines would also cut at U+2028)."""
    with open_text(path, reading.encoding) as file:
        if reading.txt == "file":
            if text := file.read():
                yield str(path), {"text": text}
        else:
            for number, line in enumerate(file, 1):
                yield f"{path} line {number}", {"text": line.removesuffix("\n").removesuffix("\r")}


def opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The bytes of a file, unpacked if they were packed with gzip, whatever it is called.

    Raises UserError for a .gz that is not packed.
    """
    with open(path, "rb") as file:
        head = file.read(2)
    if head == b"\x1f\x8b":
        return gzip.open(path, "rb")
    if head and path.suffix == ".gz":
        raise UserError(f"{path} is not packed, or damaged: call it {path.with_suffix('').name}, or fetch it again")
    return open(path, "rb")


def kind_of(path: Path, head: bytes) -> str | None:
    """What a file is that begins with ``head``, if it is not what its name says; a .txt may hold a web page."""
    kinds = (kind for start, kind in _NO_TEXT.items() if head.lower().startswith(start.lower()))
    return next((kind for kind in kinds if "web page" not in kind or ".txt" not in path.name), None)


@contextlib.contextmanager
def open_text(path: Path, encoding: str | None = None, newline: str = "\n") -> Iterator[IO[str]]:
    r"""Text with its line ends as they are; a byte order mark is dropped.

    encoding: of a file that is neither UTF-8 nor begins with a byte order mark.
    newline: as of ``open``; a lone carriage return ends a line only in a file that begins without any \n.
    """
    found, carriage_returns = _look(path, encoding)
    if newline == "\n" and carriage_returns:
        newline = "\r"
    try:
        with io.TextIOWrapper(opened(path), encoding=found, newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise _undecodable(path, found) from error


def _look(path: Path, encoding: str | None) -> tuple[str, bool]:
    """The encoding of a file, and whether its lines end with a lone carriage return."""
    with opened(path) as file:
        head = block = file.read(_HEAD)
        for mark, name in _MARKS.items():
            if head.startswith(mark):
                return name, False
        if kind := kind_of(path, head):
            raise UserError(f"{path} is {kind}")
        carriage_returns = b"\r" in head and b"\n" not in head
        if encoding is None:
            _refuse_utf16(path, head)
            return "utf-8", carriage_returns
        while block and block.isascii():
            block = file.read(_HEAD)
    return "utf-8" if block and _is_utf8(block) else encoding, carriage_returns


def _is_utf8(block: bytes) -> bool:
    """Whether a block, cut off anywhere, is UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_utf16(path: Path, head: bytes) -> None:
    """Letters of ASCII in UTF-16 are valid UTF-8, with a NUL beside each."""
    zeros = head.count(0)
    if zeros > len(head) * 2 / 3:
        raise UserError(f"{path}: {zeros / len(head):.0%} of its bytes are NUL: it is damaged, or no text")
    if zeros > len(head) / 4:
        order = "be" if head[::2].count(0) > zeros / 2 else "le"
        raise UserError(f"{path}: {zeros / len(head):.0%} of its bytes are NUL. Try data.encoding=utf-16-{order}")


def _undecodable(path: Path, encoding: str) -> UserError:
    """Where the first bad byte stands (a decoder counts from the start of its buffer), and how the file could be read."""
    name = encoding.upper().removesuffix("-SIG")
    if name.startswith(("UTF-16", "UTF-32")):  # whose lines cannot be told apart by their bytes
        return UserError(f"{path}: not {name}, or cut off. Fetch it again, or try another data.encoding")
    offset, place, good = 0, "", 0
    bad: list[tuple[bytes, int]] = []  # lines, and where the first bad byte stands in each
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
                good += not line.isascii()
            except UnicodeDecodeError as error:
                place = place or f"at byte {offset + error.start} (line {number})"
                bad.append((line, error.start))
            offset += len(line)
            if len(bad) == _SAMPLE:
                break
    if good > 10 * len(bad):
        return UserError(f"{path}: damaged {place}: not {name}, as the lines before it are. Mend that line")
    readings = " or ".join(f"data.encoding={name} ({text})" for name, text in _readings(path, bad))
    if not readings:
        return UserError(f"{path}: not {name} {place}, and like no language in any other encoding. Is it a text?")
    return UserError(f"{path}: not {name} {place}. Which is right? {readings}")


def _readings(path: Path, lines: Sequence[tuple[bytes, int]]) -> list[tuple[str, str]]:
    """Encodings in which all the lines look like language, the most likely first, and the first line in each of them."""
    texts: dict[str, str] = {}  # encoding -> lines
    shown: dict[str, str] = {}  # encoding -> the first line, around its bad byte
    first, start = lines[0]
    for name in _LIKELY:
        with contextlib.suppress(UnicodeDecodeError):
            text = "\n".join(line.decode(name) for line, _ in lines)
            if text not in texts.values():
                begin = max(0, len(first[:start].decode(name, "replace")) - _EXCERPT // 2)
                texts[name], shown[name] = text, first.decode(name)[begin:]
    with opened(path) as file:
        head = file.read(_HEAD)
    for name in ("utf-16-le", "utf-16-be"):  # where a line ends is known only once it is decoded
        text = head[: len(head) // 2 * 2].decode(name, "replace")
        if "\n" in text:
            texts[name] = shown[name] = text
    likely = {name: plausibility(text) for name, text in texts.items()}
    names = sorted((name for name in texts if likely[name] >= _LEAST), key=lambda name: -likely[name])
    return [(name, " ".join(shown[name][:_EXCERPT].split())) for name in names[:_SHOWN]]


def plausibility(text: str) -> float:
    """Share of the characters beyond ASCII that look like written language, 0 to 1.

    Letters do whose neighbours are of the same script: no capital after a small one, and of Latin no two accents in a row.
    """
    likely = [_is_likely(*three) for three in zip(" " + text, text, text[1:] + " ") if not three[1].isascii()]
    return sum(likely) / max(1, len(likely))


def _is_likely(before: str, character: str, after: str) -> bool:
    if not character.isalpha():
        return unicodedata.category(character)[0] in "PZ"
    script = _script(character)
    alike = all(_script(other) == script for other in (before, after) if other.isalpha())
    swapped = before.islower() and character.isupper()
    crowded = script == "LATIN" and not (before.isascii() and after.isascii())
    return alike and not swapped and not crowded and script != "HALFWIDTH"


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "?").split()[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA") else name
