"""Dates and times in the formats of two languages: a translation task that is on every machine, and can be solved.

How a language writes them is known to the Unicode Common Locale Data Repository (CLDR), by way of ``babel``.
"""

from __future__ import annotations

import difflib
import random
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Any, TypeVar

import babel
from babel import Locale
from babel.core import get_global
from babel.dates import parse_pattern
from babel.localedata import locale_identifiers
from pydantic import Field

from groundup.data.roles import Row
from groundup.data.sources.source import SPLITS, Generated, place
from groundup.errors import UserError
from groundup.ranges import Count
from groundup.text.clean import Clean

Choice = TypeVar("Choice")
_YEARS = range(1950, 2050)  # of train: a hundred, so that two digits of a year tell which
_NEW_YEARS = (*range(1900, 1950), *range(2050, 2100))
_SHARES = {"test": 0.1, "validation": 0.1}  # of the days; the rest is train
_HELD_OUT = 5  # one in so many patterns of dates is kept from train
_TIMELESS = 1 / 3  # of the rows have a date only
_SMALLER = 20  # validation, and each group of test, has one row for so many of train
_STYLES = ("full", "long", "medium", "short")
_DATES = ("yMMMEd", "yMEd", "yMMMd", "yMd")  # skeletons: the fields, in an order that each region has for itself
_TIMES = ("hm", "Hm", "Bhm")  # 12 hours, 24 hours, 12 hours with a part of the day ("at night")
_LEAP_YEAR = [datetime(2004, 1, 1) + timedelta(days=day) for day in range(366)]
_DAY = [datetime(2004, 1, 1) + timedelta(minutes=minute) for minute in range(24 * 60)]
_SOME_DAYS, _SOME_TIMES = _LEAP_YEAR[63:340:92], _DAY[7::301]  # 4 March, 4 June, ...; 0:07, 5:08, ...
# Blanks that nobody can type become plain ones; marks of the writing direction go.
_PLAIN = str.maketrans({"\u202f": " ", "\u00a0": " ", "\u200e": None, "\u200f": None})


class Dates(Generated):
    """``Wednesday, 4 March 2026, 5:03 pm`` -> ``2026年3月4日星期三 下午5:03``, between any two locales of CLDR.

    The source is written in the many formats of its language and regions, the target in one: its full date where the
    source names the day of the week, else its long one, with the time where the source has one. So there is one right
    answer, and 100 % can be reached. rows: of train; validation has a twentieth, and so has each ``group`` of test:
    ``seen`` (years and formats as in train), ``new_years`` (1900-1949, 2050-2099; train has 1950-2049), ``new_formats``
    (formats of the source that train does not have). No day is in two splits, whatever the locales and seeds.
    Rows follow from locales, rows, seed and the version of babel. Raises UserError: no such locale.
    """

    def __init__(
        self,
        source: str = "en",
        target: str = "zh",
        rows: Count = 20_000,
        seed: Annotated[int, Field(ge=0)] = 0,
        clean: Clean | None = None,
    ) -> None:
        super().__init__("dates", clean)
        self._settings = (known_locale(source, "data.source"), known_locale(target, "data.target"), rows, seed)
        self.columns = {role: role for role in ("source", "target", "group")}  # a group is in test only

    def key(self) -> Any:
        return [babel.__version__, self._settings]

    def make(self) -> dict[str, dict[str, list[Row]]]:
        return {"dates": make(*self._settings)}


def make(source: str, target: str, rows: int, seed: int) -> dict[str, list[Row]]:
    """Split -> rows; no source stands twice."""
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
            at = place(day.isoformat())
            split = "test" if at < _SHARES["test"] else "validation" if at < sum(_SHARES.values()) else "train"
            found[split].append(day)
    return found


@dataclass(frozen=True)
class Format:
    """A CLDR pattern in the words of one locale. https://unicode.org/reports/tr35/tr35-dates.html"""

    pattern: str
    locale: str

    def __call__(self, moment: datetime) -> str:
        return parse_pattern(self.pattern).apply(moment, _locale(self.locale)).translate(_PLAIN)

    @property
    def fields(self) -> str:
        """Letters of the pattern that stand for fields: its quoted words left out."""
        return "".join(re.findall(r"[A-Za-z]", re.sub(r"'[^']*'", "", self.pattern)))

    @property
    def weekday(self) -> bool:
        return "E" in self.fields or "c" in self.fields

    @property
    def short_year(self) -> bool:
        return self.fields.count("y") == 2

    @property
    def order(self) -> str | None:
        """Which of day and month comes first where only the order tells them apart: in figures, the year last."""
        fields = self.fields.lstrip("EcG")
        if "MMM" in fields or "LLL" in fields or fields.startswith("y"):
            return None
        return "month" if re.search("[ML].*d", fields) else "day"


@dataclass(frozen=True)
class Formats:
    """All formats of one language that can be read in one way only, commonest first, and the canonical ones.

    joins: how date ``{1}`` and time ``{0}`` stand together. day, weekday: the canonical date without and with the day
    of the week; time, join: the canonical others.
    """

    dates: tuple[Format, ...]
    times: tuple[Format, ...]
    joins: tuple[str, ...]
    day: Format
    weekday: Format
    time: Format
    join: str


@cache
def formats_of(name: str) -> Formats:
    """The formats of ``name`` (as in ``en``, ``en_GB``, ``zh_Hant``) and of the other regions that write its language.

    Where two would write different days or times alike, as 3/4/2026 may be in March or in April, the one of ``name``
    itself or of more regions stays. Two-digit years are those of ``name`` itself.
    """
    own = _locale(name)
    dates: dict[tuple, list[Format]] = {}
    times: dict[tuple, list[Format]] = {}
    joins: Counter[str] = Counter()
    for locale in [own, *_regions(own)]:
        region, skeletons = str(locale), locale.datetime_skeletons
        patterns = [*locale.date_formats.values(), *(skeletons[one] for one in _DATES if one in skeletons)]
        for pattern in patterns:
            _add(dates, Format(pattern.pattern, region), _SOME_DAYS)
        patterns = [locale.time_formats["short"], *(skeletons[one] for one in _TIMES if one in skeletons)]
        for pattern in patterns:
            _add(times, Format(pattern.pattern, region), _SOME_TIMES)
        joins.update({_join(locale, style) for style in _STYLES})
    _add(dates, Format("y-MM-dd", name), _SOME_DAYS)  # ISO 8601
    kept = [one for one in _ranked(dates, name) if not one.short_year or one.locale == name]
    return Formats(
        dates=_readable(kept, _LEAP_YEAR, lambda moment: moment.date()),
        times=_readable(_ranked(times, name), _DAY, lambda moment: moment.time()),
        joins=tuple(sorted(joins, key=lambda join: (-joins[join], join))),
        day=Format(own.date_formats["long"].pattern, name),
        weekday=Format(own.date_formats["full"].pattern, name),
        time=Format(_canonical_time(own), name),
        join=_join(own, "full"),
    )


def known_locale(name: str, key: str) -> str:
    """The locale as CLDR spells it: ``en-gb`` -> ``en_GB``. Raises UserError, with the near ones, if there is none."""
    known = {one.lower(): one for one in locale_identifiers() if one != "root"}
    wanted = str(name).replace("-", "_").lower()
    if wanted in known:
        return known[wanted]
    languages = {title.lower(): code for code, title in Locale("en").languages.items() if code.lower() in known}
    near = [languages[title] for title in difflib.get_close_matches(wanted, languages, n=2, cutoff=0.8)]
    near += [part for part in wanted.split("_")[:1] if part in known]
    near += [known[one] for one in difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)]
    near = list(dict.fromkeys(near)) or ["en"]
    raise UserError(f"{key}={name}: no such locale in CLDR; near ones are {', '.join(near)}. Try {key}={near[0]}")


def _join(locale: Locale, style: str) -> str:
    return str(locale.datetime_formats[style]).replace("'", "").translate(_PLAIN)


def _canonical_time(own: Locale) -> str:
    """Twelve hours where the language has words of its own for the halves of the day, else as it is usual."""
    halves, short = own.day_periods["format"]["abbreviated"], own.time_formats["short"]
    borrowed = (halves.get("am", "AM"), halves.get("pm", "PM")) == ("AM", "PM")
    return str((short if borrowed else own.datetime_skeletons.get("hm", short)).pattern)


def _add(found: dict[tuple, list[Format]], one: Format, probe: Iterable[datetime]) -> None:
    """Formats that write everything in the same way are one format, known by several regions."""
    found.setdefault(tuple(map(one, probe)), []).append(one)


def _ranked(found: dict[tuple, list[Format]], own: str) -> list[Format]:
    """One format of each kind: those of the locale itself, then by the number of regions."""
    groups = sorted(found.values(), key=lambda group: (group[0].locale != own, -len(group), group[0].pattern))
    return [group[0] for group in groups]


def _readable(
    ranked: list[Format], moments: list[datetime], content: Callable[[datetime], Hashable]
) -> tuple[Format, ...]:
    """Those that write no two of the ``moments`` alike, among themselves and with the formats before them."""
    order = next((one.order for one in ranked if one.order), None)
    read: dict[str, Hashable] = {}
    kept = []
    for one in ranked:
        if one.order not in (None, order):
            continue
        mine: dict[str, Hashable] = {}
        written = [(one(moment), content(moment)) for moment in moments]
        if all(mine.setdefault(text, what) == what == read.get(text, what) for text, what in written):
            read.update(mine)
            kept.append(one)
    return tuple(kept)


def _regions(own: Locale) -> list[Locale]:
    """Other locales of the same language in the same script, in the order of their names."""
    others = (_locale(name) for name in sorted(locale_identifiers()) if name.split("_")[0] == own.language)
    return [other for other in others if _script(other) == _script(own) and str(other) != str(own)]


def _script(locale: Locale) -> str | None:
    likely = get_global("likely_subtags")
    full = likely.get(f"{locale.language}_{locale.territory}") or likely.get(locale.language) or ""
    return locale.script or next((part for part in full.split("_") if len(part) == 4), None)


@cache
def _locale(name: str) -> Locale:
    return Locale.parse(name)
