"""``metrics.csv`` of a run: written a row at a time, read by reports. Neither needs torch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from groundup.system.files import damaged, full_disk, no_link, read_text, write_text

_MOST_VALUES = 10_000_000
_LONGEST = 100_000  # characters of a row


class MetricsCsv:
    """A table that grows at its end. Columns: ``step``, then metric names in the order of their first appearance.

    What is logged twice at one step lands in one row. A new name rewrites the file, which happens a handful of times a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = ["step"]
        self._last: dict[str, float] = {}
        self._last_starts = 0  # byte where the last row begins
        self._load()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add values to the row of ``step``.

        Raises:
            UserError: the disk is full.
        """
        same_row = self._last.get("step") == step
        row: dict[str, float] = {**self._last, **metrics} if same_row else {"step": step, **metrics}
        new = [name for name in metrics if name not in self.columns]
        if new or not self.path.exists():
            rows = read_metrics(self.path)
            self.columns += new
            self._rewrite([*(rows[:-1] if same_row else rows), row])
            return
        try:
            with open(self.path, "r+b", opener=no_link) as file:
                starts = self._last_starts if same_row else file.seek(0, io.SEEK_END)
                file.seek(starts)
                file.write(self._line(row))
                file.truncate()
        except OSError as error:
            raise full_disk(error, self.path) or error from error
        self._last, self._last_starts = row, starts

    def cut(self, step: int) -> None:
        """Drop rows after ``step``: a resumed run writes them again."""
        rows = read_metrics(self.path)
        if any(row["step"] > step for row in rows):
            self._rewrite([row for row in rows if row["step"] <= step])

    def _load(self) -> None:
        rows = read_metrics(self.path)
        if rows:
            self.columns = list(dict.fromkeys(name for name in _header(self.path)))
            self._rewrite(rows)  # a line torn by a crash goes

    def _rewrite(self, rows: list[dict[str, float]]) -> None:
        lines = [self._line(dict.fromkeys(self.columns), header=True), *map(self._line, rows)]
        write_text(self.path, b"".join(lines).decode())
        self._last = rows[-1] if rows else {}
        self._last_starts = sum(map(len, lines[:-1])) if rows else len(lines[0])

    def _line(self, row: Mapping[str, object], header: bool = False) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(
            list(row) if header else [_text(row.get(c)) for c in self.columns]
        )
        return text.getvalue().encode()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a ``metrics.csv``, each ``{"step": int, name: value}`` with the names that have a value; torn lines are left out.

    Raises:
        UserError: the file is no text, or far larger than a run writes it.
    """
    if not path.is_file():
        return []
    text = read_text(path)
    if text.count(",") > _MOST_VALUES:
        raise damaged(path, f"more than {_MOST_VALUES:,} values")
    *lines, _torn = text.split("\n")
    if any(len(line) > _LONGEST for line in lines):
        raise damaged(path, f"a row of more than {_LONGEST:,} characters")
    rows = []
    try:
        for values in csv.DictReader(lines):
            whole = None not in values and None not in values.values()
            row = {name: _number(text) for name, text in values.items() if text} if whole else {}
            if isinstance(row.get("step"), int):
                rows.append(row)
    except csv.Error as error:
        raise damaged(path, f"no table ({error})") from None
    return rows


def _header(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        return next(csv.reader(file), ["step"])


def _text(value: object) -> str:
    if value is None or value == "":
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _number(text: str) -> float:
    """A whole number stays one, so that a row that is written again is the row that was read."""
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return math.nan
