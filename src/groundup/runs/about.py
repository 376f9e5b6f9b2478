"""A run in a few words: the names and facts by which people find, group and filter runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from groundup.runs.folder import RunFolder

NAMED = ("data", "model", "baseline", "size")  # groups whose choices are what a run is called first
GROUPS = (*NAMED, "task")
UNTOLD = {"run", "hydra", "paths", "run_name", "logger", "wandb", "seed", "threads", "experiment"}  # left out of a name
LONGEST = 24  # characters of a value in a name
LONGEST_NAME = 120  # W&B takes 128


def choices_of(status: Mapping[str, Any]) -> dict[str, str]:
    """The choices that say what a run is, by its ``status.json``; without those that stand for something inherited."""
    chosen = status.get("choices")
    known = chosen if isinstance(chosen, Mapping) else {}
    return {group: known[group] for group in GROUPS if isinstance(known.get(group), str) and known[group][:1] != "_"}


def judged(run: RunFolder) -> RunFolder | None:
    """The run that an evaluation is of; None for a run of another kind, and where that run is gone."""
    named = run.read_config().get("run")
    if not isinstance(named, str):
        return None
    path = Path(named)
    folder = path.parent.parent if path.suffix == ".ckpt" else path
    return RunFolder(folder) if (folder / "config.yaml").is_file() else None


def all_choices(run: RunFolder) -> dict[str, str]:
    """Of a run; of an evaluation those of the run that is judged, too, unless it has its own."""
    model = judged(run)
    return {**(choices_of(model.status()) if model else {}), **choices_of(run.status())}


def name_of(run: RunFolder) -> str:
    """``trec6 cnn_encoder tiny dropout=0.5 seed=2``: what was chosen, then what was typed, then the seed."""
    status = run.status()
    choices = all_choices(run)
    parts = [choices[group] for group in NAMED if group in choices]
    typed = status.get("overrides")
    for word in typed if isinstance(typed, list) else ():
        key, _, value = str(word).lstrip("+~").partition("=")
        if key not in GROUPS and key.partition(".")[0].partition("/")[0] not in UNTOLD:
            parts.append(f"{key.rpartition('.')[2]}={_short(value)}")
    model = judged(run)
    seed = (model or run).read_config().get("seed")
    parts += [] if seed is None else [f"seed={seed}"]
    return " ".join(dict.fromkeys(parts))[:LONGEST_NAME] or run.path.resolve().name


def facts_of(run: RunFolder) -> dict[str, Any]:
    """Plain values that runs are grouped and filtered by.

    ``choice``: of each group; ``parameters``; ``data_fingerprint``: of the train split, or of the first there is;
    ``commit`` and ``dirty``: the code; ``began_with``: what ``init_from``, ``run`` or ``members`` names.
    """
    provenance, config = run.read_json("provenance.json", {}), run.read_config()
    data = {split: one for split, one in (provenance.get("data") or {}).items() if isinstance(one, Mapping)}
    git = provenance.get("git") or {}
    model = judged(run)
    known = model.read_json("provenance.json", {}) if model else provenance
    began = config.get("init_from")
    if isinstance(began, Mapping):  # of the sides of an encoder-decoder
        began = {side: named for side, named in began.items() if named}
    facts = {
        "choice": all_choices(run),
        "parameters": known.get("parameters"),
        "data_fingerprint": next((one.get("fingerprint") for one in data.values()), None),
        "commit": git.get("sha"),
        "dirty": git.get("dirty"),
        "began_with": began or config.get("run") or config.get("members"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _short(value: str) -> str:
    text = value.strip("'\"")
    text = PurePath(text).name if "/" in text else text
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
