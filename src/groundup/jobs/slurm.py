"""``launcher=slurm``: each job of a sweep in an allocation of a cluster, by submitit. https://github.com/facebookincubator/submitit"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from groundup.config.root import Positive
from groundup.errors import UserError
from groundup.jobs.display import Display
from groundup.jobs.pool import THREADS, check_processes, search_words, server_for, settle, start
from groundup.jobs.sweep_plan import Plan
from groundup.ranges import Count
from groundup.runs import lock
from groundup.runs.folder import RunFolder
from groundup.system.hardware import SHARE

log = logging.getLogger(__name__)
Word = Annotated[str, Field(pattern=r"^[\w.,:@=+-]+$")]  # one line of a script of sbatch, and no more
NUMBERS = "slurm.json"  # job of the sweep -> number that the cluster has given it
LAST_WORD = 80  # seconds in which a job saves: submitit is told 90 before the end


class Slurm:
    """An allocation for each job.

    Args:
        jobs: at most so many at a time.
        minutes: of an allocation.
        requeues: how often a job is queued again when these are over.
        more: other options of sbatch.
        cluster: ``local`` takes processes of this machine in the place of allocations.
    """

    def __init__(
        self,
        jobs: Count = 16,
        minutes: Positive = 60,
        requeues: Annotated[int, Field(ge=0)] = 3,
        cpus: Count = 4,
        gpus: Annotated[int, Field(ge=0)] = 0,
        memory_gb: Positive | None = None,
        partition: Word | None = None,
        account: Word | None = None,
        more: dict[Word, Word | int | float | bool] | None = None,
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        self.jobs, self.cluster, self.requeues = jobs, cluster, requeues
        wanted = {
            "timeout_min": minutes,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "mem_gb": memory_gb,
            "slurm_partition": partition,
            "slurm_account": account,
            "slurm_array_parallelism": jobs,
            "slurm_additional_parameters": more or None,
        }
        self.parameters = {name: value for name, value in wanted.items() if value is not None}
        self.share = {SHARE: str(cpus), **dict.fromkeys(THREADS, str(cpus))}

    def run(self, plan: Plan, numbers: Sequence[int], carry_out: Callable) -> None:
        check_processes(plan, "slurm")
        check_machines(plan)
        executor = self.executor(plan.folder / "slurm")
        pending = self.queued_before(plan, numbers)
        with executor.batch():
            for number in numbers:
                if number not in pending:
                    pending[number] = executor.submit(OnNode(plan.folder, number, self.share, search_words()))
        ids = {str(number): job.job_id for number, job in pending.items()}
        RunFolder(plan.folder).write_json(NUMBERS, {"cluster": self.cluster, "jobs": ids})
        try:
            self.wait(plan, numbers, pending)
        except (KeyboardInterrupt, SystemExit):
            if self.cluster == "local":
                for job in pending.values():
                    job.cancel()
            else:
                log.info("the jobs stay in the queue (squeue --me); groundup resume waits for them again")
            raise

    def wait(self, plan: Plan, numbers: Sequence[int], pending: dict[int, Any]) -> None:
        """Returns when the last of the jobs has left the cluster, whatever has become of it."""
        with Display(plan, numbers, self.jobs, bar=True) as display:
            while pending:
                time.sleep(0.2 if self.cluster == "local" else 2)
                for number, job in list(pending.items()):
                    begun = number in display.begun
                    over = job.done()
                    if not begun and (over or plan.outcome(number).state == "running"):
                        display.begin(number)
                    if over:
                        leave(plan, number, f"the cluster ended it ({job.state})")
                        del pending[number]
                        display.end(number)
                display.refresh()

    def executor(self, folder: Path) -> Any:
        """Raises UserError without submitit, and where there is no cluster."""
        try:
            import submitit
        except ImportError:
            raise UserError("launcher=slurm needs submitit. Try pip install 'groundup[slurm]'") from None
        try:
            executor = submitit.AutoExecutor(folder, cluster=self.cluster, slurm_max_num_timeout=self.requeues)
        except RuntimeError as error:  # there is no srun
            raise UserError(f"launcher=slurm: {str(error).splitlines()[0]}. Try launcher=pool") from None
        executor.update_parameters(name="groundup", **self.parameters)
        return executor

    def queued_before(self, plan: Plan, numbers: Sequence[int]) -> dict[int, Any]:
        """Jobs that an earlier command has handed in and that have not ended yet."""
        saved = RunFolder(plan.folder).read_json(NUMBERS, {})
        if self.cluster == "local" or saved.get("cluster") != self.cluster:
            return {}
        import submitit

        ids = {number: str(saved.get("jobs", {}).get(str(number), "")) for number in numbers}
        known: dict[int, Any] = {
            number: submitit.SlurmJob(plan.folder / "slurm", text)
            for number, text in ids.items()
            if re.fullmatch(r"\d+(_\d+)?", text)
        }
        return {number: job for number, job in known.items() if not job.done(force_check=True)}


class OnNode:
    """What runs in an allocation: the job as a process of its own, which can save and be queued again."""

    def __init__(self, folder: Path, number: int, share: dict[str, str], words: list[str]) -> None:
        self.folder, self.number, self.share, self.words = folder, number, share, words
        self.process: Any = None

    def __call__(self) -> None:
        plan = Plan.read(self.folder)
        forks = server_for(plan, self.share)
        self.process = start(forks, plan, self.number, self.share, self.words)
        settle(plan, self.number, self.process.wait())

    def checkpoint(self) -> Any:
        """Called by submitit when the time is up, or somebody else gets the machine; what it returns is queued."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.terminate()
            limit = time.monotonic() + LAST_WORD
            while self.process.poll() is None and time.monotonic() < limit:
                time.sleep(0.2)
        return DelayedSubmission(OnNode(self.folder, self.number, self.share, self.words))


def check_machines(plan: Plan) -> None:
    """Raises UserError for jobs that want several machines."""
    for job in plan.jobs.values():
        if (nodes := (job.config.get("trainer") or {}).get("num_nodes", 1)) != 1:
            raise UserError(
                f"trainer.num_nodes={nodes}: launcher=slurm gives each job one machine. Try srun without -m"
            )


def leave(plan: Plan, number: int, why: str) -> None:
    """Marks a job whose allocation is over, and which could not do so: its machine may have gone with it."""
    run, state = plan.run(number), plan.outcome(number).state
    if state in ("running", "waiting"):
        (run.path / lock.NAME).unlink(missing_ok=True)
        about = {"stage": plan.stage, "job_num": number, "overrides": plan.jobs[number].overrides}
        run.set_status("interrupted", why, **about, exit_code=-1)
