"""How tags of words describe entities: BIO (IOB2), IOB1, and BIOES, which is also written BMES or BILOU.

Sources: Ramshaw and Marcus 1995 (IOB1); Tjong Kim Sang and Veenstra 1999 (IOB2); Ratinov and Roth 2009 (BILOU).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from groundup.errors import ArgumentError

Scheme = Literal["bio", "iob1", "bioes"]
SchemeChoice = Scheme | Literal["auto", "none"]  # auto: as the names of the tags show; none: they are no entities
_LETTERS = ("BI", "BIES", "BMES", "BILU")  # of the tags of a scheme, beside O
_PLAIN = {"M": "I", "L": "E", "U": "S"}  # BMES and BILOU are BIOES in other letters


class Tag(NamedTuple):
    """``B`` (begin), ``I`` (inside), ``E`` (end), ``S`` (single) or ``O`` (outside), and the type of the entity."""

    letter: str
    type: str


def parse(tag: str) -> Tag:
    """``M-LOC`` -> I of LOC. A letter alone has the type of the empty name, as in word segmentation."""
    return Tag(_PLAIN.get(tag[0], tag[0]), tag[2:])


def scheme_of(counts: Mapping[str, int]) -> Scheme | None:
    """The scheme of tags, by their names: ``counts`` are the words that have each. None: they are no entities.

    IOB1 has the letters of BIO; it is taken where more words are inside an entity of a type that never begins than
    begin any.
    """
    spelled = {tag: count for tag, count in counts.items() if tag != "O"}
    if not spelled or not all(tag and (len(tag) == 1 or (tag[1] in "-_" and tag[2:])) for tag in spelled):
        return None
    letters = {tag[0] for tag in spelled}
    fit = next((known for known in _LETTERS if letters <= {*known}), None)
    if fit is None or (any(len(tag) == 1 for tag in spelled) and not letters >= {"B", fit[-1]}):
        return None  # parts of speech may have names of one letter
    if fit != "BI":
        return "bioes"
    begun = {parse(tag).type for tag in spelled if tag[0] == "B"}
    never = sum(count for tag, count in spelled.items() if parse(tag).type not in begun)
    return "iob1" if never > sum(count for tag, count in spelled.items() if tag[0] == "B") else "bio"


def chosen_scheme(choice: SchemeChoice, counts: Mapping[str, int]) -> Scheme | None:
    """What a ``choice`` means for tags with these ``counts``. Raises ArgumentError for a tag that is none of the scheme."""
    if choice == "auto":
        return scheme_of(counts)
    if choice == "none":
        return None
    if strange := misfit(choice, counts):
        raise ArgumentError(f"scheme={choice}: the tag {strange!r} is none of it", "scheme=auto")
    return choice


def misfit(scheme: Scheme, tags: Iterable[str]) -> str | None:
    """The first of the tags that a scheme has no letter for."""
    letters = "BIES" if scheme == "bioes" else "BI"
    return next((tag for tag in tags if tag != "O" and not (tag and parse(tag).letter in letters)), None)


def may_follow(scheme: Scheme, before: str | None, after: str | None) -> bool:
    """Whether a word of the tag ``after`` may stand behind one of ``before``; None: the end of the sentence."""
    left, right = (Tag("O", "") if tag is None else parse(tag) for tag in (before, after))
    goes_on = left.letter in "BI" and right.type == left.type
    if scheme == "bio":
        return right.letter != "I" or goes_on
    if scheme == "iob1":
        return right.letter != "B" or goes_on
    return goes_on and right.letter in "IE" if left.letter in "BI" else right.letter in "OBS"


def forbidden(scheme: Scheme, tags: Sequence[str]) -> tuple[list[bool], list[list[bool]], list[bool]]:
    """What tags may not: begin a sentence, follow another (from a row to a column), end a sentence."""
    start = [not may_follow(scheme, None, tag) for tag in tags]
    pairs = [[not may_follow(scheme, before, after) for after in tags] for before in tags]
    return start, pairs, [not may_follow(scheme, tag, None) for tag in tags]


def neighbours(tags: Iterable[str]) -> Iterable[tuple[str | None, str | None]]:
    """Each tag with the one before it, from the beginning of the sentence to its end."""
    before: str | None = None
    for tag in tags:
        yield before, tag
        before = tag
    if before is not None:
        yield before, None
