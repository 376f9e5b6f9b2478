"""``groundup promote``: a run, or the best of a sweep, as an experiment to be run by name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from groundup.config.budget import budget_of
from groundup.config.compose import compose
from groundup.config.files import conf_dir, groups
from groundup.config.quoting import OVERRIDE, inert
from groundup.config.tree import Config, leaves
from groundup.errors import UserError
from groundup.jobs.sweep import read
from groundup.jobs.sweep_plan import FINISHED, Plan, find_sweep
from groundup.report.listing import Listed
from groundup.runs.folder import RunFolder, plain
from groundup.runs.job import Job
from groundup.runs.reference import open_run
from groundup.system.files import write_text

log = logging.getLogger(__name__)
NAME = re.compile(r"\w[\w-]*")
NOT_KEPT = ("hydra", "paths", "run_name")  # keys that say where a run was, not what it is


def run(cfg: Config, job: Job) -> None:
    """Writes the experiment, and composes it again to see that it says the same.

    Raises UserError for a name that is taken or no name, a run that is not done, and one whose command no longer composes.
    """
    if (cfg.run is None) == (cfg.sweep is None):
        raise UserError("one of run=RUN and sweep=SWEEP. Try groundup promote run=last name=NAME")
    folder = conf_dir() / "experiment"
    file = folder / f"{cfg.name}.yaml"
    if not NAME.fullmatch(cfg.name):
        raise UserError(f"name={cfg.name}: letters, digits and _. Try name={re.sub(r'[^0-9A-Za-z_]+', '_', cfg.name)}")
    if file.exists():
        raise UserError(f"{file} is there already. Try name={cfg.name}_2")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} may not be written. Try export GROUNDUP_CONF=a copy of it")
    logs = Path(cfg.paths.logs)
    chosen = best_of(find_sweep(cfg.sweep, logs)) if cfg.sweep else open_run(cfg.run, logs, "read")
    status = chosen.status()
    stage, words = str(status.get("stage")), [w for w in status.get("overrides") or [] if isinstance(w, str)]
    if status.get("state") != "done":
        raise UserError(f"{chosen.path} is {status.get('state')}. Try a run that is done: groundup runs state=done")
    composed = compose(stage, inert(words))
    composed["budget"] = budget_of(composed["budget"], words) if composed.get("budget") else None
    trial = file.with_name(f"_{file.name}")  # nobody can choose it: killed before the end, this leaves no experiment
    write_text(trial, experiment(stage, words, composed, about(chosen)))
    try:
        ours, theirs = (leaves(without_places(one)) for one in (compose(stage, [f"experiment={trial.stem}"]), composed))
        if other := sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)):
            raise UserError(
                f"{other[0]} would be {ours.get(other[0])}, not {theirs.get(other[0])}: {chosen.path} cannot be promoted"
            )
        trial.replace(file)
    finally:
        trial.unlink(missing_ok=True)
    print(f"{file}\ngroundup {stage} experiment={cfg.name}")


def best_of(sweep: Path) -> RunFolder:
    """The job that the table of the sweep has first: the best and, of equal ones, that of the lowest number.

    Raises UserError where none is done.
    """
    plan = Plan.read(sweep)
    rows, ranking = read(plan)
    done = [row for row in rows if row.state == "done" and ranking.monitor in row.metrics]
    if not done:
        if any(row.state not in FINISHED for row in rows):
            raise UserError(f"{sweep}: no job is done. Try groundup resume sweep={sweep}")
        raise UserError(f"{sweep}: no job has {ranking.monitor}, to be the best by. Name one: groundup promote run=RUN")
    monitor = ranking.monitor or ""
    if equal := [row.number for row in done[1:] if row.metrics[monitor] == done[0].metrics[monitor]]:
        numbers = " and ".join(map(str, [done[0].number, *equal]))
        other = os.path.relpath(plan.run(equal[0]).path)
        log.warning("jobs %s have the same %s: the first is taken. For another: run=%s", numbers, monitor, other)
    return plan.run(done[0].number)


def about(run: RunFolder) -> list[str]:
    """Comments: the score, the folder, the code and the data it comes from."""
    provenance = run.read_json("provenance.json", {})
    git = provenance.get("git") or {}
    data = {split: one.get("fingerprint") for split, one in (provenance.get("data") or {}).items()}
    lines = [f"{Listed(run).score}, {os.path.relpath(run.path)}", run.read_command() or ""]
    lines.append(f"code: {git.get('sha')}{' with changes' if git.get('dirty') else ''}" if git else "")
    lines.append("data: " + ", ".join(f"{split} {one}" for split, one in data.items()) if data else "")
    return [" ".join(line.split()) for line in lines if line]


def experiment(stage: str, words: list[str], composed: Config, comments: list[str]) -> str:
    """The YAML of an experiment that does what ``words`` did after the verb, and was ``composed`` of them.

    Raises UserError for a word that it has no form for.
    """
    known = groups(conf_dir())
    defaults: list[Any] = []
    values: dict[str, Any] = {"stage": stage}
    for word in words:
        match = OVERRIDE.fullmatch(word)
        if match is None or match[1][0] == "~":
            raise UserError(f"{word}: an experiment has no form for it. Run it again without")
        key, chosen = match[1].lstrip("+"), yaml.safe_load(match[2])
        group = key.partition("@")[0]
        if key.partition(".")[0].partition("/")[0] in NOT_KEPT:
            continue
        if key == "experiment":
            defaults.insert(0, chosen)
        elif group in known and "." not in key:
            defaults.append({f"override /{key}": chosen})
        else:
            path = "budget" if key.startswith("budget.") else key  # whole: one unit takes the place of another
            put(values, path.split("."), plain(composed.at(path)))
    lines = ["# @package _global_", *(f"# {line}" for line in comments)]
    lines.append(yaml.safe_dump({"defaults": [*defaults, "_self_"]}, sort_keys=False, allow_unicode=True))
    return "\n".join(lines) + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10_000)


def put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """``values[a][b] = value``. A later word of a key counts before an earlier one."""
    *outer, last = keys
    for key in outer:
        values = values.setdefault(key, {})
    values[last] = value


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in (*NOT_KEPT, "stage")}
