"""SQuAD's own JSON: articles of paragraphs of questions. Versions 1.1 and 2.0. https://rajpurkar.github.io/SQuAD-explorer

``{"version": "1.1", "data": [{"title": "...", "paragraphs": [{"context": "...", "qas": [{"id": "...", "question": "...",
"answers": [{"text": "...", "answer_start": 0}], "is_impossible": false}]}]}]}``. An article at a time is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from groundup.data.formats.text import open_text
from groundup.data.reading import Located, Reading
from groundup.errors import UserError

SUFFIXES = (".json",)
OPTIONS = ("encoding",)
COLUMNS = ("id", "title", "question", "context", "answers")
_BLOCK = 1 << 18  # characters that are read at a time, at least
_BLANKS = " \t\r\n"
_DECODER = json.JSONDecoder(strict=False)


def read(path: Path, reading: Reading) -> Iterator[Located]:
    """A question a row, in the file's order; ``answers`` of one that is marked impossible are none.

    Raises UserError for broken JSON, and for JSON of another form.
    """
    with open_text(path, reading.encoding) as file:
        for number, article in enumerate(_articles(file, path), 1):
            where = f"{path} article {number}"
            for paragraph in _list(article, "paragraphs", where):
                context = _dict(paragraph, "paragraphs", where).get("context")
                if not isinstance(context, str):
                    raise _strange(where, "a paragraph has no context")
                for asked in _list(paragraph, "qas", where):
                    known = _dict(asked, "qas", where)
                    name = known.get("id")
                    impossible = known.get("is_impossible") is True
                    row = {"id": name, "title": article.get("title"), "question": known.get("question")}
                    answers = {"answers": [] if impossible else known["answers"]} if "answers" in known else {}
                    yield f"{where}, question {name}", {**row, "context": context, **answers}


def _articles(file: IO[str], path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the list ``data``, one after another, in whatever place of the file it stands."""
    text = _Text(file, path)
    if text.peek() != "{":
        raise _strange(str(path), "it is no JSON object")
    text.take()
    found = False
    while text.peek() != "}":
        key = text.value()
        text.expect(":")
        if key != "data" or text.peek() != "[":
            text.value()
        else:
            found = True
            text.take()
            while text.peek() != "]":
                yield _dict(text.value(), "data", str(path))
                text.separator("]")
            text.take()
        text.separator("}")
    if not found:
        raise _strange(str(path), 'it has no list "data"')


class _Text:
    """JSON that is read value by value; of the file only what is not read yet, and a block more, is in memory."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self.file, self.path = file, path
        self.buffer, self.at, self.line = "", 0, 1

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at] in _BLANKS:
                self.at += 1
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self._more():
                return ""

    def take(self) -> None:
        self.at += 1

    def expect(self, mark: str) -> None:
        if self.peek() != mark:
            raise self.broken(f"'{mark}' expected")
        self.take()

    def separator(self, end: str) -> None:
        """A comma, or the ``end`` that follows the last value."""
        if self.peek() == ",":
            self.take()
        elif self.peek() != end:
            raise self.broken(f"',' or '{end}' expected")

    def value(self) -> Any:
        """The next value, whole. Raises UserError for what is none."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.buffer, self.at)
                if end < len(self.buffer) or not self._more():  # a number may go on
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                # What is broken in the middle is broken for good; at the end of the buffer it may only be cut off.
                if (error.pos < len(self.buffer) - 16 and "Unterminated" not in error.msg) or not self._more():
                    self.at = error.pos
                    raise self.broken(error.msg) from error
            except RecursionError as error:
                raise self.broken("nested too deeply") from error
            except ValueError as error:
                raise self.broken("a number with more digits than Python reads") from error

    def broken(self, why: str) -> UserError:
        line = self.line + self.buffer.count("\n", 0, self.at)
        return UserError(f"{self.path} line {line}: broken JSON ({why[:1].lower()}{why[1:]}); fetch or write it again")

    def _more(self) -> bool:
        """Reads as much as is held already, so that a large value is not begun too often. False at the end of the file."""
        block = self.file.read(max(_BLOCK, len(self.buffer) - self.at))
        self.line += self.buffer.count("\n", 0, self.at)
        self.buffer, self.at = self.buffer[self.at :] + block, 0
        return bool(block)


def _dict(value: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _strange(where, f'"{name}" holds something else than objects')
    return value


def _list(value: dict[str, Any], name: str, where: str) -> list[Any]:
    if not isinstance(value.get(name), list):
        raise _strange(where, f'it has no list "{name}"')
    return value[name]


def _strange(where: str, why: str) -> UserError:
    form = '{"data": [{"paragraphs": [{"context": "...", "qas": [...]}]}]}'
    return UserError(
        f"{where}: not SQuAD's JSON, {form}: {why}. Other data: one JSON object a line, and call it .jsonl"
    )
