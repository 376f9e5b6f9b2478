"""A job: one stage with one configuration in one run folder. Commands, pipeline steps and resume all go through here."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig

from groundup.config.compose import resolved
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs.logs import log_failure, log_to_run, take_over_consoles
from groundup.jobs.ranks import RANK_JOB, rank, ready_for_ranks
from groundup.runs.folder import RunFolder, State
from groundup.runs.job import Job
from groundup.runs.lock import locked
from groundup.runs.reference import RESUMABLE
from groundup.system.processes import end_with
from groundup.system.secrets import mask, mask_text
from groundup.system.signals import EXIT_CODES, Interrupted, held_back

log = logging.getLogger(__name__)


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

    in_turn = cfg.get("folds") and not cfg.get("fold")
    with held_back():
        stage = importlib.import_module("groundup.jobs.folds" if in_turn else STAGES[job.stage][0])
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


def run_rank() -> int:
    """The whole life of a rank that Lightning started. Returns the exit code.

    A signal that comes before or after the training is for rank 0, which ends the others: it would wait for one that was gone.
    """
    values = json.loads(os.environ[RANK_JOB])
    end_with(values.pop("parent"))
    job = Job.from_dict(values | {"rank": rank()})
    try:
        with held_back(told=False) as signals, log_to_run(job.folder.log, rank=job.rank), ready_for_ranks(job):
            try:
                call_stage(Config(job.folder.read_config()), job)
            except Exception as error:
                if signals:  # rank 0 has obeyed, and is gone
                    return 0
                log_failure(error)
                raise
    except SystemExit as exit:
        # Lightning kills rank 0 as soon as another rank ends with an error; 75 (saved on a signal) is none.
        return 0 if exit.code in (None, 0, 75) else 1
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        # Rank 0 will be killed without a word, so this rank has to say why.
        why = mask_text(f"rank {job.rank}: {traceback.format_exception_only(error)[0].strip()}")
        job.folder.set_status("failed", why)
        print(why, file=sys.stderr)
        return 1
    return 0
