"""Words as the numbers of their characters, for models that read how a word is written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from groundup.text.words import word_spans

LONGEST = 32  # numbers of a word, at most
_BEGIN, _END = 254, 255  # no byte of UTF-8 plus one comes that far


def spelled(words: Sequence[str]) -> np.ndarray:
    """(N, LONGEST) uint8: a mark, the word's bytes in UTF-8 plus one, a mark, zeros. Any language, and no alphabet to learn.

    Of a word that is too long its beginning and its end stay. Source: bytes and marks as in Jozefowicz et al. 2016.
    """
    table = np.zeros((len(words), LONGEST), dtype=np.uint8)
    half = (LONGEST - 2) // 2
    for row, word in zip(table, words, strict=True):
        content = word.encode("utf-8", "replace")
        if len(content) > 2 * half:
            content = content[:half] + content[-half:]
        row[0], row[len(content) + 1] = _BEGIN, _END
        row[1 : len(content) + 1] = np.frombuffer(content, dtype=np.uint8) + 1
    return table


def spelled_tokens(text: str, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """(N, LONGEST) uint8: each word of ``text`` as above at the token that it begins in, zeros elsewhere.

    spans: the characters [begin, end) of each of the N tokens; neither end ever falls. Of two words that begin in one
    token the first is spelled, and a word without a token is not.
    """
    table = np.zeros((len(spans), LONGEST), dtype=np.uint8)
    words = np.array(word_spans(text), dtype=np.int64).reshape(-1, 2)
    begins, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    places = np.searchsorted(ends, words[:, 0], side="right")
    places, first = np.unique(places, return_index=True)
    here = places < len(spans)
    places, words = places[here], words[first[here]]
    here = begins[places] < words[:, 1]
    table[places[here]] = spelled([text[begin:end] for begin, end in words[here].tolist()])
    return table
