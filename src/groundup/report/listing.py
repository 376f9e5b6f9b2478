"""Runs as rows: what each is, its state, score and size. A damaged file of one run does not hide the others."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from groundup.errors import UserError
from groundup.metrics.estimate import Estimate
from groundup.report.table import estimates, main_metrics
from groundup.runs.about import all_choices, choices_of
from groundup.runs.folder import RunFolder

HEAD = ("started", "stage", "data", "model", "state", "score", "size", "run")
UNITS = ("B", "kB", "MB", "GB", "TB")


class Listed:
    """A run as a row."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.status: Mapping[str, Any] = folder.status()

    def said(self, key: str) -> str | None:
        """What the run was given for a key of its configuration; of a group, its choice. ``stage`` and ``state``, too."""
        if key in ("stage", "state"):
            return self.status.get(key)
        choices = self.status.get("choices")
        if isinstance(choices, Mapping) and choices.get(key) is not None:
            return str(choices[key])
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return None if value is None or isinstance(value, Mapping) else written(value)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        try:
            return self.folder.read_config()
        except (UserError, OSError):
            return {}

    @cached_property
    def best(self) -> tuple[str, Estimate] | None:
        """The first of the main figures and its name: of test, where there is one."""
        try:
            found = estimates(self.folder.read_json("metrics.json", {}))
            name = next(iter(main_metrics({"": found})), None)
        except Exception:  # whatever a damaged file holds
            return None
        return None if name is None else (name, found[name])

    @property
    def score(self) -> str:
        """``test/accuracy 0.8940``."""
        return "-" if self.best is None else f"{self.best[0]} {str(self.best[1]).partition(' [')[0]}"

    @cached_property
    def size(self) -> int:
        """Bytes on disk; what a link points to is not counted."""
        total = 0
        for top, _, names in os.walk(self.folder.path):
            for name in names:
                try:
                    total += os.lstat(os.path.join(top, name)).st_size
                except OSError:  # it has just gone
                    continue
        return total

    def about(self) -> dict[str, str]:
        """When it began, its stage, data, model and state, as text; ``-`` for what is not known."""
        choices = self._choices()
        chosen = self.status.get("choices")
        experiment = chosen.get("experiment") if isinstance(chosen, Mapping) else None
        started = self.status.get("started")
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(started)) if isinstance(started, int | float) else None
        found = {
            "started": when,
            "stage": self.status.get("stage"),
            "data": choices.get("data"),
            "model": choices.get("model") or choices.get("baseline") or experiment,
            "state": self.status.get("state"),
        }
        return {name: str(word or "-") for name, word in found.items()}

    def _choices(self) -> Mapping[str, str]:
        """Of an evaluation those of the run that is judged, too."""
        try:
            return all_choices(self.folder) if self.status.get("stage") == "evaluate" else choices_of(self.status)
        except (UserError, OSError):
            return choices_of(self.status)

    def cells(self) -> tuple[str, ...]:
        """As ``HEAD`` names them."""
        return *self.about().values(), self.score, as_size(self.size), os.path.relpath(self.folder)


def without_inner(found: Sequence[Listed]) -> list[Listed]:
    """Without folds, members, steps and sets of other runs, whose folders lie in theirs."""
    folders = {one.folder.path for one in found}
    return [one for one in found if folders.isdisjoint(one.folder.path.parents)]


def written(value: object) -> str:
    """A value as the command line writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_size(count: float) -> str:
    """Bytes in the unit that leaves one to three digits: ``1.4 GB``."""
    for unit in UNITS:
        if count < 999.5 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 9.95 or unit == "B" else f"{count:.1f} {unit}"
