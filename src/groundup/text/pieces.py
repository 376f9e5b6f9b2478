"""Long texts in pieces, and much text as a sample of it: what bounds the time and memory of tokenizers."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Iterator

from groundup.text.clean import valid_unicode
from groundup.text.tokenizer_file import Kind, in_word

log = logging.getLogger(__name__)

PIECE = 1 << 14  # characters that are tokenized as one; some of the library's steps take time with the square of them
_TEXT = 1 << 25  # characters that a vocabulary is learned from, at most (of single characters: all)
_DISTINCT = 6 << 20  # UTF-8 bytes of different words in them; a learner takes some hundred bytes of memory for each
_DISTINCT_UNIGRAM = 4 << 20  # and 20 seconds a million, which Python counts
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


def passages_to_learn(texts: Iterable[str], kind: Kind, lowercase: bool) -> Iterable[str]:
    """What a vocabulary of that kind is learned from: the texts in pieces; of much text a sample, and the log says so.

    ``char`` alone learns from all of it, in one pass. Empty, and false, where there is no text.
    """
    passages = (piece for text in map(valid_unicode, texts) for piece in cut(text.lower() if lowercase else text))
    if kind == "char":
        first = next(passages, None)
        return [] if first is None else itertools.chain([first], passages)
    sample = Sample(passages, _TEXT, _DISTINCT_UNIGRAM if kind == "unigram" else _DISTINCT)
    if sample.share < 1:
        share, all_of_it = 100 * sample.share, f"{sample.characters:,}"
        log.info("tokenizer: learned from %.1f %% of %s characters, evenly spread", share, all_of_it)
    return sample.texts


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
