"""Checks a job before Hydra makes its run folder: Hydra makes the folder first, and calls our code afterwards."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from typing import Any, Literal

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from groundup.config.compose import resolved
from groundup.config.files import WITHOUT_FOLDER
from groundup.config.hydra import hydra_config
from groundup.config.quoting import shell_word
from groundup.errors import UserError
from groundup.jobs.ranks import rank
from groundup.runs.folder import RunFolder
from groundup.runs.reference import unfit

OURS = "hydra_plugins.groundup_launchers."  # where our launchers are
# The configuration that was checked and has not run yet, and the lines to log about it.
passed: list[tuple[dict, list[str]]] = []


class Refused(BaseException):
    """Carries an Exception out of a callback: Hydra makes a warning of an Exception there, and goes on."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Gate(Callback):
    """Checks a single run before Hydra makes its folder, and a sweep's folder before the first job.

    Each job of a sweep is checked when its turn comes: it may fail alone.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        from groundup.jobs.idle import check_idle
        from groundup.jobs.preflight import config_of_run, preflight

        try:
            with hydra_config(config):
                stage = config.hydra.job.name
                typed = list(config.hydra.overrides.task)
                plain = resolved(
                    OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), stage, typed
                )
                if (words := launcher_words(config)) and (not plain.get("sweep") or plain.get("job") is not None):
                    raise UserError(f"{words[0]}: a launcher runs several jobs. Add -m, or leave it out")
                choices = resolved(config.hydra.runtime.choices)
                told = preflight(stage, plain, typed, choices)
                check_idle(plain, typed, config_of_run(stage, plain))
                if stage not in WITHOUT_FOLDER and rank() == 0:
                    check_folder(config, "run")
        except Exception as error:
            raise Refused(error) from error
        passed[:] = [(plain, told)]

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            with hydra_config(config):
                check_launcher(config)
                if rank() == 0:
                    check_folder(config, "sweep")
        except Exception as error:
            raise Refused(error) from error


def check_folder(config: DictConfig, kind: Literal["run", "sweep"]) -> None:
    """Raises UserError where the folder of a run or of a sweep is in use, or cannot be written."""
    key, folder = f"hydra.{kind}.dir", Path(config.hydra[kind].dir)
    check_free(folder, key)
    if (why := unwritable(folder)) is None:
        return
    here = next(
        (place for place in (Path(), Path.home(), Path(gettempdir())) if unwritable(place / "logs") is None), None
    )
    if any(str(word).startswith(f"{key}=") for word in config.hydra.overrides.hydra):
        said, other = f"{key}={folder}", f"{key}={(here or Path()) / 'logs' / (folder.name or 'run')}"
    else:
        said, other = f"paths.logs={config.paths.logs}", f"paths.logs={(here or Path()) / 'logs'}"
    advice = f"Try {shell_word(other)}" if here is not None else "Name a folder that can be written"
    raise UserError(f"{said}: no folder can be made there ({why}). {advice}")


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written in ``folder``, which need not be there yet; None: it can. Nothing is left behind."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{missing[-1] if missing else folder}: {error.strerror}"
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def check_free(folder: Path, key: str) -> None:
    """Raises UserError where ``folder`` is in use: a new run begins in an empty folder, or in one that it makes."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is a file. Name a new folder")
    names = sorted(entry.name for entry in folder.iterdir())
    if "status.json" in names:
        run = RunFolder(folder)
        status = run.status()
        advice = "Name" if unfit(run, "resume") else f"Go on with it: groundup resume run={folder}; or name"
        raise UserError(
            f"{key}={folder} holds a run of `groundup {status.get('stage')}` ({status.get('state')}). {advice} another folder"
        )
    if names:
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        inner = folder / "run"
        free = (
            not inner.exists()
            and os.access(folder, os.W_OK)
            and folder.resolve() != Path(folder.anchor or ".").resolve()
        )
        advice = f"Try {key}={inner}" if free else "Name a new folder"
        raise UserError(f"{key}={folder} is not empty ({some}). {advice}")


def launcher_words(config: DictConfig) -> list[str]:
    """What was typed about the launcher, in our words."""
    words = [str(word) for word in config.hydra.overrides.hydra]
    return [re.sub("^hydra[./]", "", word) for word in words if re.match(r"hydra[./]launcher\b", word)]


def check_launcher(config: DictConfig) -> None:
    """Raises UserError for one that is not ours: it would write no plan, so that the sweep could not go on."""
    if not str(config.hydra.launcher.get("_target_")).startswith(OURS):
        words = " ".join(launcher_words(config)) or f"launcher={config.hydra.runtime.choices.get('hydra/launcher')}"
        jobs = config.hydra.launcher.get("n_jobs", 2)
        raise UserError(
            f"{words}: jobs are launched by launcher=serial (one after another), pool or slurm. "
            f"Try launcher=pool launcher.jobs={jobs if jobs > 0 else 2}"
        )
