"""Running text cut into words, for tasks that name each word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from groundup.text.tokenizer_file import CJK, is_wide

# Marks that are written on the letter before them: accents, vowels of Hindi, Arabic or Thai, forms of a Chinese character.
# They are no letters to Python. Beyond U+FFFF only those of living scripts, as each range there slows every look.
COMBINING = "".join(one for one in map(chr, range(0x300, 0x10000)) if unicodedata.category(one)[0] == "M")
COMBINING += "\U00011100-\U00011102\U00011127-\U00011134\U0001e944-\U0001e94a\U000e0100-\U000e01ef"
_MARKS = f"(?-i: [{COMBINING}]* )"  # one of them is a Greek iota where capitals do not matter
_INSIDE = f"(?-i: [{COMBINING}\u200c\u200d] )"  # of a word beside letters: also what joins them, or keeps them apart
_LETTER = rf"(?! n ['’] t \b ) [^\W{CJK}]"
# Tried in this order at each place. Blanks lie between words, and a mark or symbol that no line names is a word.
_WORD = re.compile(
    rf"""
    (?: https?:// | www\. ) [^\s{CJK}]* [^\s{CJK}.,;:!?'"()\[\]{{}}<>]   # an address, without the mark behind it
    | [@\#] \w (?: \w | {_INSIDE} )*                                 # a name or a subject, as in posts
    | ['’] (?: s | t | re | ve | m | ll | d ) \b                     # it|'s, as treebanks have it
    | n ['’] t \b                                                    # do|n't
    | \d+ (?: [.,:] \d+ )+                                           # 3.14, 1,000, 12:30
    | [{CJK}] {_MARKS}                                               # Chinese and Japanese: each character
    | {_LETTER} (?: {_LETTER} | {_INSIDE} )*                         # letters, digits and _
    | \S {_MARKS} (?: \u200d [^\w\s] {_MARKS} )*                     # a mark, or a picture put together of several
    """,
    re.VERBOSE | re.IGNORECASE,
)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, in characters.

    Blanks part words; each mark is a word, as is each Chinese or Japanese character; addresses, ``@names`` and numbers such
    as ``3.14`` stay whole, and English endings such as ``'s`` and ``n't`` are words, as in treebanks. A combining mark goes
    with the letter or the mark before it.
    """
    return [match.span() for match in _WORD.finditer(text)]


def together(words: Sequence[str]) -> str:
    """Words as a text: a space between two of them, but for Chinese and Japanese characters."""
    text = "".join(words[:1])
    for before, word in pairwise(words):
        apart = not (before and word and is_wide(before[-1]) and is_wide(word[0]))
        text += " " * apart + word
    return text
