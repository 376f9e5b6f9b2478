"""``groundup resume``: goes on with an interrupted run, or a sweep, as if it had never stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from groundup.config.compose import compose, resolved
from groundup.config.files import STAGES, conf_dir, stage_keys
from groundup.config.hydra import compose_raw, hydra_config
from groundup.config.quoting import inert
from groundup.config.tree import Config, leaves
from groundup.data.roles import ROLES
from groundup.errors import UserError
from groundup.jobs import launchers, study, sweep
from groundup.jobs.changes import keep, with_changes
from groundup.jobs.failure import report_failure
from groundup.jobs.forks import GRACE
from groundup.jobs.job import call_without_folder, run_job
from groundup.jobs.preflight import preflight
from groundup.jobs.ranks import rank
from groundup.jobs.sweep_plan import Plan, find_sweep
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.lock import check_unlocked, written_by
from groundup.runs.reference import RESUMABLE, last_checkpoint, open_run, unfit, was_saved
from groundup.system.files import damaged, require_own_files
from groundup.system.signals import ending_in_order

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> float | None:
    """Runs the stage of the folder again, in the folder, with the config that was saved there; or a sweep's jobs."""
    if cfg.sweep:
        if cfg.overrides:
            raise UserError(f"{cfg.overrides[0]}: the jobs of a sweep go on as they began. Try run=RUN for one of them")
        resume_sweep(cfg)
        return None
    folder = open_run(cfg.run, Path(cfg.paths.logs), "resume")
    status = folder.status()
    stage = status.get("stage")
    if stage not in RESUMABLE:
        raise UserError(f"{folder.path} {unfit(folder, 'resume')}")
    if status["state"] == "done" and not cfg.overrides:
        log.info("%s is done already; nothing to resume. See %s", folder.path, folder.report)
        return None
    check_unlocked(folder.path)
    return resume_folder(folder, stage, cfg.paths, words=cfg.overrides)


def carry_out(plan: Plan, number: int, full_error: bool = False) -> None:
    """Runs a job of a sweep to its end, from wherever it is. A failure is told and kept, and not raised.

    Raises:
        KeyboardInterrupt, SystemExit: as the stage raised it.
    """
    job, run = plan.jobs[number], plan.run(number)
    try:
        if not plan.leaves_folders:
            call_without_folder(plan.stage, job.config, job.overrides, job.choices)
            return
        if rank() == 0 and (writer := waited_for(run.path)):
            log.warning("job %d: %s", number, writer)
            return
        complete(plan.stage, job.config, run, job.overrides, choices=job.choices, sweep_dir=plan.folder, job_num=number)
    except Exception as error:
        began = run.status_file.exists()
        code = report_failure(error, plan.stage, run.log if began else None, full_error, f"job {number} failed: ")
        if not began:
            plan.refuse(number, str(error), code)
            plan.remove_empty(number)


def waited_for(folder: Path) -> str | None:
    """The line about the process that has the folder, even after a while: a job whose pool was killed saves, and ends."""
    limit = time.monotonic() + GRACE + 5
    while (said := written_by(folder)) and time.monotonic() < limit:
        time.sleep(0.2)
    return said


def resume_sweep(cfg: Config) -> None:
    """Runs the jobs of a sweep that are not done, by the launcher that is named now, or else by that of the sweep.

    With ``job=N`` that one alone, here: what a pool starts, and what an array of a cluster may.
    """
    folder = find_sweep(cfg.sweep, Path(cfg.paths.logs))
    if cfg.job is not None:
        resume_job(Plan.read(folder), cfg.job)
        return
    hydra = HydraConfig.get()
    typed = any("launcher" in word for word in hydra.overrides.hydra)
    launcher = launchers.launcher_of(resolved(hydra.launcher) if typed else Plan.read(folder).launcher)
    with launchers.in_charge(folder):
        plan = Plan.read(folder)
        numbers = plan.unfinished()
        sweep.current.append(plan)
        if not numbers and not study.is_study(plan):
            log.info("all %d jobs of %s are done; nothing to resume", len(plan.jobs), plan.folder)
            return
        require_own_files(plan.folder)
        plan.forget_refusals(numbers)
        plan.move(cfg.paths)
        if study.is_study(plan):
            study.go_on(plan, launcher, carry_out)
        else:
            launchers.run(launcher, plan, numbers, carry_out)


def get_ready(stage: str) -> None:
    """Imports and makes, once, what every job of a stage imports and makes; the processes of ``run_alone`` begin with it."""
    import_module(STAGES[stage][0])
    import_module("groundup.jobs.preflight")
    from sklearn.metrics import accuracy_score

    accuracy_score([0, 1], [0, 1])  # it looks for other packages at the first call
    from groundup.report.page import environment

    for name in environment().list_templates(["html"]):
        environment().get_template(name)


def run_alone(sweep: str, number: int, words: Sequence[str]) -> None:
    """One job in a process for it alone, which ends as the job does. ``words``: of Hydra, where its steps find more files."""
    with ending_in_order(), hydra_config(compose_raw("resume", words)) if words else nullcontext():
        resume_job(Plan.read(Path(sweep)), number)


def resume_job(plan: Plan, number: int) -> None:
    """One job, here."""
    if number not in plan.jobs:
        raise UserError(
            f"job={number}: {plan.folder} has no such job. Its jobs are {min(plan.jobs)} to {max(plan.jobs)}"
        )
    carry_out(plan, number)
    outcome = plan.outcome(number)
    if outcome.state == "failed":
        raise SystemExit(outcome.exit_code)


def complete(
    stage: str,
    cfg: Mapping,
    folder: RunFolder,
    overrides: Sequence[str] = (),
    group: str | None = None,
    choices: Mapping[str, str | None] | None = None,
    quiet: bool = False,
    told: Sequence[str] | None = None,
    *,
    sweep_dir: Path | None = None,
    job_num: int | None = None,
) -> None:
    """Runs a stage that is a part of another job: not at all where it is done, to its end where it was interrupted.

    ``quiet``: as for ``resume_folder``. ``told``, ``sweep_dir``, ``job_num``: as for ``run_job``.
    """
    if folder.status_file.exists() and folder.status().get("state") == "done":
        return
    if stage in RESUMABLE and (was_saved(folder) or (folder.path / "fold_1").exists()):
        resume_folder(folder, stage, cfg["paths"], quiet, group or (sweep_dir.name if sweep_dir else None))
    else:
        run_job(
            stage,
            cfg,
            folder.path,
            overrides,
            choices=choices,
            sweep_dir=sweep_dir,
            job_num=job_num,
            group=group,
            told=told,
        )


def resume_folder(
    folder: RunFolder,
    stage: str,
    paths: Config,
    quiet: bool = False,
    group: str | None = None,
    words: Sequence[str] = (),
) -> float | None:
    """Resumes one folder; says which keys of today's configuration differ from the saved ones, unless ``quiet``.

    Args:
        paths: where logs and cached data are today; those of the folder may be of another machine.
        group: as for ``run_job``.
        words: overrides from here on (see ``changes.with_changes``).

    Raises:
        UserError: the folder holds links or anything but files, which would be written through; see also ``with_changes``.
    """
    require_own_files(folder.path)
    for inner in (folder.checkpoints, folder.samples):
        if inner.is_file():
            raise damaged(inner, "a file where a folder belongs")
    saved: Mapping = given(stage, folder.read_config()) | {"paths": paths}
    overrides = [word for word in folder.status().get("overrides") or [] if isinstance(word, str)]
    told = None
    if words:
        saved, overrides = with_changes(folder, stage, overrides, words)
        saved = {**saved, "paths": paths}
        told = preflight(stage, saved, overrides, {}, resuming=True)
        from groundup.training.resume import saved_step  # imports torch

        told += keep(folder, saved, saved_step(last_checkpoint(folder)))
    for line in () if quiet or words else drift(saved, stage, overrides):
        log.warning("%s (the saved value is used)", line)
    return run_job(stage, saved, folder.path, overrides, resuming=True, group=group, told=told)


def given(stage: str, saved: Config | dict[str, Any]) -> dict[str, Any]:
    """What a stage was told, of a saved configuration: that of a smaller run is a training's, too, which the stage has made."""
    own = stage_keys(conf_dir(), stage) if stage == "compress" else saved
    return {key: value for key, value in saved.items() if key in own}


def drift(saved: Mapping, stage: str, overrides: list[str]) -> list[str]:
    """What the same command would set otherwise today: one line a key."""
    try:
        today = compose(stage, inert(overrides))
    except UserError as error:
        return [f"today's configuration no longer takes this command: {error}"]
    then, now = leaves(saved), leaves(today)
    settled: tuple[str, ...] = ("budget", "threads", "paths.")  # the run counted or chose these itself
    if stage in ("evaluate", "compress"):  # and took these from the run that it is of
        settled += ("data.", "run")
    if saved.get("init_from"):  # and took these from the run it began with
        settled += ("model.", "size.", "tokenizer.", "lora.train")
    if (saved.get("model") or {}).get("vectors"):  # and these from the vectors
        settled += ("model.vectors", "model.embedding_width")
    if stage == "finetune":  # and made these
        settled += ("self_training.labels", *(("init_from",) if saved.get("task_adaptive") else ()))
    return [
        f"{key}: saved {then.get(key, 'nothing')}, today {now.get(key, 'nothing')}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(settled) and not found_in_files(key, now)
    ]


def found_in_files(key: str, now: Mapping[str, object]) -> bool:
    """Whether a column was left open, then as today: its name came from the files."""
    return key.removeprefix("data.") in ROLES and key in now and now[key] is None
