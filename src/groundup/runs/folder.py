"""The run folder: its layout, its configuration and its state. Imports nothing heavy."""

from __future__ import annotations

import json
import math
import os
import shlex
import time
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

from groundup.errors import UserError
from groundup.runs.lock import lives, this_process
from groundup.system.files import (
    MOST_ROWS,
    damaged,
    number_pattern,
    read_json,
    read_text,
    read_yaml,
    write_over,
    write_text,
)
from groundup.system.secrets import mask

if TYPE_CHECKING:
    from groundup.metrics.sections import Section

GROUPS = ("data", "model", "task", "paths")  # keys that are looked into before a configuration is checked
FORMAT = 2  # of run folders; 1 had no number. A change that older or newer code would misread makes it one more
LATEST = 1e11  # unix seconds of the year 5138: a time beyond it is none
State = Literal["running", "done", "failed", "interrupted"]


class RunFolder:
    """One run on disk. Every path is relative to the folder, so it may be moved or copied.

    ``checkpoint`` is set when the run was opened through one of its checkpoints; it then stands for best and last.
    """

    def __init__(self, path: str | os.PathLike[str], checkpoint: Path | None = None) -> None:
        self.path = Path(path)
        self.checkpoint = checkpoint
        self.config_file = self.path / "config.yaml"
        self.command = self.path / "command.txt"
        self.status_file = self.path / "status.json"
        self.provenance = self.path / "provenance.json"
        self.tokenizer = self.path / "tokenizer.json"
        self.target_tokenizer = self.path / "target_tokenizer.json"
        self.labels = self.path / "labels.json"
        self.facts = self.path / "facts.json"
        self.checkpoints = self.path / "checkpoints"
        self.metrics_csv = self.path / "metrics.csv"
        self.metrics_json = self.path / "metrics.json"
        self.baselines = self.path / "baselines.json"
        self.predictions = self.path / "predictions.jsonl"
        self.samples = self.path / "samples"
        self.report = self.path / "report.html"
        self.log = self.path / "run.log"
        self._since: float | None = None  # seconds of the monotonic clock at which this process began to run it

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    # ---------------------------------------------------------------- configuration and command

    def write_config(self, config: Mapping[str, object]) -> None:
        """Save the resolved configuration as plain YAML, secrets masked."""
        import yaml

        text = yaml.dump(mask(plain(config)), Dumper=_dumper(yaml), sort_keys=False, allow_unicode=True, width=120)
        write_text(self.config_file, text)

    def read_config(self) -> dict:
        """The saved configuration; an empty dict when the run died before it was written.

        Raises:
            UserError: the file is none that ``write_config`` made.
        """
        if not self.config_file.exists():
            return {}
        config = read_yaml(self.config_file) or {}
        if not isinstance(config, dict):
            raise damaged(self.config_file, "no mapping of keys")
        for key in GROUPS:
            if not isinstance(config.get(key), dict | None):
                raise damaged(self.config_file, f"{key} is no mapping of keys")
        return config

    def write_command(self, arguments: Iterable[str]) -> None:
        """Save the command line that can be pasted into a shell, secrets masked."""
        masked = [str(mask(argument)) for argument in arguments]
        write_text(self.command, shlex.join(masked) + "\n")

    def read_command(self) -> str | None:
        """The saved command line; None when there is none."""
        return read_text(self.command).strip() if self.command.is_file() else None

    # ---------------------------------------------------------------- state

    def set_status(self, state: State, why: str | None = None, **more: object) -> None:
        """Write ``status.json``. ``started`` (unix seconds) stays that of the first start; ``seconds`` adds up over resumes.

        ``seconds`` is measured by a clock that nobody can set, from ``running`` to the end, of this process alone.
        ``more``: plain values kept until overwritten, such as ``stage`` and ``step``.
        """
        now = time.time()
        old = self._read_status()
        new = {"format": FORMAT, **old, **more, "state": state, "why": why, **this_process()}
        new.setdefault("started", now)
        if state == "running" and self._since is None:
            new["resumed"], self._since = now, time.monotonic()
        new["ended"] = None if state == "running" else now
        before = old.get("seconds")
        new["seconds"] = before if isinstance(before, int | float) else 0.0
        if state != "running" and self._since is not None:
            new["seconds"] += time.monotonic() - self._since
            self._since = None
        try:
            self.write_json("status.json", new)
        except UserError:  # the disk is full, and whoever reads "running" would wait for ever
            if not write_over(self.status_file, _as_json(new)):
                raise

    def status(self) -> dict:
        """What ``status.json`` says; a run whose process is gone without a word counts as interrupted."""
        status = self._read_status()
        if status.get("state") == "running" and not lives(status):
            why = f"process {status.get('pid')} ended without a word (killed?)"
            status |= {"state": "interrupted", "why": why, "exit_code": None}
        return status

    def foreign_format(self) -> str | None:
        """Why this version cannot use the folder, as the end of a sentence; None when it can."""
        status = self._read_status()
        if not status or status.get("format") == FORMAT:
            return None
        told = status.get("format", 1)
        return (
            f"has the format {told} of run folders, and this groundup reads {FORMAT}. Use it with the version that made "
            "it (provenance.json names the commit), or train it again"
        )

    def _read_status(self) -> dict:
        try:
            status = self.read_json("status.json", {})
        except (UserError, OSError):  # somebody edited it, may not read it, or removes it just now
            status = {}
        return {key: value for key, value in status.items() if _is_told(key, value)} if isinstance(status, dict) else {}

    # ---------------------------------------------------------------- results

    def write_json(self, name: str, value: object) -> None:
        """Save ``value`` as ``name`` in one step. Objects with ``as_dict`` are written as that; NaN and inf as null."""
        write_text(self.path / name, _as_json(value))

    def read_json(self, name: str, default: object = None):
        """The content of the JSON file ``name``, or ``default`` when there is none.

        Raises:
            UserError: the file is damaged, or none that a run wrote; ``default`` says which type is expected.
        """
        file = self.path / name
        if not file.exists():
            return default
        value = read_json(file)
        if default is not None and not isinstance(value, type(default)):
            raise damaged(file, f"it holds a {type(value).__name__}, not a {type(default).__name__}")
        return value

    def read_sections(self) -> list[Section]:
        """What the run shows of its predictions; an empty list when there is nothing. Raises as ``read_json``."""
        from groundup.metrics.sections import sections_from

        try:
            return sections_from(self.read_json("sections.json", []))
        except ValueError as error:
            raise damaged(self.path / "sections.json", str(error).split("\n")[0]) from None

    def write_predictions(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Save one JSON object a line in ``predictions.jsonl``."""
        lines = [json.dumps(finite(plain(row)), ensure_ascii=False) for row in rows]
        write_text(self.predictions, "".join(line + "\n" for line in lines))

    def read_predictions(self) -> list[dict]:
        """The rows of ``predictions.jsonl``; an empty list when there is none. Raises as ``read_json``."""
        if not self.predictions.is_file():
            return []
        # Not splitlines(): texts may hold U+2028 and the like, which JSON leaves as they are.
        lines = read_text(self.predictions, MOST_ROWS).split("\n")
        try:
            rows = [json.loads(line) for line in lines if line]
        except (ValueError, RecursionError):
            rows = [None]
        if not all(isinstance(row, dict) for row in rows):
            raise damaged(self.predictions, "a line is no JSON object")
        return rows


def _as_json(value: object) -> str:
    return json.dumps(finite(plain(value)), ensure_ascii=False, indent=2) + "\n"


def _is_told(key: str, value: object) -> bool:
    """Whether a value of ``status.json``, which may be anyone's, is of the kind that its key has."""
    if key in ("started", "resumed", "ended", "seconds"):
        return (isinstance(value, int | float) and 0 <= value < LATEST) or (key == "ended" and value is None)
    return key not in ("stage", "state") or isinstance(value, str)


def plain(value: object) -> object:
    """Nested values as dict, list, str, int, float, bool and None, as YAML and JSON know them.

    Raises:
        TypeError: for anything that has no plain form.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {key if isinstance(key, int | float | bool) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, PurePath):
        return str(value)
    for method in ("as_dict", "tolist"):  # estimates and facts; numpy arrays and scalars, tensors
        if callable(getattr(value, method, None)):
            return plain(getattr(value, method)())
    raise TypeError(f"{type(value).__name__} has no plain form, so it cannot be saved with a run: {value!r:.80}")


def finite(value: object) -> object:
    """JSON knows no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


def _dumper(yaml) -> type:
    """Writes what ``read_yaml`` reads: ``3e-3`` is a number there, so the text "3e-3" gets its quotes."""

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    Dumper.add_implicit_resolver(*number_pattern())
    return Dumper
