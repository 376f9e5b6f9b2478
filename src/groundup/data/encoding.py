"""The texts of a split as token ids on disk, encoded once."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tokenizers

from groundup.data.rows import running_text
from groundup.data.sources.source import Source
from groundup.system.cache import Cache, code_version
from groundup.text.pieces import cut
from groundup.text.tokenizer import Tokenizer
from groundup.text.word_bytes import LONGEST, spelled_tokens

TEXT_ROLES = ("text", "text_pair")
PAIR_ROLES = ("source", "target")
TOKEN_ROLES = ("tokens",)
BLOCK = 1 << 18  # characters tokenized at a time: bounds memory, also for a document of any size
Piece = tuple[str, bool, bool]  # of a text: the first of it, the last of it


class EncodedText:
    """Token ids of the texts of a split, one after another, with what was counted while encoding them.

    Attributes: ``ids`` (N,) uint16 or uint32, text i is ``ids[offsets[i]:offsets[i + 1]]``; ``parts``, the texts a row
    has (the last of ``roles`` may be absent from every row); ``row_offsets`` (rows + 1,), row r has the texts
    ``row_offsets[r]`` to ``row_offsets[r + 1]`` (rows may have many, and not the same number); ``labels`` int32, one a row or, where
    rows hold lists, one a text: an index into ``label_names``, or -1 for none; ``spans`` (N, 2) int32, where they were
    asked for: the characters [begin, end) of its text that each token stands for; ``spelled`` (N, 32) uint8, where that was
    asked for: how the word that begins at a token is spelled, see ``text.word_bytes``.
    """

    def __init__(self, folder: Path, in_memory: bool = False) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.rows: int = about["rows"]
        self.parts: int = about["parts"]
        self.bytes: int = about["bytes"]  # UTF-8, of the text before tokenization
        self.unknown: int = about["unknown"]  # tokens that became <unk>
        self.label_names: list[str] = about["label_names"]
        self.offsets: np.ndarray = np.fromfile(folder / "offsets.bin", dtype=np.int64)
        self.labels: np.ndarray = np.fromfile(folder / "labels.bin", dtype=np.int32)
        self.row_offsets: np.ndarray = np.concatenate(
            [[0], np.cumsum(np.fromfile(folder / "sizes.bin", dtype=np.int32))]
        )
        self._folder, self._dtype, self._in_memory = folder, np.dtype(about["dtype"]), in_memory
        self._open()

    @classmethod
    def of(
        cls,
        source: Source,
        split: str,
        tokenizer: Tokenizer,
        cache: Cache | None,
        stream: bool = False,
        close: bool = False,
        roles: tuple[str, ...] = TEXT_ROLES,
        label: str = "label",
        apart: bool = False,
        spans: bool = False,
        spelled: bool = False,
    ) -> EncodedText:
        """Encodes the texts of ``roles`` in ``split``, or opens what an earlier run encoded. Without a cache in memory.

        ``apart``: the first role holds a list, of which each is a text; a list is one running text otherwise. ``label``:
        the role that holds a label (or a number) a row, or a list with one for each of the texts.

        ``close`` ends each text with ``<eos>``; ``stream`` also leaves out empty texts, and the ``<eos>`` of an only
        text.

        ``spans``: 8 bytes a token more on disk, so that nothing is tokenized again to find a token in its text.
        ``spelled``: 32 bytes a token more, so that no table of words has to fit into memory.
        """
        settings = (stream, close, roles, label, apart, spans, spelled)
        if cache is None:
            with tempfile.TemporaryDirectory() as folder:
                encode(source.rows(split), tokenizer, Path(folder), *settings)
                return cls(Path(folder), in_memory=True)
        code = (code_version(source), tokenizers.__version__)
        key = cache.key("encoded", code, tokenizer.fingerprint, source.fingerprint(split), split, *settings)
        return cls(cache.get(key, lambda folder: encode(source.rows(split), tokenizer, folder, *settings)))

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes a token, special tokens not counted; None without tokens."""
        return self.bytes / len(self.ids) if len(self.ids) else None

    def _open(self) -> None:
        self.ids = self._read("ids.bin", self._dtype)
        self.spans = self._read("spans.bin", np.dtype(np.int32)).reshape(-1, 2)
        self.spelled = self._read("spelled.bin", np.dtype(np.uint8)).reshape(-1, LONGEST)

    def _read(self, name: str, dtype: np.dtype) -> np.ndarray:
        file = self._folder / name
        if self._in_memory or file.stat().st_size == 0:
            return np.fromfile(file, dtype=dtype)
        return np.asarray(np.memmap(file, dtype=dtype, mode="r"))  # plain view: quicker to index

    def __getstate__(self) -> dict[str, Any]:
        mapped = () if self._in_memory else ("ids", "spans", "spelled")
        return {name: value for name, value in vars(self).items() if name not in mapped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if not self._in_memory:  # a worker maps the files again instead of receiving a copy of them
            self._open()


def text_roles(source: Source) -> tuple[str, ...]:
    """Roles of a source's running text: both sides of pairs, or tokens, where it has nothing else."""
    found = (roles for roles in (TEXT_ROLES, PAIR_ROLES, TOKEN_ROLES) if roles[0] in source.columns)
    return next(found, TEXT_ROLES)


def encode(
    rows: Iterable[dict],
    tokenizer: Tokenizer,
    folder: Path,
    stream: bool,
    close: bool,
    roles: tuple[str, ...] = TEXT_ROLES,
    label: str = "label",
    apart: bool = False,
    spans: bool = False,
    spelled: bool = False,
) -> None:
    """Writes the files of an ``EncodedText`` in memory that does not grow with the text (8 bytes a text, 8 a row)."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = _Texts(roles, label, apart)
    with (
        open(folder / "ids.bin", "wb") as id_file,
        open(folder / "spans.bin", "wb") as span_file,
        open(folder / "spelled.bin", "wb") as spelled_file,
    ):
        wanted = (span_file if spans else None, spelled_file if spelled else None)
        tokens = _Tokens(tokenizer, stream, close, id_file, *wanted)
        for block in _blocks(texts.pieces(rows)):
            tokens.write(block)
        tokens.finish()
    for name, values in (("offsets", tokens.offsets), ("labels", texts.labels), ("sizes", texts.sizes)):
        with open(folder / f"{name}.bin", "wb") as file:
            values.tofile(file)
    about = {
        "rows": len(texts.sizes),
        "parts": texts.parts,
        "bytes": tokens.bytes,
        "unknown": tokens.unknown,
        "dtype": tokens.dtype.name,
        "label_names": list(texts.names),
    }
    (folder / "about.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")


class _Texts:
    """The texts of rows, in pieces; and what is kept of each row: its ``labels``, as places in ``names``, and its number of texts."""

    def __init__(self, roles: tuple[str, ...], label: str, apart: bool) -> None:
        self.roles, self.label, self.apart = roles, label, apart
        self.labels, self.sizes = array("i"), array("i")
        self.names: dict[str, int] = {}
        self.parts = 1  # as many as the first row has

    def pieces(self, rows: Iterable[dict]) -> Iterator[Piece]:
        for row in rows:
            if not self.sizes:
                self.parts = len(self.roles) if row.get(self.roles[-1]) is not None else 1
            found, first = row.get(self.label), row.get(self.roles[0])
            self.labels.extend(map(self._place, found if isinstance(found, list) else [found]))
            if self.apart:
                texts = first or []
            else:
                texts = [running_text(row.get(role)) for role in self.roles[: self.parts]]
            self.sizes.append(len(texts))
            for text in texts:
                yield from _pieces(text)

    def _place(self, name: Any) -> int:
        return -1 if name is None or name == "" else self.names.setdefault(str(name), len(self.names))


class _Tokens:
    """Writes the tokens of texts piece by piece: ids and, to the files that are given, their spans and how they are spelled.

    ``offsets``: where the texts begin and end, in tokens. ``bytes``, ``unknown``: as of an ``EncodedText``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stream: bool,
        close: bool,
        id_file: BinaryIO,
        span_file: BinaryIO | None,
        spelled_file: BinaryIO | None,
    ) -> None:
        self.tokenizer, self.stream, self.close = tokenizer, stream, close
        self.id_file, self.span_file, self.spelled_file = id_file, span_file, spelled_file
        self.dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
        self.offsets = array("q", [0])
        self.bytes = self.unknown = 0
        self._size = 0  # tokens so far
        self._before = 0  # characters of the text in the pieces before

    def write(self, block: list[Piece]) -> None:
        texts, goes_on = [text for text, _, _ in block], [not first for _, first, _ in block]
        self.bytes += sum(len(text.encode("utf-8", errors="replace")) for text in texts)
        if self.span_file or self.spelled_file:
            encoded = self.tokenizer.encode_with_spans(texts, goes_on)
        else:
            encoded = [(ids, []) for ids in self.tokenizer.encode_batch(texts, goes_on)]
        for (text, first, last), (ids, places) in zip(block, encoded, strict=True):
            if self.span_file:
                self._before = 0 if first else self._before
                self.span_file.write((np.array(places, dtype=np.int32).reshape(-1, 2) + self._before).tobytes())
                self._before += len(text)
            if self.spelled_file:
                self.spelled_file.write(spelled_tokens(text, places).tobytes())
            self.unknown += ids.count(self.tokenizer.unk_id)
            self._size += len(ids)
            if last and (self._size > self.offsets[-1] or not self.stream):
                ids = self._end(ids)
            self.id_file.write(np.array(ids, dtype=self.dtype).tobytes())

    def _end(self, ids: list[int]) -> list[int]:
        """The last ids of a text, with ``<eos>`` where texts are closed."""
        if self.close:
            ids = [*ids, self.tokenizer.eos_id]
            self._size += 1
            if self.spelled_file:
                self.spelled_file.write(bytes(LONGEST))
        self.offsets.append(self._size)
        return ids

    def finish(self) -> None:
        """Takes the ``<eos>`` from the only document of a stream: there is nothing to separate it from."""
        if self.stream and self.close and len(self.offsets) == 2:
            self.offsets[-1] -= 1
            self.id_file.truncate(self.offsets[-1] * self.dtype.itemsize)
            if self.spelled_file:
                self.spelled_file.truncate(self.offsets[-1] * LONGEST)


def _pieces(text: str) -> Iterator[Piece]:
    first = True
    for piece, following in pairwise(chain(cut(text), [None])):
        assert piece is not None
        yield piece, first, following is None
        first = False


def _blocks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    block, size = [], 0
    for piece in pieces:
        block.append(piece)
        size += len(piece[0]) + 16  # an empty text takes memory too
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block
