"""Processes that work together on one machine: where they meet, and how they end."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from groundup.errors import UserError

PORTS = range(20_000, 32_768)  # below those that Linux gives to outgoing connections


def free_port() -> int:
    """A port that nothing listens on. Drawn, not counted up: runs that start together shall not choose the same."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise UserError(f"a hundred ports between {PORTS[0]} and {PORTS[-1]} are all in use. Try trainer.devices=1")


def end_with(parent: int, grace: float = 0) -> None:
    """End this process within two seconds of its parent, however that ends: a rank alone waits for its peers for ever.

    ``grace``: seconds in which it may save what it has, as after a SIGTERM.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        if grace:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def leave_process_group() -> None:
    """Otherwise the next job of a sweep takes itself for one that torchrun has started, and waits for its peers."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
