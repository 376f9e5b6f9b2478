"""Dates and times in the formats of two languages: a translation task that is on every machine, and can be solved."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import Field

from groundup.data.sources.source import SPLITS, Row, Source, roles
from groundup.errors import UserError
from groundup.ranges import Count
from groundup.system.cache import Cache
from groundup.text.clean import Clean

if TYPE_CHECKING:
    from groundup.data.sources.dates_formats import Format

Choice = TypeVar("Choice")
_YEARS = range(1950, 2050)  # of train: a hundred, so that two digits of a year tell which
_NEW_YEARS = (*range(1900, 1950), *range(2050, 2100))
_SHARES = {"test": 0.1, "validation": 0.1}  # of the days; the rest is train
_HELD_OUT = 5  # one in so many patterns of dates is kept from train
_TIMELESS = 1 / 3  # of the rows have a date only
_SMALLER = 20  # validation, and each group of test, has one row for so many of train


class Dates(Source):
    """``Wednesday, 4 March 2026, 5:03 pm`` -> ``2026年3月4日星期三 下午5:03``, between any two locales of CLDR.

    The source is written in the many formats of its language and regions, the target in one: its full date where the
    source names the day of the week, else its long one, with the time where the source has one. So there is one right
    answer, and 100 % can be reached. rows: of train; validation has a twentieth, and so has each ``group`` of test:
    ``seen`` (years and formats as in train), ``new_years`` (1900-1949, 2050-2099; train has 1950-2049), ``new_formats``
    (formats of the source that train does not have). No day is in two splits, whatever the locales and seeds.
    Rows follow from locales, rows, seed and the version of babel. Raises UserError: no such locale.
    """

    streaming = False
    labels = None

    def __init__(
        self,
        source: str = "en",
        target: str = "zh",
        rows: Count = 20_000,
        seed: Annotated[int, Field(ge=0)] = 0,
        clean: Clean | None = None,
    ):
        from groundup.data.sources.dates_formats import known_locale

        self._settings = (known_locale(source, "data.source"), known_locale(target, "data.target"), rows, seed)
        self.clean = clean
        self.columns = {role: role for role in ("source", "target", "group")}
        self._rows: dict[str, list[Row]] = {}

    def splits(self) -> list[str]:
        return list(SPLITS)

    def rows(self, split: str) -> Iterable[Row]:
        if split not in SPLITS:
            raise UserError(f"dates has no {split} split; it has {', '.join(SPLITS)}")
        if split not in self._rows:
            folder = Cache().get(_key(self._settings), lambda folder: _build(folder, *self._settings))
            with open(folder / f"{split}.jsonl", encoding="utf-8") as file:
                raw = [json.loads(line) for line in file]
            columns = {role: role for role in raw[0]}  # a group is in test only
            self._rows[split] = [roles(row, columns, self.clean, f"dates {split}") for row in raw]
        return self._rows[split]

    def fingerprint(self, split: str) -> str:
        content = [list(row.values()) for row in self.rows(split)]
        return Cache.key("dates", split, self.clean.as_dict() if self.clean else None, content)


def _key(settings: tuple) -> str:
    """The settings, babel's version, and the code that makes the rows."""
    import babel

    from groundup.data.sources import dates_formats

    modules = (dates_formats, sys.modules[__name__])
    code = [hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest() for module in modules]
    return Cache.key("dates", babel.__version__, settings, code)


def _build(folder: Path, *settings: str | int) -> None:
    for split, rows in make(*settings).items():  # type: ignore[arg-type]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def make(source: str, target: str, rows: int, seed: int) -> dict[str, list[Row]]:
    """Split -> rows; no source stands twice."""
    from groundup.data.sources.dates_formats import formats_of

    ours, theirs = formats_of(source), formats_of(target)
    times = [cache(one) for one in ours.times]  # a day has 1,440 minutes, so they come again and again
    day, weekday, clock = cache(theirs.day), cache(theirs.weekday), cache(theirs.time)
    seen, held_out = _hold_out(ours.dates)
    alike = {new: {replace(one, locale=new.locale) for one in seen} for new in held_out}
    whole = [one for one in seen if not one.short_year]
    rng = random.Random(f"dates {seed}")
    known: set[str] = set()

    def pick(choices: Sequence[Choice]) -> Choice:
        return choices[int(rng.random() * len(choices))]  # random() alone is promised to stay the same in later Pythons

    def row(days: list[date], formats: list[Format]) -> Row | None:
        on, written = datetime.combine(pick(days), time()), pick(formats)
        text, answer = written(on), (weekday if written.weekday else day)(on)
        if any(one(on) == text for one in alike.get(written, ())):  # 23 November is alike in d and dd
            return None
        if rng.random() >= _TIMELESS:
            minute = datetime(2004, 1, 1) + timedelta(minutes=int(rng.random() * 24 * 60))
            text = pick(ours.joins).format(pick(times)(minute), text)
            answer = theirs.join.format(clock(minute), answer)
        return {"source": text, "target": answer}

    def draw(count: int, days: list[date], formats: list[Format], **more: str) -> Iterator[Row]:
        while count:
            new = row(days, formats)
            if new and new["source"] not in known:
                known.add(new["source"])
                count -= 1
                yield {**new, **more}

    days, fewer = _days(_YEARS), max(1, rows // _SMALLER)
    return {
        "train": list(draw(rows, days["train"], seen)),
        "validation": list(draw(fewer, days["validation"], seen)),
        "test": [
            *draw(fewer, days["test"], seen, group="seen"),
            *draw(fewer, _days(_NEW_YEARS)["test"], whole, group="new_years"),
            *draw(fewer, days["test"], held_out, group="new_formats"),
        ],
    }


def _hold_out(formats: Sequence[Format]) -> tuple[list[Format], list[Format]]:
    """Formats of train, and those kept from it: by the pattern, as the regions of a language differ in their words."""
    patterns = list(dict.fromkeys(one.pattern for one in formats if not one.short_year))
    kept = patterns[_HELD_OUT - 1 :: _HELD_OUT] or patterns[-1:]
    return [one for one in formats if one.pattern not in kept], [one for one in formats if one.pattern in kept]


def _days(years: Iterable[int]) -> dict[str, list[date]]:
    """Split -> days, by the hash of the day alone."""
    found: dict[str, list[date]] = {split: [] for split in SPLITS}
    for year in years:
        for number in range((date(year + 1, 1, 1) - date(year, 1, 1)).days):
            day = date(year, 1, 1) + timedelta(days=number)
            place = int.from_bytes(hashlib.sha256(day.isoformat().encode()).digest()[:8], "big") / 2**64
            if place < _SHARES["test"]:
                found["test"].append(day)
            elif place < sum(_SHARES.values()):
                found["validation"].append(day)
            else:
                found["train"].append(day)
    return found
