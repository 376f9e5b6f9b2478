"""Several processes, one job: the ranks that Lightning starts run the very configuration that rank 0 has saved.

Lightning starts rank 1, 2, ... by repeating the command. Repeating would compose again (another time stamp, another
sweep, another optuna trial), so rank 0 leaves its job in the environment, and the other ranks take it from there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from groundup.runs.job import Job
from groundup.system.processes import free_port, leave_process_group

RANK_JOB = "GROUNDUP_RANK_JOB"
DISTRIBUTED = (
    "LOCAL_RANK",
    "RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
    "PYTHONSAFEPATH",
    RANK_JOB,
)
# Any of these: somebody else starts the processes and has chosen a port (torchrun, SLURM, LSF, MPI).
LAUNCHED = (
    "LOCAL_RANK",
    "RANK",
    "SLURM_PROCID",
    "TORCHELASTIC_RUN_ID",
    "LSB_JOBID",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
)


def rank() -> int:
    """This process's rank, also before torch.distributed is up; 0 when there is one process."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        # An interactive SLURM shell also has a SLURM_PROCID, but there is one task.
        counts = name != "SLURM_PROCID" or os.environ.get("SLURM_NTASKS", "1") != "1"
        if counts and os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def is_spawned_rank() -> bool:
    """True in a process that Lightning started for a job of ours."""
    return RANK_JOB in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def launched_elsewhere() -> bool:
    """True where torchrun or srun has started this process as one of several, each of which runs the whole command."""
    if is_spawned_rank():
        return False
    counts = (os.environ.get(name, "") for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
    return rank() > 0 or any(count.isdigit() and int(count) > 1 for count in counts)


@contextmanager
def ready_for_ranks(job: Job, machines: int = 1) -> Iterator[None]:
    """While the job runs, Lightning's child command is ``python -m groundup STAGE``; afterwards nothing is left of it.

    ``machines``: on one alone the ranks meet at a port that is free now, whatever ``MASTER_PORT`` says.
    """
    import __main__

    argv, spec = sys.argv, getattr(__main__, "__spec__", None)
    environment = {name: os.environ.get(name) for name in DISTRIBUTED}
    sys.argv = [argv[0], job.stage]
    __main__.__spec__ = importlib.util.find_spec("groundup.__main__")
    if job.rank == 0:
        os.environ[RANK_JOB] = json.dumps(job.as_dict() | {"parent": os.getpid()})
        os.environ["PYTHONSAFEPATH"] = (
            "1"  # else -m puts the current folder, and a random.py in it, before Python's own
        )
        if machines == 1 and not any(name in os.environ for name in LAUNCHED):
            os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", str(free_port())
    try:
        yield
    finally:
        sys.argv, __main__.__spec__ = argv, spec
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        leave_process_group()
