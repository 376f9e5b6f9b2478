"""What ``run=`` means: a folder, a checkpoint inside one, or ``last``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from groundup.errors import UserError
from groundup.runs.checkpoints import damage
from groundup.runs.folder import RunFolder

log = logging.getLogger(__name__)
_NOT_RUNS = {"checkpoints", "wandb", "tensorboard", "samples", ".hydra"}


def open_run(ref: str | os.PathLike[str], logs: Path, stage: str | Sequence[str] | None = None) -> RunFolder:
    """The run that ``ref`` names.

    Args:
        ref: a run folder (as it is, or below ``logs``), a checkpoint in its ``checkpoints/``, or ``last``:
            the run below ``logs`` that was started last.
        logs: the folder of all runs; sweeps and pipelines may nest them deeper.
        stage: for ``last``: only runs of this stage, or of one of these stages.

    Raises:
        UserError: there is no such run; the line names the three newest ones.
    """
    if str(ref) == "last":
        newest = newest_runs(logs, stage)
        if not newest:
            raise UserError(f"run=last: no {_stages(stage)}run below {logs} yet. Start one, or say run=FOLDER")
        return newest[0]
    for path in (Path(ref).expanduser(), Path(logs) / ref):
        if path.is_file() and path.suffix == ".ckpt":
            for folder in path.resolve().parents[:2]:
                if (folder / "config.yaml").is_file():
                    return RunFolder(folder, checkpoint=path)
            raise UserError(f"{path} lies in no run folder: no config.yaml beside it or one level up. Say run=FOLDER")
        if (path / "config.yaml").is_file():
            return RunFolder(path)
    known = [str(run.path) for run in newest_runs(logs, stage)[:3]]
    hint = f"The newest runs: {', '.join(known)}" if known else f"There is none below {logs} yet"
    problem = "holds no config.yaml, so it is no run" if Path(ref).expanduser().is_dir() else "does not exist"
    raise UserError(f"run {ref}: {problem}. {hint}")


def newest_runs(logs: Path, stage: str | Sequence[str] | None = None) -> list[RunFolder]:
    """All runs below ``logs`` that have a configuration, the one started last first."""
    wanted = {stage} if isinstance(stage, str) else set(stage or ())
    found = []
    for folder in _folders(Path(logs)):
        run = RunFolder(folder)
        try:
            status = run.read_json("status.json", {})
        except ValueError:  # a status.json that somebody edited must not hide the other runs
            status = {}
        its_stage = status.get("stage") or folder.relative_to(logs).parts[:1]
        if not wanted or its_stage in wanted or (isinstance(its_stage, tuple) and wanted & set(its_stage)):
            found.append((status.get("started") or run.config_file.stat().st_mtime, str(folder), run))
    return [run for *_, run in sorted(found, key=lambda item: item[:2], reverse=True)]


def last_checkpoint(run: RunFolder) -> Path:
    """The newest undamaged checkpoint: ``last.ckpt``, or ``previous.ckpt`` with a warning.

    Raises:
        UserError: there is none, or all are damaged.
    """
    return _first_sound(run, ["last.ckpt", "previous.ckpt"])


def best_checkpoint(run: RunFolder) -> Path:
    """The checkpoint with the best monitored value; the last one when none was marked best.

    Raises:
        UserError: there is none, or all are damaged.
    """
    return _first_sound(run, ["best.ckpt", "last.ckpt", "previous.ckpt"])


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


def _stages(stage: str | Sequence[str] | None) -> str:
    return "" if not stage else (stage if isinstance(stage, str) else " or ".join(stage)) + " "
