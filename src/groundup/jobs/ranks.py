"""Several processes, one job: the ranks that Lightning starts run the very configuration that rank 0 has saved.

Lightning starts rank 1, 2, ... by repeating the command. Repeating would compose again (another time stamp, another
sweep, another optuna trial), so rank 0 leaves its job in the environment, and the other ranks take it from there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from groundup.errors import UserError

if TYPE_CHECKING:
    from groundup.jobs.job import Job

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
PORTS = range(20_000, 32_768)  # below those that Linux gives to outgoing connections


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


def free_port() -> int:
    """A port that nothing listens on. Drawn, not counted up: runs that start together shall not choose the same."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise UserError(f"a hundred ports between {PORTS[0]} and {PORTS[-1]} are all in use. Try trainer.devices=1")


def end_with(parent: int) -> None:
    """End this process within two seconds of its parent, however that ends: a rank alone waits for its peers for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def leave_process_group() -> None:
    """Otherwise the next job of a sweep takes itself for one that torchrun has started, and waits for its peers."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def run_rank() -> int:
    """The whole life of a rank that Lightning started. Returns the exit code."""
    from groundup.config.tree import Config
    from groundup.jobs.job import Job, call_stage
    from groundup.jobs.logs import log_failure, log_to_run
    from groundup.system.secrets import mask_text
    from groundup.system.signals import ending_in_order

    values = json.loads(os.environ[RANK_JOB])
    end_with(values.pop("parent"))
    job = Job.from_dict(values | {"rank": rank()})
    try:
        with ending_in_order(), log_to_run(job.folder.log, rank=job.rank), ready_for_ranks(job):
            try:
                call_stage(Config(job.folder.read_config()), job)
            except Exception as error:
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
