"""Dates in two languages: one right answer each, no day in two splits, the same rows everywhere."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta

import pytest
from babel.dates import format_date

from groundup.data.sources.dates import Dates, Format, formats_of, known_locale, make
from groundup.data.sources.source import SPLITS
from groundup.errors import UserError
from groundup.text.clean import Clean

PAIRS = [("en", "zh"), ("zh", "en_GB"), ("de", "ja"), ("es", "ru")]


@pytest.fixture(scope="module")
def sets():
    return {pair: make(*pair, rows=2000, seed=0) for pair in PAIRS}


@pytest.fixture(scope="module")
def day_of():
    """Chinese long date -> day, for every day there may be."""
    days = (date(1900, 1, 1) + timedelta(days=number) for number in range(73_049))
    return {f"{day.year}年{day.month}月{day.day}日": day for day in days}


def groups(rows):
    found = defaultdict(list)
    for row in rows:
        found[row["group"]].append(row)
    return found


def day(row, day_of):
    return day_of[row["target"][: row["target"].index("日") + 1]]


@pytest.mark.parametrize("pair", PAIRS)
def test_every_source_stands_once_and_has_one_target(sets, pair):
    rows = [row for split in SPLITS for row in sets[pair][split]]
    assert max(Counter(row["source"] for row in rows).values()) == 1
    assert len(rows) == 2000 + 100 + 3 * 100


@pytest.mark.parametrize("pair", [("en", "zh"), ("zh", "en"), ("es_US", "de")])
def test_the_target_is_a_function_of_the_source_under_every_seed(pair):
    target = {}
    for seed in range(3):
        for rows in make(*pair, rows=1000, seed=seed).values():
            for row in rows:
                assert target.setdefault(row["source"], row["target"]) == row["target"]
    assert len(target) > 3000


def test_no_day_is_in_two_splits_even_under_other_seeds(sets, day_of):
    splits = defaultdict(set)
    for made in (sets["en", "zh"], make("en_GB", "zh", rows=2000, seed=1)):
        for split, rows in made.items():
            for row in rows:
                splits[day(row, day_of)].add(split)
    assert all(len(of_day) == 1 for of_day in splits.values())


def test_groups_are_as_promised(sets, day_of):
    made = sets["en", "zh"]
    assert all("group" not in row for split in ("train", "validation") for row in made[split])
    test = groups(made["test"])
    assert {name: len(rows) for name, rows in test.items()} == {"seen": 100, "new_years": 100, "new_formats": 100}
    for rows in (made["train"], made["validation"], test["seen"], test["new_formats"]):
        assert {day(row, day_of).year for row in rows} <= set(range(1950, 2050))
    years = {day(row, day_of).year for row in test["new_years"]}
    assert not years & set(range(1950, 2050)) and min(years) < 1950 and max(years) > 2050


def shape(row):
    """What a source looks like: every figure is a 9, names of months and days are their pattern."""
    text = "".join("9" if c.isdigit() else c for c in row["source"])
    moments = [datetime(2004, month, day) for month in range(1, 13) for day in range(1, 8)]
    for pattern in ("MMMM", "MMM", "EEEE", "E"):
        names = {Format(pattern, "en")(moment) for moment in moments}
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, pattern)
    return text


def test_formats_kept_from_training_are_new_there(sets):
    made = sets["en", "zh"]
    dates_only = [row for row in made["train"] if ":" not in row["target"]]
    known = {shape(row) for row in dates_only}
    new = [row for row in groups(made["test"])["new_formats"] if ":" not in row["target"]]
    assert len(new) > 20 and len(known) > 20
    assert not {shape(row) for row in new} & known
    again = [row for row in groups(made["test"])["seen"] if ":" not in row["target"]]
    assert sum(shape(row) in known for row in again) > 0.8 * len(again)


def test_the_weekday_is_asked_for_only_where_the_source_names_it():
    for name in ("en", "zh"):
        moment = datetime(2026, 3, 4)
        for one in formats_of(name).dates:
            names = {Format(pattern, one.locale)(moment) for pattern in ("E", "EEEE")}
            assert any(weekday in one(moment) for weekday in names) == one.weekday
    for row in make("en", "de", rows=300, seed=0)["train"]:
        named = any(name in row["source"] for name in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
        assert named == (row["target"].split(",")[0].endswith(("tag", "Mittwoch")))


def test_two_digits_of_a_year_are_used_in_years_of_training_only(sets):
    short = [row for row in sets["en", "zh"]["train"] if row["source"].split()[0].strip(",").count("/") == 2]
    assert any(len(row["source"].split()[0].rstrip(",").rsplit("/", 1)[1]) == 2 for row in short)
    for rows in (groups(made["test"])["new_years"] for made in sets.values()):
        for row in rows:
            assert any(str(year) in row["source"] for year in (*range(1900, 1950), *range(2050, 2100)))


@pytest.mark.parametrize("name", ["en", "en_GB", "zh", "zh_Hant", "de", "fr_CA", "ja", "ar", "ru", "hi", "sw"])
def test_no_two_days_and_no_two_minutes_are_written_alike(name):
    formats = formats_of(name)
    assert len(formats.dates) >= 5 and formats.times
    read = {}
    for moment in (datetime(2012, 1, 1) + timedelta(days=number) for number in range(366)):
        for one in formats.dates:
            assert read.setdefault(one(moment), moment) == moment
    for moment in (datetime(2012, 1, 1) + timedelta(minutes=number) for number in range(1440)):
        for one in formats.times:
            assert read.setdefault(one(moment), moment.time()) == moment.time()
    orders = {one.order for one in formats.dates} - {None}
    assert len(orders) <= 1  # 3/4/2026 is March everywhere, or April
    years = [datetime(year, 3, 4) for year in range(1900, 2100)]
    for one in (formats.day, formats.weekday):
        assert len({one(moment) for moment in years}) == 200


def test_formats_are_those_of_babel():
    moment = datetime(2026, 3, 4)
    for name in ("en", "de", "zh", "es"):
        written = [one(moment) for one in formats_of(name).dates]
        for style in ("full", "long", "medium", "short"):
            assert format_date(moment, style, locale=name) in written


def test_the_example_everyone_knows():
    chinese, english = formats_of("zh"), formats_of("en_GB")
    moment = datetime(2026, 3, 4, 17, 3)
    assert chinese.join.format(chinese.time(moment), chinese.weekday(moment)) == "2026年3月4日星期三 下午5:03"
    assert english.join.format(english.time(moment), english.weekday(moment)) == "Wednesday, 4 March 2026, 5:03 pm"


def test_sources_are_typed_with_plain_blanks(sets):
    texts = [row[side] for made in sets.values() for row in made["train"] for side in ("source", "target")]
    assert not any(blank in text for text in texts for blank in "\u202f\u00a0\u200e\u200f")


def test_rows_are_the_same_in_another_process():
    code = "import json; from groundup.data.sources.dates import make; print(json.dumps(make('en', 'zh', 200, 3)))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(there.stdout) == make("en", "zh", 200, 3) != make("en", "zh", 200, 4)


def test_rows_come_from_the_cache_and_are_cleaned_on_the_way(cache_dir, monkeypatch):
    plain, lower = Dates(rows=40), Dates(rows=40, clean=Clean(lowercase=True))
    rows = plain.rows("train")
    monkeypatch.setattr("groundup.data.sources.dates.make", None)
    assert [row["source"].lower() for row in rows] == [row["source"] for row in lower.rows("train")]
    assert Dates("EN", "zh", 40).rows("test") == plain.rows("test") and len(list(cache_dir.iterdir())) == 1
    assert plain.splits() == list(SPLITS) and len(plain.rows("validation")) == 2
    assert len({one.fingerprint(split) for one in (plain, lower) for split in SPLITS}) == 6
    with pytest.raises(UserError, match="no dev split"):
        plain.rows("dev")


@pytest.mark.parametrize(
    ("name", "near"), [("zh_XX", "zh"), ("english", "en"), ("Chinese", "zh"), ("qqqqqqq", "en"), ("root", "ro")]
)
def test_unknown_locale_is_one_line_with_near_ones(name, near):
    with pytest.raises(UserError) as error:
        Dates(target=name)
    said = str(error.value)
    assert "\n" not in said and said.startswith(f"data.target={name}: no such locale") and "Try data.target=" in said
    assert near in said.split("near ones are ")[1].split(".")[0].split(", ")


def test_locales_are_understood_as_people_write_them():
    assert [known_locale(name, "x") for name in ("en-gb", "ZH_hant", "pt_BR", "de")] == [
        "en_GB",
        "zh_Hant",
        "pt_BR",
        "de",
    ]
