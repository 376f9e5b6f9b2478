"""A job: one stage with one configuration in one run folder. Commands, pipeline steps and resume all go through here."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from groundup.config.compose import resolved
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs.logs import log_failure, log_to_run, take_over_consoles
from groundup.jobs.ranks import rank, ready_for_ranks
from groundup.runs.folder import RunFolder, State
from groundup.runs.lock import locked
from groundup.runs.reference import RESUMABLE
from groundup.system.secrets import mask, mask_text
from groundup.system.signals import EXIT_CODES, Interrupted

WITHOUT_FOLDER = ("predict", "generate", "resume")  # stages that leave behind only what they are asked for
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a stage is told besides its configuration.

    ``choices``: group -> chosen name, as composed (``{"model": "bilstm_encoder", ...}``).
    ``sweep_dir``, ``job_num``: set in a multirun only; ``group``: the name that its runs share in W&B.
    ``resuming``: the folder holds an earlier part of this very run, which is to be continued.
    ``rank``: 0 writes files; the others must not.
    """

    stage: str
    folder: RunFolder
    overrides: tuple[str, ...] = ()
    choices: Mapping[str, str | None] = field(default_factory=dict)
    sweep_dir: Path | None = None
    job_num: int | None = None
    group: str | None = None
    resuming: bool = False
    rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def as_dict(self) -> dict:
        """Plain values, for another process on this machine."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {"folder": str(self.folder.path.absolute()), "overrides": list(self.overrides)}
        return values | {"choices": dict(self.choices), "sweep_dir": self.sweep_dir and str(self.sweep_dir)}

    @classmethod
    def from_dict(cls, values: Mapping) -> Job:
        sweep_dir = values["sweep_dir"]
        made = {"folder": RunFolder(values["folder"]), "overrides": tuple(values["overrides"])}
        return cls(**{**values, **made, "sweep_dir": Path(sweep_dir) if sweep_dir else None})


def run_job(
    stage: str,
    cfg: DictConfig | Mapping,
    run_dir: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    choices: Mapping[str, str | None] | None = None,
    sweep_dir: Path | None = None,
    job_num: int | None = None,
    group: str | None = None,
    resuming: bool = False,
    told: Sequence[str] | None = None,
) -> float | None:
    """Run ``stage`` in the folder ``run_dir`` and return the figure it optimises, if it has one.

    Writes config.yaml (resolved, plain), command.txt, run.log and status.json: running, then done, failed or
    interrupted. With ``resuming`` the saved config.yaml, but for its ``paths``, and command.txt stay. ``told``: what
    ``preflight`` returned, where the configuration has passed it already.

    Raises:
        UserError: the configuration does not hold (see ``preflight``): there is no folder then; or the stage refuses it.
        Exception, KeyboardInterrupt, SystemExit: as the stage raised it, after the status was written.
    """
    from groundup.jobs.preflight import preflight

    group = group or (sweep_dir.name if sweep_dir is not None else None)
    job = Job(
        stage=stage,
        folder=RunFolder(run_dir),
        overrides=tuple(overrides),
        choices=dict(choices or {}),
        sweep_dir=sweep_dir,
        job_num=job_num,
        group=group,
        resuming=resuming,
        rank=rank(),
    )
    plain = resolved(cfg)
    if told is None:
        told = preflight(stage, plain, job.overrides, job.choices, resuming=resuming)
    about: dict[str, object] = {"stage": stage, "overrides": list(overrides)}
    about |= {"choices": dict(choices)} if choices else {}
    about |= {} if job_num is None else {"job_num": job_num}
    job.folder.path.mkdir(parents=True, exist_ok=True)
    lock = locked(job.folder.path) if job.is_main else nullcontext()
    with lock, log_to_run(job.folder.log, rank=job.rank):
        try:
            set_status(job, "running", more=about)
            tell(told)
            value = prepare_and_call(plain, job)
        except UserError as error:
            log_failure(error)
            end(job, "failed", str(error), 2)
            raise
        except (KeyboardInterrupt, SystemExit) as stop:
            state, why, code = state_of_exit(stop)
            stop.add_note(go_on(job, why) if state == "interrupted" else str(why))
            end(job, state, why, code)
            raise
        except BaseException as error:
            log_failure(error)
            end(job, "failed", traceback.format_exception_only(error)[0].strip(), 1)
            raise
        end(job, "done", None, 0)
    return value


def call_without_folder(
    stage: str,
    cfg: DictConfig | Mapping,
    overrides: Sequence[str] = (),
    choices: Mapping[str, str | None] | None = None,
    *,
    told: Sequence[str] | None = None,
) -> float | None:
    """Run a stage that has no run folder of its own; it logs to the terminal. ``told``: as in ``run_job``.

    Raises:
        UserError: the configuration does not hold (see ``preflight``), or the stage refuses it.
    """
    from groundup.jobs.preflight import preflight

    job = Job(stage, RunFolder("."), tuple(overrides), dict(choices or {}))
    with log_to_run(None):
        plain = resolved(cfg)
        if told is None:
            told = preflight(stage, plain, job.overrides, job.choices)
        tell(told)
        return call_stage(Config(plain), job)


def tell(lines: Sequence[str]) -> None:
    for line in lines:
        log.info("%s", line)


def prepare_and_call(plain: Mapping, job: Job) -> float | None:
    if job.is_main and job.resuming:  # other ranks read the folder
        job.folder.write_config({**job.folder.read_config(), "paths": plain.get("paths")})
    elif job.is_main:
        job.folder.write_config(plain)
        job.folder.write_command(["groundup", job.stage, *job.overrides])
    trainer = plain.get("trainer") or {}
    with ready_for_ranks(job, machines=trainer.get("num_nodes", 1)):
        return call_stage(Config(plain), job)


def call_stage(cfg: Config, job: Job) -> float | None:
    """Import the stage (torch, Lightning and all) and run it."""
    from groundup.config.files import STAGES

    stage = importlib.import_module(STAGES[job.stage][0])
    take_over_consoles()
    return stage.run(cfg, job)


def set_status(job: Job, state: State, why: str | None = None, more: Mapping[str, object] | None = None) -> None:
    if job.is_main:
        job.folder.set_status(
            state, why and mask_text(why), **{key: mask(value, key) for key, value in (more or {}).items()}
        )


def end(job: Job, state: State, why: str | None, exit_code: int | None) -> None:
    """Write the last status, and the report of whatever there is to show. A report that fails does not fail the run."""
    set_status(job, state, why, more={"exit_code": exit_code})
    shown = (job.folder.metrics_csv, job.folder.metrics_json, job.folder.path / "results.json")
    if job.is_main and any(file.exists() for file in shown):
        from groundup.report.page import write_report

        try:
            log.info("report: %s", os.path.relpath(write_report(job.folder)))
        except Exception as error:  # a file of the folder is damaged, or the disk is full
            log_failure(error)
            said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            log.warning("no report.html: %s (traceback: %s)", said[:300], os.path.relpath(job.folder.log))


def state_of_exit(exit: KeyboardInterrupt | SystemExit) -> tuple[State, str | None, int | None]:
    if isinstance(exit, KeyboardInterrupt):
        return "interrupted", "Ctrl-C", 130
    if isinstance(exit, Interrupted):
        return "interrupted", str(exit), EXIT_CODES[exit.signal_name]
    code = exit.code if isinstance(exit.code, int) else 1 if exit.code else 0
    if code in EXIT_CODES.values():
        return "interrupted", f"exit code {code}", code
    return ("done", None, 0) if code == 0 else ("failed", f"the stage left with exit code {code}", code)


def go_on(job: Job, why: str | None) -> str:
    """The last line of an interrupted run, with what to paste into the shell."""
    if job.stage not in RESUMABLE:
        return f"interrupted ({why})"
    return f"interrupted ({why}). Go on with: groundup resume {shlex.quote(f'run={os.path.relpath(job.folder.path)}')}"
