"""Fewer labels than there are rows: which are learned from, and what is done with the text of the others."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from groundup.data.roles import KINDS, ROLES, Row, kind_of
from groundup.data.rows import running_text
from groundup.data.sources.source import AnewEachPass, Derived, Source
from groundup.errors import UserError
from groundup.ranges import Count
from groundup.system.cache import Cache

log = logging.getLogger(__name__)


class FewLabels(Derived):
    """A source of which only ``labelled`` rows of the train split are learned from; the text of the others is further text.

    Each class has its share of them, and one row at least. They follow from ``labelled_seed`` and the texts, and the rows of
    a smaller number are among those of a greater one. The other splits stay.
    Raises UserError for more labelled rows than there are, or fewer than classes.
    """

    def __init__(self, source: Source, *, labelled: Count | None = None, labelled_seed: int = 1) -> None:
        super().__init__(source)
        self._labelled, self._seed = labelled, labelled_seed
        answers = [role for role in source.columns if role in ROLES and not ROLES[role].given and role != "group"]
        if labelled is not None and not answers:
            raise UserError(f"data.labelled={labelled}: the data has no labels, only text. Leave it out")

    def rows(self, split: str) -> Iterable[Row]:
        if split != "train":
            return self.source.rows(split)
        return AnewEachPass(self._learned) if self.streaming else self._kept

    def fingerprint(self, split: str) -> str:
        own = self.source.fingerprint(split)
        return Cache.key("few labels", own, self._labelled, self._seed) if split == "train" else own

    def further(self) -> Iterator[str]:
        for row in self._unlabelled():
            yield from (running_text(value) for value in row.values() if value)
        yield from self.source.further()

    def further_fingerprint(self) -> str | None:
        return Cache.key("unlabelled", self.fingerprint("train"), self.source.further_fingerprint())

    def without_labels(self) -> Iterator[Row]:
        yield from self._unlabelled()
        yield from self.source.without_labels()

    @cached_property
    def _chosen(self) -> frozenset[int]:
        """Numbers of the rows of train that are learned from."""
        strata, places = [], []
        for row in self.source.rows("train"):
            label = row.get("label", "")
            strata.append(next(iter(label), "") if isinstance(label, list) else label)  # of several labels the first
            texts = json.dumps([self._seed, _given(row)], ensure_ascii=False, sort_keys=True)
            places.append(hashlib.sha256(texts.encode("utf-8", "surrogatepass")).digest()[:8])
        classes, wanted = len(set(strata)), self._labelled or len(strata)
        if wanted > len(strata):
            raise UserError(
                f"data.labelled={wanted}: the train split has only {len(strata):,} labelled rows. Leave it out"
            )
        if wanted < classes:
            raise UserError(
                f"data.labelled={wanted} is less than one row for each of {classes} classes. Try data.labelled={classes}"
            )
        counts = (f"{count:,}" for count in (wanted, len(strata), len(strata) - wanted))
        log.info("train: %s of %s labelled rows are learned from; the other %s are text without labels", *counts)
        return frozenset(nested_order(strata, places)[:wanted])

    @cached_property
    def _kept(self) -> list[Row]:
        return list(self._learned())

    def _learned(self) -> Iterator[Row]:
        chosen = self._chosen
        return (row for number, row in enumerate(self.source.rows("train")) if number in chosen)

    def _unlabelled(self) -> Iterator[Row]:
        chosen = self._chosen
        return (_given(row) for number, row in enumerate(self.source.rows("train")) if number not in chosen)


class AllText(Source):
    """Of a source all text, labelled or not, as its train split: what a language model learns from.

    Of questions it is what they are asked about, once for all questions that follow each other.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._asked = source, "context" in source.columns
        self.columns = {"text": source.columns["context"]} if self._asked else source.columns
        self.labels, self.streaming = source.labels, source.streaming

    def splits(self) -> list[str]:
        return self._source.splits()

    def rows(self, split: str) -> Iterable[Row]:
        return AnewEachPass(self._train) if split == "train" else AnewEachPass(partial(self._own, split))

    def fingerprint(self, split: str) -> str:
        further = self._source.further_fingerprint() if split == "train" else None
        return Cache.key("all text", self._asked, self._source.fingerprint(split), further)

    def further(self) -> Iterator[str]:
        return iter(())

    def _own(self, split: str) -> Iterator[Row]:
        before = None
        for row in self._source.rows(split):
            if not self._asked:
                yield row
            elif row["context"] != before:
                yield {"text": (before := row["context"])}

    def _train(self) -> Iterator[Row]:
        yield from self._own("train")
        role = (kind_of(self.columns) or KINDS[-1])[0]
        yield from ({role: text} for text in self._source.further())


class Taught(Derived):
    """A source with further rows in its train split, out of a .jsonl of rows by role that have a ``label`` and a ``weight``."""

    weighted = True

    def __init__(self, source: Source, file: str) -> None:
        super().__init__(source)
        self._file = Path(file)

    def rows(self, split: str) -> Iterable[Row]:
        return AnewEachPass(self._train) if split == "train" else self.source.rows(split)

    def fingerprint(self, split: str) -> str:
        own = self.source.fingerprint(split)
        if split != "train":
            return own
        return Cache.key("taught", own, hashlib.sha256(self._file.read_bytes()).hexdigest())

    def _train(self) -> Iterator[Row]:
        yield from self.source.rows("train")
        with open(self._file, encoding="utf-8") as file:
            yield from map(json.loads, file)


def nested_order(strata: Sequence[str], places: Sequence[bytes]) -> list[int]:
    """The numbers of rows in an order whose first k, for any k, have each stratum by its share, to within a row; one of each comes first.

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


def _given(row: Mapping[str, Any]) -> Row:
    """What a model is given of a row."""
    return {role: value for role, value in row.items() if role in ROLES and ROLES[role].given}
