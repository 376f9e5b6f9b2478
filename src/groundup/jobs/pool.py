"""``launcher=pool``: a process for each job of a sweep. One that is killed, or runs out of memory, takes no other with it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groundup.config.files import extra_config_dirs
from groundup.errors import UserError
from groundup.jobs.display import Display
from groundup.jobs.forks import Child, Forks
from groundup.jobs.sweep_plan import Plan
from groundup.ranges import Count
from groundup.system.hardware import SHARE, cores, gpus
from groundup.system.signals import EXIT_CODES

log = logging.getLogger(__name__)
VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")  # of other libraries
# What SLURM tells the tasks of srun, of which a job is none: it starts its other ranks itself.
OF_A_TASK = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_ID")
POLL = 0.1  # seconds


@dataclass
class Running:
    """The process of one job, and the slot whose share of the machine it has."""

    number: int
    slot: int
    process: Child


class Pool:
    """A process for each job.

    Args:
        jobs: processes at a time; each has its share of the cores and of the GPUs.
    """

    def __init__(self, jobs: Count = 2) -> None:
        self.jobs = jobs
        self.forks: Forks | None = None  # kept: a study runs its jobs by and by

    def run(self, plan: Plan, numbers: Sequence[int], carry_out: Callable) -> None:
        check_processes(plan, "pool")
        shares = self.shares(plan)
        waiting, running = list(numbers), dict[int, Running]()
        with Display(plan, numbers, self.jobs, bar=True) as display:
            words = search_words()
            try:
                while waiting or running:
                    for slot in range(self.jobs):
                        if waiting and slot not in running:
                            number = waiting.pop(0)
                            process = start(self.server(plan), plan, number, shares[slot], words)
                            running[slot] = Running(number, slot, process)
                            display.begin(number)
                    self.server(plan).listen(POLL)
                    for job in list(running.values()):
                        if job.process.returncode is None:
                            continue
                        settle(plan, job.number, job.process.returncode)
                        del running[job.slot]
                        display.end(job.number)
                    display.refresh()
            except (KeyboardInterrupt, SystemExit):
                end_all(plan, self.forks, list(running.values()))
                raise

    def server(self, plan: Plan) -> Forks:
        """What the jobs are forked from."""
        if self.forks is None or self.forks.lost:
            self.forks = server_for(plan, self.threads())
        return self.forks

    def threads(self) -> dict[str, str]:
        each = str(max(1, cores() // self.jobs))
        return {SHARE: each, **{name: os.environ.get(name, each) for name in THREADS}}

    def shares(self, plan: Plan) -> list[dict[str, str]]:
        """What each slot is told of the machine, as environment: how many cores, and which GPUs."""
        environment = self.threads()
        found = visible_gpus() if any(wants_gpu(job.config) for job in plan.jobs.values()) else []
        dealt = deal(found, self.jobs)
        return [environment | ({VISIBLE: ",".join(dealt[slot])} if found else {}) for slot in range(self.jobs)]


def check_processes(plan: Plan, launcher: str) -> None:
    """Raises UserError where a job cannot be a process of its own."""
    if not plan.leaves_folders:
        raise UserError(f"launcher={launcher}: groundup {plan.stage} leaves no run folder. Try launcher=serial")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise UserError(f"launcher={launcher} starts processes itself, without torchrun. Try trainer=ddp instead of it")


def wants_gpu(config: dict[str, Any]) -> bool:
    node = config.get("trainer") or config
    return node.get("accelerator") not in (None, "cpu")


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA gives them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name]
    return [str(number) for number in range(gpus().get("cuda", 0))]


def deal(names: Sequence[str], slots: int) -> list[list[str]]:
    """Each slot's own, equally many; where there are fewer than slots, one each that it shares with others."""
    if not names:
        return [[]] * slots
    each = max(1, len(names) // slots)
    return [[names[(slot * each + n) % len(names)] for n in range(each)] for slot in range(slots)]


def search_words() -> list[str]:
    """``--config-dir`` of this command for its jobs: a pipeline composes its steps itself."""
    return [f"hydra.searchpath=[{','.join(extra)}]"] if (extra := extra_config_dirs()) else []


def server_for(plan: Plan, share: dict[str, str]) -> Forks:
    """What the jobs of a plan are forked from, with the threads that ``share`` says."""
    around = {name: value for name, value in os.environ.items() if name not in OF_A_TASK}
    return Forks(f"groundup.jobs.resume:get_ready:{plan.stage}", "groundup.jobs.resume:run_alone", around | share)


def start(forks: Forks, plan: Plan, number: int, share: dict[str, str], words: Sequence[str] = ()) -> Child:
    """The process of one job; what it prints stands in its run.log. ``words``: as of ``search_words``."""
    run = plan.run(number)
    run.path.mkdir(parents=True, exist_ok=True)
    return forks.start([str(plan.folder), number, words], run.log, share)


def settle(plan: Plan, number: int, code: int) -> None:
    """Writes down how a job has ended whose process could not do so, and leaves no folder of one that never began."""
    run, outcome = plan.run(number), plan.outcome(number)
    told_to_end = code in EXIT_CODES.values() or code == -signal.SIGTERM
    if not run.status_file.exists() and (number in plan.refusals() or code == 0 or told_to_end):
        run.log.unlink(missing_ok=True)
        plan.remove_empty(number)
    elif outcome.state in ("waiting", "died"):
        about = {"stage": plan.stage, "job_num": number, "overrides": plan.jobs[number].overrides, "exit_code": code}
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            run.set_status("interrupted", f"killed by {signal.Signals(-code).name}{hint}", **about)
        else:
            run.set_status("failed", f"its process ended with exit code {code}", **about)


def end_all(plan: Plan, forks: Forks | None, running: Sequence[Running]) -> None:
    """Tells each job to end, and waits: it saves first. A second Ctrl-C ends them as they are."""
    if running:
        log.info("ending %d running jobs, which save first; Ctrl-C again ends them at once", len(running))
    try:
        for job in running:
            job.process.terminate()
        for job in running:
            job.process.wait()
    except BaseException:
        if forks is not None:
            forks.kill()
        raise
    finally:
        for job in running:
            settle(plan, job.number, job.process.wait())
