"""What differs between runs that are compared: settings, code, data, packages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.config.tree import leaves
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.reference import find_run
from groundup.runs.systems import NO_SETTING, System
from groundup.system.files import read_text
from groundup.system.streams import visible

_LEFT_OUT = (*NO_SETTING, "logger", "wandb", "num_workers", "size")  # size: its values stand in the model's
_ANSWERING = (
    "model",
    "baseline",
)  # groups of which a run has one; of others that its stage lacks there is nothing to tell
_TARGET = "._target_"
_OF_A_FOLD = ("tokenizer", "data")  # of provenance.json
_LONGEST, _DIGITS = 40, 8  # characters of a value, and of a fingerprint
Facts = dict[str, str]


def differences(systems: Sequence[System], logs: Path) -> dict[str, Facts]:
    """What differs -> system -> its value, a dash for none. Of several runs of a system each value is told once.

    What is not known of a system is no difference: an imported run, say, has no record of packages.
    """
    settings, sources = (
        {system.name: _joined([facts(run, logs) for run in system.runs]) for system in systems}
        for facts in (_settings, _sources)
    )
    found: dict[str, Facts] = {}
    for known in (settings, sources):
        for key in dict.fromkeys(key for facts in known.values() for key in facts):
            values = {name: facts.get(key, "-") for name, facts in known.items()}
            told = "-" not in values.values() or (known is settings and _replaced(key, settings))
            if told and len({*values.values()}) > 1:
                found[key.removesuffix(_TARGET)] = values
    return found


def _replaced(key: str, settings: Mapping[str, Facts]) -> bool:
    """Whether it tells more that a system lacks a key: that it has another class there, or none."""
    group = key.partition(".")[0]
    both = all(any(name.partition(".")[0] == group for name in facts) for facts in settings.values())
    return key.endswith(_TARGET) and (both or group in _ANSWERING)


def _joined(runs: Sequence[Facts]) -> Facts:
    """The values of all runs of a system: ``1, 2, 3``."""
    keys = dict.fromkeys(key for run in runs for key in run)
    return {key: _short(", ".join(dict.fromkeys(run[key] for run in runs if key in run))) for key in keys}


def _settings(run: RunFolder, logs: Path) -> Facts:
    """What a run was trained with; an evaluation has the settings of its run, and the data that it scored."""
    config = run.read_config()
    if run.status().get("stage") == "evaluate":
        try:
            trained, _ = find_run(str(config.get("run")), logs, "evaluate")
            config = {**trained.read_config(), "data": config.get("data")}
        except (UserError, OSError):  # it was moved or removed
            config = {"data": config.get("data")}
    kept = {key: value for key, value in config.items() if key not in _LEFT_OUT}
    return {key: _text(value, key) for key, value in leaves(kept).items()}


def _sources(run: RunFolder, logs: Path) -> Facts:
    """The code, tokenizer, data and packages that the figures of a run come from; what is not recorded is left out.

    Folds share code and packages, and each has rows and a tokenizer of its own.
    """
    record = run.read_json("provenance.json", {})
    if not record and (run.path / "fold_1").is_dir():
        run = RunFolder(run.path / "fold_1")
        record = {key: value for key, value in run.read_json("provenance.json", {}).items() if key not in _OF_A_FOLD}
    found = {"code": code} if (code := _code(run, record)) else {}
    found |= {"tokenizer.json": str(record["tokenizer"])[:_DIGITS]} if record.get("tokenizer") else {}
    for split, about in _items(record.get("data")):
        if isinstance(about, Mapping) and "fingerprint" in about:
            found[f"rows of {split}"] = str(about["fingerprint"])[:_DIGITS]
    return found | {f"package {name}": str(version) for name, version in _items(record.get("packages"))}


def _code(run: RunFolder, record: Mapping[str, Any]) -> str | None:
    """``cd84f681``, the commit; with uncommitted changes ``cd84f681 + 1a2b3c4d``, their digest; else the version."""
    git, version = record.get("git"), record.get("groundup")
    if not isinstance(git, Mapping) or not git.get("sha"):
        return f"groundup {version}" if version else None
    commit, changes = str(git["sha"])[:_DIGITS], run.path / "provenance.diff"
    if not git.get("dirty"):
        return commit
    if not changes.is_file():
        return f"{commit} + changes"
    return f"{commit} + {hashlib.sha256(read_text(changes).encode()).hexdigest()[:_DIGITS]}"


def _items(value: object) -> list[tuple[str, Any]]:
    return [(str(name), one) for name, one in value.items()] if isinstance(value, Mapping) else []


def _text(value: object, key: str = "") -> str:
    """As it is typed on the command line; of a class its name."""
    if key.endswith(_TARGET):
        return str(value).rpartition(".")[2]
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def _short(text: str) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
