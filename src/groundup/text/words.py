"""Running text cut into words, for tasks that name each word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from groundup.text.tokenizer_file import CJK, is_wide

# Tried in this order at each place. Blanks lie between words, and a mark or symbol that no line names is a word.
_WORD = re.compile(
    rf"""
    (?: https?:// | www\. ) [^\s{CJK}]* [^\s{CJK}.,;:!?'"()\[\]{{}}<>]   # an address, without the mark behind it
    | [@\#] \w+                                                      # a name or a subject, as in posts
    | ['’] (?: s | t | re | ve | m | ll | d ) \b                     # it|'s, as treebanks have it
    | n ['’] t \b                                                    # do|n't
    | \d+ (?: [.,:] \d+ )+                                           # 3.14, 1,000, 12:30
    | [{CJK}]                                                        # Chinese and Japanese: each character
    | (?: (?! n ['’] t \b ) [^\W{CJK}] )+                            # letters, digits and _
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, in characters.

    Blanks part words; each mark is a word, as is each Chinese or Japanese character; addresses, ``@names`` and numbers such
    as ``3.14`` stay whole, and English endings such as ``'s`` and ``n't`` are words, as in treebanks.
    """
    return [match.span() for match in _WORD.finditer(text)]


def together(words: Sequence[str]) -> str:
    """Words as a text: a space between two of them, but for Chinese and Japanese characters."""
    text = "".join(words[:1])
    for before, word in pairwise(words):
        apart = not (before and word and is_wide(before[-1]) and is_wide(word[0]))
        text += " " * apart + word
    return text
