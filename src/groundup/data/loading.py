"""From batch numbers to tensors, in this process or in workers."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from groundup.data.seeding import mix
from groundup.errors import UserError

Collate = Callable[[list[dict[str, Any]], Sequence[int]], dict[str, Tensor]]
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class CollatedExamples(Dataset):
    """Asked for the (epoch, index) of a batch's examples, gives the finished batch.

    Each example has the seed mix(seed, epoch, index): what a collator draws does not depend on batch, worker or rank.
    """

    def __init__(self, examples: Any, collate: Collate, seed: int) -> None:
        self.examples, self.collate, self.seed = examples, collate, seed

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, Tensor] | UserError:
        """In a worker a UserError is returned: torch would put a traceback into its text."""
        try:
            return self.collate(self.examples.__getitems__(keys), [mix(self.seed, *key) for key in keys])
        except UserError as error:
            if get_worker_info() is None:
                raise
            return error


class StreamLoader(DataLoader):
    """A DataLoader whose position is not its own affair: the run counts micro-batches and sets the sampler's ``start``.

    With an empty state Lightning takes it for resumable and does not warn.
    """

    def __init__(self, examples: Any, collate: Collate, seed: int, batches: Iterable, num_workers: int = 0) -> None:
        if num_workers > 0:  # else the tokenizers library warns in each worker it is forked into
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        super().__init__(
            CollatedExamples(examples, collate, seed),
            batch_sampler=batches,
            collate_fn=_finished,  # type: ignore[arg-type]
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=start_worker,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: starting an iteration must not draw from the global one
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Beside:
    """Batches of one loader, each with the next one of another under ``name``. Both have as many."""

    def __init__(self, loader: StreamLoader, name: str, other: StreamLoader) -> None:
        self.loader, self.name, self.other = loader, name, other

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch, other in zip(self.loader, self.other, strict=True):
            yield {**batch, self.name: other}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def start_worker(worker: int) -> None:
    """One torch thread, and an end together with the training process, even if that one is killed outright (Linux)."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None or parent.pid != os.getppid():  # a fork server would be tied to itself
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it died before it could be tied to
        os._exit(1)


def _finished(batch: Any) -> Any:
    return batch
