"""``groundup rerun``: a run once more from what its folder says, and whether the figures are the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup.config.compose import compose
from groundup.config.hydra import run_time
from groundup.config.quoting import inert
from groundup.config.tree import Config
from groundup.data.sources.few_labels import AllText
from groundup.errors import UserError
from groundup.jobs.changes import changes_of
from groundup.jobs.job import run_job
from groundup.jobs.resume import given
from groundup.report.table import markdown
from groundup.runs.differences import differences
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
from groundup.runs.job import Job
from groundup.runs.reference import RESUMABLE, open_run
from groundup.runs.systems import System
from groundup.system.files import remove_empty
from groundup.training.step_logger import OF_MACHINE

log = logging.getLogger(__name__)
FILLED_IN = ("init_from", "self_training")  # what a run that trains another one first writes over
LEARN = ("pretrain", "finetune", "distill", "baseline")  # stages that learn from data of their own
MOST = 20  # figures that are shown


def run(cfg: Config, job: Job) -> None:
    """Runs it, and prints the comparison. Raises SystemExit(1) where figures differ.

    Raises UserError for a run that is not done, and one that cannot be run from its folder alone.
    """
    old = open_run(cfg.run, Path(cfg.paths.logs), "read")
    status, config = old.status(), old.read_config()
    stage = str(status.get("stage"))
    if stage not in RESUMABLE or status.get("state") != "done":
        if stage not in RESUMABLE:
            raise UserError(
                f"{old.path} is a run of `groundup {stage}`, which is not compared. Type what {old.path / 'command.txt'} says"
            )
        raise UserError(
            f"{old.path} is {status.get('state')}: only what is done is run again. Try groundup runs state=done"
        )
    overrides = [word for word in status.get("overrides") or [] if isinstance(word, str)]
    if any(config.get(key) for key in ("task_adaptive", "self_training")):
        today = compose(stage, inert(overrides))
        config |= {key: today[key] for key in FILLED_IN if key in today}
    folder = RunFolder(Path(cfg.paths.logs) / stage / old.path.resolve().parent.name / f"{run_time()}_rerun")
    log.info("%s again, in %s", old.path, folder.path)
    for line in changes_of(old):
        log.warning(
            "%s was changed under way, at %s. This rerun has its last settings from the first step on", old.path, line
        )
    check_rows(old, stage, config)
    choices = status.get("choices")
    try:
        run_job(stage, given(stage, config) | {"paths": cfg.paths}, folder.path, overrides, choices=choices or {})
    finally:
        remove_empty(folder.path, Path(cfg.paths.logs))
    if not same(old, folder, Path(cfg.paths.logs)):
        raise SystemExit(1)


def check_rows(old: RunFolder, stage: str, config: Mapping[str, Any]) -> None:
    """Warns of splits whose rows are others than those that the run saw. Raises UserError where they cannot be read."""
    recorded, data = old.read_json("provenance.json", {}).get("data"), config.get("data") or {}
    if stage not in LEARN or any(config.get(key) for key in ("task_adaptive", "self_training")):
        return  # it has its rows from another run, or makes some itself
    if not isinstance(recorded, Mapping) or (data.get("hub") and not data.get("root")):
        return  # of a pipeline, or of folds; or of the hub, whose rows are loaded to be known
    from groundup.stages.build import source_of  # imports torch

    command = old.read_command() or f"groundup {stage}"
    try:
        source = source_of(Config(config))
        other = [
            split
            for split, about in recorded.items()
            if split in source.splits()
            and isinstance(about, Mapping)
            and about.get("fingerprint") not in [one.fingerprint(split) for one in (source, AllText(source))]
        ]
    except UserError as error:
        said = str(error).partition(". ")[0]
        raise UserError(
            f"{said}: {old.path} learned from it. Put it back, or start a new run: {command} data.train=FILE"
        ) from error
    if other:
        log.warning(
            "%s: the rows of %s, or how they are read, were changed since, so figures will differ. A run of its own on "
            "today's rows: %s",
            old.path,
            " and ".join(other),
            command,
        )


def same(old: RunFolder, new: RunFolder, logs: Path) -> bool:
    """Prints whether the figures of two runs are identical and, where they are not, what else differs."""
    (then, now), (before, after) = map(figures, (old, new)), map(curves, (old, new))
    other = [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]
    rows = sum(one != two for one, two in zip(before, after, strict=False)) + abs(len(before) - len(after))
    if not other and not rows:
        print(f"identical: {len(then)} figures and {len(before)} rows of metrics.csv")
        return True
    print(
        f"not identical: {len(other)} of {len(then)} figures and {rows} of {len(before)} rows of metrics.csv differ\n"
    )
    lines = [[name, text(then.get(name)), text(now.get(name)), change(then.get(name), now.get(name))] for name in other]
    if lines:
        more = f"\n{len(lines) - MOST} more" if len(lines) > MOST else ""
        print(markdown(["figure", "then", "now", "difference"], lines[:MOST]) + more + "\n")
    for line in changes_of(old):
        print(f"changed under way, at {line}\n")
    found = differences([System("then", (old,)), System("now", (new,))], logs) | machines(old, new)
    if found:
        print(markdown(["what differs", "then", "now"], [[key, *values.values()] for key, values in found.items()]))
    else:
        print("Settings, code, data, packages and machine are alike: several threads or a GPU may add in another order")
    return False


def figures(run: RunFolder) -> dict[str, Any]:
    """Name -> value and interval of each figure of ``metrics.json``."""
    saved = run.read_json("metrics.json", {})
    return {name: one for name, one in saved.items() if isinstance(one, Mapping)}


def curves(run: RunFolder) -> list[dict[str, float]]:
    """The rows of ``metrics.csv``, without what no machine repeats. Not-a-number is one value."""
    rows = read_metrics(run.metrics_csv)
    return [{k: v if v == v else "nan" for k, v in row.items() if k not in OF_MACHINE} for row in rows]  # type: ignore[misc]


def machines(old: RunFolder, new: RunFolder) -> dict[str, dict[str, str]]:
    """What differs of the machines, but for the names that each start gives them."""
    then, now = (run.read_json("provenance.json", {}).get("machine") or {} for run in (old, new))
    return {
        f"machine {key}": {"then": str(then.get(key, "-")), "now": str(now.get(key, "-"))}
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    }


def text(figure: Mapping[str, Any] | None) -> str:
    return "-" if figure is None or figure.get("value") is None else repr(figure["value"])


def change(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """Of the values; of intervals alone in a word."""
    before, after = ((one or {}).get("value") for one in (then, now))
    if not (isinstance(before, int | float) and isinstance(after, int | float)):
        return "-"
    return f"{after - before:+.3g}" if after != before else "interval"
