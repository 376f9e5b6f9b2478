"""Words as the numbers of their characters, for models that read how a word is written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
