"""Rows that are evaluated and also stand in the train split: a model may know their answers by heart."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from groundup.data.encoding import text_roles
from groundup.data.rows import running_text
from groundup.data.sources.source import Source
from groundup.system.cache import Cache, code_version

log = logging.getLogger(__name__)
_MANY = 0.01  # share of a split from which on it is a warning
_LONG = 10_000  # characters of a text from which on it is compared as it stands


def seen_rows(source: Source, split: str, reads: tuple[str, ...], cache: Cache, learned: Source | None = None) -> int:
    """How many rows of ``split`` have the same texts as a row of train, but for case and blanks.

    ``reads``: roles that a model is given; where the source has none of them, it reads the running text. Rows without any
    text do not count. ``learned``: whose train split it is; None: that of ``source``. The digests of a split are kept in the
    cache, 8 bytes a row. 0 for a source that is only streamed.
    """
    learned = learned or source
    if source.streaming or learned.streaming or "train" not in learned.splits():
        return 0
    roles = tuple(role for role in reads if role in source.columns) or text_roles(source)
    return int(np.isin(_digests(source, split, roles, cache), _digests(learned, "train", roles, cache)).sum())


@rank_zero_only
def log_seen(split: str, seen: int, rows: int) -> None:
    """Says how many of the rows that are evaluated stand in train, too; warns when they are many."""
    if seen:
        level = logging.WARNING if seen >= _MANY * rows else logging.INFO
        log.log(
            level, "%s: %s of %s rows also stand in train (%.1f %%)", split, f"{seen:,}", f"{rows:,}", 100 * seen / rows
        )


def _digests(source: Source, split: str, roles: tuple[str, ...], cache: Cache) -> np.ndarray:
    """Of the text of each row that has one (rows,) uint64."""

    def build(folder: Path) -> None:
        np.fromiter(_each(source, split, roles), dtype=np.uint64).tofile(folder / "digests.bin")

    key = cache.key("digests", code_version(source), source.fingerprint(split), split, roles)
    return np.fromfile(cache.get(key, build) / "digests.bin", dtype=np.uint64)


def _each(source: Source, split: str, roles: tuple[str, ...]) -> Iterator[int]:
    for row in source.rows(split):
        texts = [_plain(running_text(row.get(role))) for role in roles]
        if any(texts):
            digest = blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8)
            yield int.from_bytes(digest.digest(), "little")


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold() if len(text) < _LONG else text
