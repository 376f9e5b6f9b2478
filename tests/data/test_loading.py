"""From batch numbers to tensors: seeds that depend on nothing else, workers that end with the training."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from groundup.data.batching import BatchStream
from groundup.data.loading import CollatedExamples, StreamLoader
from groundup.errors import UserError


def test_a_seed_for_each_epoch_and_row_whatever_the_batch():
    def collate(examples: list, seeds: list[int]) -> list[int]:
        return seeds

    batches = CollatedExamples(SimpleNamespace(__getitems__=lambda keys: keys), collate, seed=1)
    keys = [(epoch, index) for epoch in (-1, 0, 1) for index in range(4)]
    together = batches.__getitems__(keys)
    assert len(set(together)) == len(keys)
    assert [batches.__getitems__([key])[0] for key in keys] == together
    assert CollatedExamples(batches.examples, collate, seed=2).__getitems__(keys) != together


class Refusing:
    def __len__(self) -> int:
        return 4

    def __getitems__(self, keys: list[tuple[int, int]]) -> list:
        raise UserError("row 3 is broken")


def test_a_mistake_that_a_worker_finds_is_told_as_it_is():
    for workers in (0, 1):
        batches = BatchStream(lambda epoch: [np.arange(4)], 2)
        with pytest.raises(UserError) as refusal:
            list(StreamLoader(Refusing(), _first, 1, batches, num_workers=workers))
        assert str(refusal.value) == "row 3 is broken"


def _first(examples: list, seeds: list[int]) -> dict:
    return examples[0]


ORPHANS = """
import os, signal, time
import numpy as np
from groundup.data.batching import BatchStream
from groundup.data.loading import StreamLoader

class Examples:
    def __len__(self): return 4
    def __getitems__(self, keys):
        if keys[0][0] > 1: time.sleep(30)  # busy when the parent dies
        return [os.getpid()]

if __name__ == "__main__":
    loader = StreamLoader(Examples(), lambda examples, seeds: examples[0], 1, BatchStream(lambda e: [np.arange(4)], 1000), num_workers=2)
    batches = iter(loader)
    print(next(batches), next(batches), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
def test_workers_die_with_a_killed_parent():
    # Not subprocess.run, which would wait for the workers too: they hold the other end of the pipe.
    child = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    workers = [int(word) for word in child.stdout.readline().split()]
    assert child.wait(timeout=60) == -signal.SIGKILL
    child.stdout.close()
    assert len(set(workers)) == 2
    deadline = time.monotonic() + 5  # they would sleep for 30 s
    while any(_alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(worker) for worker in workers)


def _alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"  # a zombie is dead, only not yet collected
    except (FileNotFoundError, ProcessLookupError):
        return False
