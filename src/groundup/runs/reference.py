"""What ``run=`` means: a folder, a checkpoint inside one, or ``last``."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal

from groundup.errors import UserError
from groundup.runs.checkpoints import BEST, LAST, PREVIOUS, damage
from groundup.runs.folder import RunFolder

log = logging.getLogger(__name__)
Use = Literal["evaluate", "predict", "generate", "init_from", "network", "resume", "read"]  # what a run is opened for
RESUMABLE = (
    "pretrain",
    "finetune",
    "distill",
    "compress",
    "baseline",
    "evaluate",
    "pipeline",
)  # stages that can go on where they stopped
CHECKPOINTS = (BEST, LAST, PREVIOUS)
MEMBERS = "members.json"  # runs inside a run that answer together, with their weights
CLASSIFIERS = (MEMBERS, "baseline.npz")  # what answers in a run without a network
EARLIER = "earlier"  # folder in a run: what it had trained first for itself, or had ended with before it went on; never ``last``
_NOT_RUNS = {"checkpoints", "wandb", "tensorboard", "samples", EARLIER}


def open_run(ref: str | os.PathLike[str], logs: Path, use: Use = "evaluate") -> RunFolder:
    """``find_run``; says which run ``last`` is. Raises UserError also for a folder of another version's format."""
    run, said = find_run(ref, logs, use)
    run = answering_step(run, use)
    if why := run.foreign_format():
        raise UserError(f"{run.path} {why}")
    if said:
        log.info("%s", said)
    return run


def find_run(ref: str | os.PathLike[str], logs: Path, use: Use) -> tuple[RunFolder, str | None]:
    """The run that ``ref`` names, and a line that says which one ``last`` is.

    Args:
        ref: a run folder (as it is, or below ``logs``), a checkpoint in its ``checkpoints/``, or ``last``: of the runs
            below ``logs`` that can serve ``use``, the one that was started last.
        logs: the folder of all runs; sweeps and pipelines may nest them deeper.

    Raises:
        UserError: there is no such run; the line names the three newest ones.
    """
    if str(ref) == "last":
        return _last_run(logs, use)
    for path in (Path(ref).expanduser(), Path(logs) / ref):
        if path.is_file() and path.suffix == ".ckpt":
            for folder in path.resolve().parents[:2]:
                if (folder / "config.yaml").is_file():
                    return RunFolder(folder, checkpoint=path), None
            raise UserError(f"{path} lies in no run folder: no config.yaml beside it or one level up. Say run=FOLDER")
        if (path / "config.yaml").is_file():
            return RunFolder(path), None
    known = [str(run.path) for run in islice((run for run in newest_runs(logs) if not unfit(run, use)), 3)]
    hint = f"The newest runs: {', '.join(known)}" if known else f"There is none below {logs} yet"
    for path in (Path(ref).expanduser(), Path(logs) / ref):
        if inside := sorted(path.glob("*/config.yaml")):
            newest = next((run.path for run in newest_runs(path) if not unfit(run, use)), inside[0].parent)
            raise UserError(f"run {ref}: is no run, and holds {len(inside)}. Try {newest}")
    problem = "holds no config.yaml, so it is no run" if Path(ref).expanduser().is_dir() else "does not exist"
    raise UserError(f"run {ref}: {problem}. {hint}")


def answering_step(run: RunFolder, use: Use) -> RunFolder:
    """The last step of a pipeline that can serve ``use``; any other run, or a pipeline without such a step, as it is."""
    if run.status().get("stage") != "pipeline" or use in ("resume", "read"):
        return run
    names = [name for name in run.read_config().get("steps") or {} if re.fullmatch(r"\w[\w-]*", str(name))]
    steps = [RunFolder(run.path / name) for name in reversed(names) if (run.path / name / "config.yaml").is_file()]
    return next((step for step in steps if step.status().get("stage") != "pipeline" and not unfit(step, use)), run)


def unfit(run: RunFolder, use: Use) -> str | None:
    """Why a run cannot serve ``use``, as the end of a sentence; None when it can. Reads no tensor."""
    if why := run.foreign_format():
        return why
    if use == "read":
        return None
    status = run.status()
    stage, state = status.get("stage"), status.get("state", "interrupted")
    if (step := answering_step(run, use)) is not run:
        return unfit(step, use)
    kept = run.checkpoint is not None or any((run.checkpoints / name).exists() for name in CHECKPOINTS)
    if use == "resume":
        if stage not in RESUMABLE:
            return f"is a run of `groundup {stage}`, which has nothing to resume. Run it again"
        if state == "failed" and stage == "evaluate":
            return f"failed ({status.get('why')}). Run it again"
        begun = (
            kept or any((run.path / name).exists() for name in ("fold_1", EARLIER)) or stage in ("baseline", "pipeline")
        )
        if state == "failed" and not begun:
            return f"failed before its first checkpoint ({status.get('why')}). Start it anew"
        return None if state in ("interrupted", "failed") else f"is {state}"
    try:
        config = run.read_config()
    except UserError as error:
        return f"cannot be used: {error}"
    if use in ("evaluate", "predict") and any((run.path / name).exists() for name in CLASSIFIERS):
        return None
    if "model" not in config and not (stage == "baseline" and use in ("evaluate", "predict")):
        return f"is a run of `groundup {stage}` and holds no {'network' if stage == 'baseline' else 'model'}"
    if not kept:
        why = f": {status['why']}" if status.get("why") else ""
        if stage == "baseline" and state == "done":
            return "holds no classifier: of other classical models only the figures are kept. Use a run of `groundup finetune`"
        if (run.path / "fold_1").is_dir() and state == "done":
            return f"is of several runs and holds no network of its own. Try run={run.path / 'fold_1'}"
        what = "classifier" if stage == "baseline" else "checkpoint"
        return f"holds no {what} (it is {state}{why}). Train it first, or choose another run"
    if use == "generate" and status.get("writes", "text") is None:
        task = str((config.get("task") or {}).get("_target_")).rpartition(".")[2]
        return f"was trained for {task}, which writes no text. Use a run of `groundup pretrain task=causal_lm`"
    return None


def newest_runs(logs: Path) -> list[RunFolder]:
    """All runs below ``logs`` that have a configuration, the one started last first."""
    found = []
    for folder in _folders(Path(logs)):
        run = RunFolder(folder)
        started = run.status().get("started")
        with suppress(OSError):  # a link that leads nowhere, or it is being removed
            found.append((run.config_file.stat().st_mtime if started is None else started, str(folder), run))
    return [run for *_, run in sorted(found, key=lambda item: item[:2], reverse=True)]


def _last_run(logs: Path, use: Use) -> tuple[RunFolder, str]:
    key = "init_from=last" if use == "init_from" else "run=last"
    newest, newer = newest_runs(logs), ""
    for run in newest:
        status = run.status()
        if status.get("state") == "running" and status.get("pid") == os.getpid():
            continue  # the command itself
        why = unfit(run, use)
        if why is None:
            return run, f"{key} is {run.path}{newer}"
        newer = newer or f"; the newer {run.path} {why.partition('. ')[0]}"
    nothing = f"the newest, {newest[0].path}, {unfit(newest[0], use)}" if newest else "there is no run yet"
    can = "can be resumed" if use == "resume" else "can serve here"
    raise UserError(f"{key}: no run below {logs} {can}; {nothing}")


def was_saved(run: RunFolder) -> bool:
    """Whether there is a state to go on from, damaged or not; ``best.ckpt`` holds weights alone."""
    return any((run.checkpoints / name).exists() for name in (LAST, PREVIOUS))


def last_checkpoint(run: RunFolder) -> Path:
    """The newest undamaged checkpoint: ``last.ckpt``, or ``previous.ckpt`` with a warning.

    Raises:
        UserError: there is none, or all are damaged.
    """
    return _first_sound(run, [LAST, PREVIOUS])


def best_checkpoint(run: RunFolder) -> Path:
    """The checkpoint with the best monitored value; the last one when none was marked best.

    Raises:
        UserError: there is none, or all are damaged.
    """
    return _first_sound(run, list(CHECKPOINTS))


def _first_sound(run: RunFolder, names: list[str]) -> Path:
    if run.checkpoint is not None:
        if problem := damage(run.checkpoint):
            raise UserError(f"cannot read {run.checkpoint}: {problem}. Try run={run.path}")
        return run.checkpoint
    problems: dict[str, str] = {}
    for name in names:
        path = run.checkpoints / name
        if not path.exists():
            continue
        problem = damage(path)
        if problem is None:
            if problems:
                said = "; ".join(f"{broken}: {what}" for broken, what in problems.items())
                log.warning("%s: %s. Using %s", run.checkpoints, said, name)
            return path
        problems[name] = problem
    if problems:
        said = "; ".join(f"{broken}: {what}" for broken, what in problems.items())
        raise UserError(f"every checkpoint of {run.path} is damaged ({said}). Start the run anew")
    status = run.status()
    state = f" (the run is {status['state']}: {status.get('why') or 'no reason given'})" if status else ""
    raise UserError(f"{run.path} holds no checkpoint{state}. Train it first, or choose another run")


def _folders(logs: Path) -> Iterator[Path]:
    """Folders below ``logs`` with a config.yaml; a run may hold runs (sweep, pipeline), checkpoints never do."""
    for folder, children, files in os.walk(logs):
        children[:] = [name for name in children if name not in _NOT_RUNS and not name.startswith(".")]
        if "config.yaml" in files:
            yield Path(folder)
