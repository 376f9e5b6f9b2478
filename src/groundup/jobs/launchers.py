"""Who runs the jobs of a sweep: this process one after another, a pool of processes, or a cluster."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict

from groundup.config.check import call_mistakes, refuse
from groundup.config.compose import resolved
from groundup.config.hydra import hydra_config
from groundup.errors import UserError
from groundup.jobs import sweep
from groundup.jobs.display import Display
from groundup.jobs.gate import OURS
from groundup.jobs.idle import Told, idle_in_some
from groundup.jobs.job import state_of_exit
from groundup.jobs.logs import log_to_run
from groundup.jobs.pool import Pool
from groundup.jobs.preflight import config_of_run
from groundup.jobs.ranks import rank
from groundup.jobs.slurm import Slurm
from groundup.jobs.sweep_plan import FILE, Plan, PlannedJob
from groundup.runs.lock import locked

log = logging.getLogger(__name__)
CarryOut = Callable[[Plan, int], None]  # runs a job to its end, whatever is there of it already


class Launcher(Protocol):
    """``run`` returns when all the jobs have ended; one that fails ends no other."""

    def run(self, plan: Plan, numbers: Sequence[int], carry_out: CarryOut) -> None: ...


class Serial:
    """One after another, in this process."""

    def run(self, plan: Plan, numbers: Sequence[int], carry_out: CarryOut) -> None:
        try:
            with Display(plan, numbers) as display:
                for number in numbers:
                    display.begin(number)
                    try:
                        carry_out(plan, number)
                    except SystemExit:
                        if plan.outcome(number).state != "failed":
                            raise
                    display.end(number)
                    free_memory()
        finally:
            gc.unfreeze()


def free_memory() -> None:
    """What a job that failed for want of memory holds would fail the next one, too."""
    gc.collect()
    gc.freeze()  # what is left is code: the next time it need not be looked through again, which takes 0.25 s
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


KINDS: dict[str, type[Launcher]] = {"Serial": Serial, "Pool": Pool, "Slurm": Slurm}


def launcher_of(node: Mapping[str, Any]) -> Launcher:
    """The launcher that ``hydra.launcher`` describes.

    Raises:
        UserError: it is none of ours, or an argument does not fit.
    """
    options = {key: value for key, value in node.items() if key != "_target_"}
    name = str(node.get("_target_")).removeprefix(OURS)
    if name not in KINDS:
        raise UserError(f"launcher {node.get('_target_')} is none of groundup's. Try launcher=serial, or launcher=pool")
    refuse(call_mistakes(options, KINDS[name], "launcher", ()), "", (), {})
    return KINDS[name](**options)


def prepare(launcher: Launcher) -> None:
    """Begins what may take a while beside the composing of jobs: the server of a pool imports what they need."""
    if isinstance(launcher, Pool) and sweep.current and sweep.current[-1].leaves_folders:
        launcher.server(sweep.current[-1])


def launch(launcher: Launcher, composed: Iterable[DictConfig], first: int, carry_out: CarryOut) -> list[JobReturn]:
    """Plans the jobs of a sweep, numbered from ``first``, and runs them. Returns the monitored figure of each, for sweepers."""
    plan = sweep.current[-1]
    with in_charge(plan.folder if plan.leaves_folders else None, new=not plan.jobs):
        jobs = [planned(plan.stage, config, number) for number, config in enumerate(composed, first)]
        check_folders([*plan.jobs.values(), *jobs] if plan.leaves_folders else [])
        tell_idle(plan.stage, jobs)
        for job in jobs:
            plan.add(job)
        numbers = [job.number for job in jobs]
        run(launcher, plan, numbers, carry_out)
    rows = {row.number: row.metrics for row in sweep.read(plan)[0]}
    monitors = [plan.jobs[number].config.get("monitor") for number in numbers]
    return [returned(rows[number].get(str(monitor))) for number, monitor in zip(numbers, monitors, strict=True)]


@contextmanager
def in_charge(folder: Path | None, new: bool = False) -> Iterator[None]:
    """While the block runs, no other process runs jobs of the sweep in ``folder``. None: it leaves nothing to take care of.

    Raises:
        UserError: another process has it, or with ``new``, has begun a sweep there since this command was typed.
    """
    with ExitStack() as stack:
        stack.enter_context(log_to_run(None))
        if folder is not None and rank() == 0:
            try:
                stack.enter_context(locked(folder))
                if new and (folder / FILE).exists():
                    raise UserError(f"another sweep has begun in {folder}. Name another folder: hydra.sweep.dir=NEW")
            except UserError:
                sweep.current.clear()  # the other one sums up
                raise
        yield


def check_folders(jobs: Sequence[PlannedJob]) -> None:
    """Raises UserError unless each job has a folder of its own, inside that of the sweep."""
    owners: dict[PurePath, int] = {}
    for job in jobs:
        path = PurePath(job.folder)
        first = owners.setdefault(path, job.number)
        if first != job.number or not job.is_inside:
            why = f"is that of job {first}, too" if job.is_inside else "is not inside that of the sweep"
            raise UserError(
                f"hydra.sweep.subdir: the folder {job.folder} of job {job.number} {why}. Leave it out: a job's folder is its number"
            )


def planned(stage: str, config: DictConfig, number: int) -> PlannedJob:
    """One composed job."""
    with open_dict(config):
        config.hydra.job.update(id=number, num=number)
    with hydra_config(config):
        overrides = list(config.hydra.overrides.task)
        keys = [str(key) for key in config if key != "hydra"]
        plain = resolved(OmegaConf.masked_copy(config, keys), stage, overrides)
        folder, choices = str(config.hydra.sweep.subdir), resolved(config.hydra.runtime.choices)
    return PlannedJob(number, folder, overrides, choices, plain)


def tell_idle(stage: str, jobs: Sequence[PlannedJob]) -> None:
    """Warns of a key that changes nothing in some of the jobs, as a grid may want it; each is checked when its turn comes.

    Raises UserError for a key that changes nothing in any.
    """
    runs = {str(job.config.get("run")): job.config for job in jobs}
    used = {name: config_of_run(stage, config) for name, config in runs.items()}
    told = {f"job {job.number}": Told(job.config, job.overrides, used[str(job.config.get("run"))]) for job in jobs}
    for key, names in idle_in_some(told).items():
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        log.warning("%s changes nothing in %d of %d jobs (%s)", key, len(names), len(jobs), some)


def run(launcher: Launcher, plan: Plan, numbers: Sequence[int], carry_out: CarryOut) -> None:
    """Runs jobs of a plan, which this process is in charge of."""
    if rank() == 0 and plan.leaves_folders:
        plan.save()
    try:
        launcher.run(plan, numbers, carry_out)
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note(f"interrupted ({state_of_exit(stop)[1]})")
        raise


def returned(value: float | None) -> JobReturn:
    result = JobReturn(status=JobStatus.COMPLETED)
    result.return_value = value
    return result
