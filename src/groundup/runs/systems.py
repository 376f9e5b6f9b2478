"""Runs as the systems that are compared: a run, or the runs of a folder that differ in nothing but seed and fold."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.data.roles import ROLES
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.reference import find_run, newest_runs, unfit

ALIKE = ("seed", "fold")  # keys in which the runs of one system may differ
NO_SETTING = ("hydra", "paths", "run_name")  # keys that say where a run is, not what it is
Answers = list[dict[str, Any]]  # rows of predictions.jsonl


@dataclass(frozen=True)
class Answered:
    """The answers of a run, and their place among the rows that are compared."""

    run: RunFolder
    place: slice
    rows: Answers


@dataclass(frozen=True)
class System:
    """``name``: as tables call it, different for each of those that are compared."""

    name: str
    runs: tuple[RunFolder, ...]


def find_systems(references: Sequence[str], logs: Path) -> list[System]:
    """The systems that ``references`` name: a run each, or several in a folder of runs (a sweep, folds, a pipeline).

    Raises UserError for one that is not there or has no results, one that is named twice, and fewer than two systems.
    """
    found: list[tuple[Path, str, list[RunFolder]]] = []
    for reference in references:
        folder = _folder(reference, logs)
        if any(folder.resolve() == other.resolve() for other, *_ in found):
            raise UserError(f"{reference} is named twice. Name each run once")
        found += [(folder, setting, runs) for setting, runs in _settings(folder).items()]
    if len(found) < 2:
        raise UserError(f"one run has nothing to be compared with. Try groundup compare {' '.join(references)} RUN")
    paths = _short([folder for folder, *_ in found])
    names = [" ".join(filter(None, (path, setting))) for path, (_, setting, _) in zip(paths, found, strict=True)]
    return [System(name, tuple(runs)) for name, (*_, runs) in zip(names, found, strict=True)]


def _short(folders: Sequence[Path]) -> list[str]:
    """What tells the folders apart: their paths below the one that holds all, without times of day where these do not."""
    if len({*folders}) == 1:
        return [""] * len(folders)
    whole = [folder.absolute() for folder in folders]
    top = os.path.commonpath([folder.parent for folder in whole])
    paths = [os.path.relpath(folder, top) for folder in whole]
    timeless = [re.sub(r"/\d{4}-\d\d-\d\d_[\d-]+$", "", path) for path in paths]
    return timeless if len({*timeless}) == len({*paths}) else paths


def _folder(reference: str, logs: Path) -> Path:
    """Where the runs are. Raises UserError unless one of them has results."""
    if reference == "last":
        finished = (run.path for run in newest_runs(logs) if run.metrics_json.is_file())
        if (path := next(finished, None)) is None:
            raise UserError(f"last: no run below {logs} has results yet")
        return path
    for path in (Path(reference).expanduser(), logs / reference):
        if path.is_dir() and _finished(path):
            return path
    run, _ = find_run(reference, logs, "evaluate")  # says what is wrong with a path that holds no run
    state = run.status().get("state", "interrupted")
    if state == "failed" and (why := unfit(run, "evaluate")):
        raise UserError(f"{run.path} {why}")
    raise UserError(f"{run.path} has no results yet (it is {state}). Try groundup evaluate run={run.path}")


def _finished(folder: Path) -> list[RunFolder]:
    """The run in a folder, or those below it, in the order of their paths."""
    if RunFolder(folder).metrics_json.is_file():
        return [RunFolder(folder)]
    return [run for run in sorted(newest_runs(folder), key=_place) if run.metrics_json.is_file()]


def _place(run: RunFolder) -> tuple[int, str]:
    number = run.status().get("job_num")
    return number if isinstance(number, int) else -1, str(run.path)


def _settings(folder: Path) -> dict[str, list[RunFolder]]:
    """What the runs of a folder were given beside seed and fold -> those runs."""
    runs = _finished(folder)
    if runs[0].path == folder:
        return {"": runs}
    given = [_overrides(run) for run in runs]
    keys = [key for key in dict.fromkeys(k for one in given for k in one) if len({one.get(key) for one in given}) > 1]
    found: dict[str, list[RunFolder]] = {}
    for run, one in zip(runs, given, strict=True):
        setting = " ".join(f"{key}={one[key]}" for key in keys if key in one)
        found.setdefault(setting, []).append(run)
    return found


def _overrides(run: RunFolder) -> dict[str, str]:
    words = run.status().get("overrides")
    pairs = [str(word).lstrip("+~").partition("=") for word in words] if isinstance(words, list) else []
    skipped = (*ALIKE, *NO_SETTING)
    return {key: value for key, _, value in pairs if key.partition(".")[0] not in skipped}


def split_of(run: RunFolder) -> str:
    """The split that ``predictions.jsonl`` is of: the last of those in ``metrics.json``."""
    return ([name.partition("/")[0] for name in run.read_json("metrics.json", {})] or [""])[-1]


def answers(systems: Sequence[System], split: str, right: Collection[str]) -> tuple[dict[str, list[Answered]], int]:
    """Name of each system -> its runs' answers, and how many different rows there are.

    Runs that have answered the same rows share a place; folds have one each. ``right``: roles that say what is right.

    Raises UserError, which says how to get there, where systems have answered other rows.
    """
    cleaned = {str((run.read_config().get("data") or {}).get("clean")) for system in systems for run in system.runs}
    # Else the same rows may read otherwise, and what is right decides, unless that is the text itself.
    texts = len(cleaned) == 1 or all(ROLES[role].given for role in right)
    places: dict[tuple, slice] = {}
    found: dict[str, list[Answered]] = {}
    total = 0
    for system in systems:
        parts = []
        for run in system.runs:
            rows = _rows(run, split)
            content = tuple(_asked(row, right, texts) for row in rows)
            if content not in places and system is not systems[0]:
                raise UserError(_other_rows(run, content, systems[0].runs[0], next(iter(places))))
            if content not in places:
                places[content] = slice(total, total + len(rows))
                total += len(rows)
            parts.append(Answered(run, places[content], rows))
        if lacking := [place for place in places.values() if all(place != one.place for one in parts)]:
            raise UserError(f"{system.name} lacks {len(lacking)} of the {len(places)} folds of {systems[0].name}")
        found[system.name] = parts
    return found, total


def _rows(run: RunFolder, split: str) -> Answers:
    kept = split_of(run)
    rows = run.read_predictions() if kept == split else []
    if not rows:
        of = f"keeps predictions of {kept} alone" if run.predictions.is_file() else "holds no predictions.jsonl"
        raise UserError(f"{run.path} {of}. Try groundup evaluate run={run.path} split={split}, and compare its folder")
    return rows


def _asked(row: Mapping[str, Any], right: Collection[str], texts: bool) -> str:
    """What is right and, with ``texts``, what was asked."""
    read = [role for role, about in ROLES.items() if about.given] if texts else []
    roles = [role for role in (*read, *right) if role in row and (texts or not ROLES[role].given)]
    return repr({role: row[role] for role in dict.fromkeys(roles)})


def _other_rows(run: RunFolder, rows: Sequence[str], first: RunFolder, others: Sequence[str]) -> str:
    if len(rows) != len(others):
        why = f"{len(rows):,} rows, not {len(others):,}"
    else:
        place = next(i for i, (one, other) in enumerate(zip(rows, others, strict=True)) if one != other)
        why = f"row {place + 1} is {rows[place]:.60}, not {others[place]:.60}"
    data = (first.status().get("choices") or {}).get("data")
    named = f"data={data}" if isinstance(data, str) and data not in ("files", "_same_as_run") else "data=NAME"
    return (
        f"{run.path} has answered other rows than {first.path} ({why}). Score both on the same, and compare these "
        f"folders: groundup evaluate run={run.path} {named}"
    )
