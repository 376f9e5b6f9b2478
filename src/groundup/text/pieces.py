"""Long texts in pieces, and much text as a sample of it: what bounds the time and memory of tokenizers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from groundup.text.tokenizer_file import in_word

PIECE = 1 << 14  # characters that are tokenized as one; some of the library's steps take time with the square of them
_RUN = re.compile(r"\S{256}|\s{256}")


def cut(text: str) -> Iterator[str]:
    """``text`` in pieces of at most ``PIECE`` characters, whose tokens together spell the text.

    A cut falls between two words if there are any: no tokenizer joins what it parts.
    """
    start = 0
    while len(text) - start > PIECE:
        end = _place(text, start + 1, start + PIECE)
        yield text[start:end]
        start = end
    yield text[start:]


def without_long_runs(texts: Iterable[str]) -> Iterator[str]:
    """Texts cut after each 256 characters with no change between blank and not: learning merges is quadratic in them."""
    for text in texts:
        start = 0
        for run in _RUN.finditer(text):
            yield text[start : run.end()]
            start = run.end()
        if start < len(text) or not text:
            yield text[start:]


class Sample:
    """At most ``most`` characters of texts and ``distinct`` UTF-8 bytes of different words, evenly spread over all.

    The second bounds a text without spaces or with few repetitions, of which a learner keeps everything. One pass, in
    which every second text so far is dropped whenever there are too many. ``share`` is what was kept, in characters.
    """

    def __init__(self, texts: Iterable[str], most: int, distinct: int) -> None:
        self.texts: list[str] = []
        stride, read, kept, seen, new = 1, 0, 0, set[str](), 0
        for number, text in enumerate(texts):
            read += len(text)
            if number % stride:
                continue
            self.texts.append(text)
            kept, new = kept + len(text), new + _add(text, seen)
            while (kept > most or new > distinct) and len(self.texts) > 1:
                stride, self.texts = 2 * stride, self.texts[::2]
                seen.clear()
                kept, new = sum(map(len, self.texts)), sum(_add(one, seen) for one in self.texts)
        self.characters, self.share = read, kept / read if read else 1.0


def _add(text: str, seen: set[str]) -> int:
    """Puts the words of ``text`` into ``seen``; UTF-8 bytes of those that are new."""
    new = set(text.split()) - seen
    seen |= new
    return sum(len(word.encode("utf-8", "surrogatepass")) for word in new)


def _place(text: str, first: int, last: int) -> int:
    """Where to cut in [first, last]: before a space between two words, or else beside a mark, away from spaces."""
    space = text.rfind(" ", first, last)
    while space > 0:
        if in_word(text[space - 1], split_digits=True) and in_word(text[space + 1], split_digits=True):
            return space
        space = text.rfind(" ", first, space)
    for place in range(last, first - 1, -1):
        left, right = text[place - 1], text[place]
        if not left.isspace() and not right.isspace() and not (in_word(left) and in_word(right)):
            return place
    return last
