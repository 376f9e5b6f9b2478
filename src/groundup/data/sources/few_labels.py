"""Fewer labels than there are rows: which are learned from, and what is done with the text of the others."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from groundup.data.reading import Reading, format_of, read
from groundup.data.roles import ROLES, Row, usual_column
from groundup.data.sources.files import Files
from groundup.data.sources.source import TEXT, UNLABELLED, Source
from groundup.errors import UserError
from groundup.ranges import Count
from groundup.system.cache import Cache

log = logging.getLogger(__name__)


class FewLabels(Source):
    """A source of which some rows of the train split have labels and the others are text. The other splits stay.

    labelled: so many rows are learned from. Each class has its share of them, and one row at least; they follow from
    ``labelled_seed`` and the texts, and the rows of a smaller number are among those of a greater one. None: all.
    unlabelled: further files of text: their columns are those of the source, or have usual names; a line of a .txt is a row.
    pseudo_labels: a .jsonl of rows by role, with a ``label`` and a ``weight``, that are learned from beside the labelled ones.

    Two splits more: UNLABELLED has the rows that are not learned from and those of the further files, without anything
    but what a model is given; TEXT has the labelled rows, then those.
    Raises UserError for more labelled rows than there are, or fewer than classes.
    """

    more_text = True

    def __init__(
        self,
        source: Source,
        *,
        labelled: Count | None = None,
        labelled_seed: int = 1,
        unlabelled: str | Sequence[str] | None = None,
        pseudo_labels: str | None = None,
    ) -> None:
        self._source, self._labelled, self._seed, self._pseudo = source, labelled, labelled_seed, pseudo_labels
        self.columns, self.labels, self.streaming = source.columns, source.labels, source.streaming
        self.weighted = pseudo_labels is not None
        answers = [role for role in source.columns if role in ROLES and not ROLES[role].given and role != "group"]
        if labelled is not None and not answers:
            raise UserError(f"data.labelled={labelled}: the data has no labels, only text. Leave it out")
        self._unlabelled = unlabelled

    def splits(self) -> list[str]:
        return self._source.splits()

    def rows(self, split: str) -> Iterable[Row]:
        if split == UNLABELLED:
            return _Again(self._unlabelled_rows)
        if split == TEXT:
            return _Again(self._text_rows)
        if split != "train" or (self._labelled is None and self._pseudo is None):
            return self._source.rows(split)
        return _Again(self._train_rows) if self.streaming else self._kept

    def fingerprint(self, split: str) -> str:
        whole = self._source.fingerprint("train" if split in (UNLABELLED, TEXT) else split)
        parts: list[Any] = [split]
        if split in ("train", UNLABELLED, TEXT) and self._labelled is not None:
            parts += [self._labelled, self._seed]
        if split in (UNLABELLED, TEXT) and self._further is not None:
            parts.append(self._further.fingerprint("train"))
        if split == "train" and self._pseudo is not None:
            parts.append(hashlib.sha256(Path(self._pseudo).read_bytes()).hexdigest())
        return whole if parts == ["train"] else Cache.key("few labels", whole, parts)

    @cached_property
    def _chosen(self) -> Collection[int] | None:
        """Numbers of the rows of train that are learned from; None: all."""
        if self._labelled is None:
            return None
        strata, places = [], []
        for row in self._source.rows("train"):
            label = row.get("label", "")
            strata.append("\0".join(label) if isinstance(label, list) else label)
            texts = json.dumps([self._seed, _given(row)], ensure_ascii=False, sort_keys=True)
            places.append(hashlib.sha256(texts.encode("utf-8", "surrogatepass")).digest()[:8])
        classes = len(set(strata))
        if self._labelled > len(strata):
            raise UserError(
                f"data.labelled={self._labelled}: the train split has only {len(strata):,} labelled rows. Leave it out"
            )
        if self._labelled < classes:
            raise UserError(
                f"data.labelled={self._labelled} is less than one row for each of {classes} classes. Try data.labelled={classes}"
            )
        rest = len(strata) - self._labelled
        counts = (f"{count:,}" for count in (self._labelled, len(strata), rest))
        log.info("train: %s of %s labelled rows are learned from; the other %s are text without labels", *counts)
        return frozenset(nested_order(strata, places)[: self._labelled])

    @cached_property
    def _kept(self) -> list[Row]:
        return list(self._train_rows())

    @cached_property
    def _further(self) -> Files | None:
        return None if self._unlabelled is None else further_files(self._unlabelled, self._source)

    def _train_rows(self) -> Iterator[Row]:
        yield from self._labelled_rows()
        if self._pseudo is not None:
            with open(self._pseudo, encoding="utf-8") as file:
                yield from map(json.loads, file)

    def _labelled_rows(self) -> Iterator[Row]:
        chosen = self._chosen
        for number, row in enumerate(self._source.rows("train")):
            if chosen is None or number in chosen:
                yield row

    def _unlabelled_rows(self) -> Iterator[Row]:
        chosen = self._chosen
        for number, row in enumerate(self._source.rows("train")):
            if chosen is not None and number not in chosen:
                yield _given(row)
        if self._further is not None:
            yield from map(_given, self._further.rows("train"))

    def _text_rows(self) -> Iterator[Row]:
        yield from self._labelled_rows()
        yield from self._unlabelled_rows()


class AllText(Source):
    """Of a source all text, labelled or not, as its train split: what a language model learns from."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.columns, self.labels, self.streaming = source.columns, source.labels, source.streaming

    def splits(self) -> list[str]:
        return self._source.splits()

    def rows(self, split: str) -> Iterable[Row]:
        return self._source.rows(TEXT if split == "train" else split)

    def fingerprint(self, split: str) -> str:
        return self._source.fingerprint(TEXT if split == "train" else split)


class _Again:
    """Rows that are made anew at each pass."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return self._rows()


def nested_order(strata: Sequence[str], places: Sequence[bytes]) -> list[int]:
    """Numbers of rows in an order of which each beginning has every stratum in its share, to a row; one of each comes first.

    Within a stratum, rows come by ``places``; row numbers part what is alike.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(strata)), key=lambda number: (places[number], number)):
        members[strata[number]].append(number)
    when = {
        number: ((rank + 0.5) / len(rows) if rank else -1.0, places[number], number)
        for rows in members.values()
        for rank, number in enumerate(rows)
    }
    return sorted(when, key=when.__getitem__)


def further_files(names: str | Sequence[str], source: Source) -> Files:
    """Files of text that belong to a source: found (``root``), read and cleaned as its own.

    Raises UserError: a file that is not there, or has no column that could be meant.
    """
    listed = [names] if isinstance(names, str) else list(names)
    reading = getattr(source, "reading", Reading())
    followed = {option for name in listed for option in format_of(Path(name)).OPTIONS}
    options = {name: getattr(reading, name) for name in ("encoding", "delimiter", "columns") if name in followed}
    files: Any = partial(Files, listed, root=str(getattr(source, "root", ".")), txt="line", **options)
    try:
        seen = files()
        path = seen.paths("train")[0]
        _, row = next(read(path, seen.reading))
        found: dict[str, Any] = {}
        for role, column in source.columns.items():
            if ROLES[role].given:
                found[role] = usual_column(role, row, str(path), column, found.values())
    except UserError as error:
        raise UserError(f"data.unlabelled: {str(error).replace('data.train', 'data.unlabelled')}") from None
    made: Files = files(clean=getattr(source, "clean", None), **found)
    return made


def _given(row: Mapping[str, Any]) -> Row:
    """What a model is given of a row."""
    return {role: value for role, value in row.items() if role in ROLES and ROLES[role].given}
