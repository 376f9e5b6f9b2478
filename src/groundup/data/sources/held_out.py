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
    """The end of a document is held out, from the line break nearest before the share begins."""
    at = round(len(text) * (1 - share))
    at = text.rfind("\n", 0, at) + 1 or at
    return text[at:] if held_out else text[:at]
