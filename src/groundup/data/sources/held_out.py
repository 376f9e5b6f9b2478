"""Which part of the train split stands in for a validation split that is not there."""

from __future__ import annotations

import hashlib

from groundup.data.sources.source import Row


def place(row: Row) -> float:
    """A row's place in [0, 1), from its texts alone: the same on every machine, and for every copy of the row.

    Of a pair the source decides, so that all its targets stand on one side.
    """
    deciding = ("source",) if "source" in row else ("text", "text_pair")
    content = "\0".join(row[role] for role in deciding if role in row)
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big") / 2**64


def cut(text: str, share: float, held_out: bool) -> str:
    """The end of a document is held out: from a line break near the place where the share begins, else from a blank.

    Near: the share changes by half at most. A text that has neither there is cut at the character.
    """
    at = round(len(text) * (1 - share))
    reach = int(len(text) * min(share, 1 - share) / 2)
    breaks = (
        find(mark, *span)
        for mark in "\n "
        for find, span in ((text.rfind, (at - reach, at)), (text.find, (at, at + reach)))
    )
    at = next((found + 1 for found in breaks if found >= 0), at)
    return text[at:] if held_out else text[:at]
