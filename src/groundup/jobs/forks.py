"""Processes that start with torch, Lightning and our code imported: a server imports them, runs none of them, and forks itself.

It starts no threads and touches no GPU, so the threads and GPUs that the environment gives to a job are really those of its process.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from groundup.system import streams
from groundup.system.files import no_link
from groundup.system.processes import end_with

POLL = 0.02  # seconds
GRACE = 60  # seconds in which a process whose server is gone may save what it has


class Child:
    """A process of the server's. ``returncode``: None while it runs; minus the signal that killed it."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks
        self.pid: int | None = None  # None: not begun yet
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self._forks.listen(0)
        return self.returncode

    def wait(self) -> int:
        while self.returncode is None:
            self._forks.listen(1)
        return self.returncode

    def terminate(self) -> None:
        """It saves first. One that has yet to begin does so."""
        while self.pid is None and self.returncode is None:
            self._forks.listen(1)
        if self.poll() is None and self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)


class Forks:
    """The server, seen from the process that wants others. It ends with this object, its processes within seconds of it.

    Args:
        prepare: what the server calls first, as ``module:function:argument``. Where it fails, the processes do without.
        target: what they call, as ``module:function``; an exception ends them with exit code 1.
        environment: of the server; libraries read it when they are imported.
    """

    def __init__(self, prepare: str, target: str, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), prepare, target],
                env={**environment, "PYTHONSAFEPATH": "1"},  # else -m puts the current folder before Python's own
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for this process, which tells the others
            )
        self._channel = Connection(ours.detach())
        self._running: dict[int, Child] = {}
        self._asked = 0
        self.lost = False  # somebody has killed the server
        self.close = weakref.finalize(self, _close, self._channel, self._server)

    def start(self, arguments: Sequence[Any], log: Path, environment: Mapping[str, str]) -> Child:
        """A process that calls the target with ``arguments``, which JSON can carry. What it prints is added to ``log``."""
        self._asked += 1
        child = self._running[self._asked] = Child(self)
        request = {"number": self._asked, "arguments": arguments, "log": str(log), "environment": dict(environment)}
        try:
            self._channel.send_bytes(json.dumps(request).encode())
        except OSError:
            self._lose()
        return child

    def listen(self, seconds: float) -> None:
        """Take in what the server has said; wait so many seconds for the first word."""
        try:
            while self._running and self._channel.poll(seconds):
                number, pid, code = json.loads(self._channel.recv_bytes())
                self._running[number].pid, self._running[number].returncode = pid, code
                if code is not None:
                    del self._running[number]
                seconds = 0
        except (EOFError, OSError):
            self._lose()

    def kill(self) -> None:
        """Ends the processes as they are, with those that they have started."""
        self._server.kill()
        self._lose()

    def _lose(self) -> None:
        """Nobody can say any more how the processes end."""
        self.lost = True
        for child in self._running.values():
            if child.pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.returncode = -signal.SIGKILL
        self._running.clear()


def _close(channel: Connection, server: subprocess.Popen) -> None:
    channel.close()
    server.kill()  # it may be importing still
    server.wait()


def serve(channel: Connection, prepare: str) -> dict[str, Any] | None:
    """Forks a process for each request. In that process it returns the request; in this one None, when nobody is there to ask."""
    asks = os.getppid()
    with suppress(Exception):
        module, function, argument = prepare.split(":")
        getattr(import_module(module), function)(argument)
    gc.collect()
    gc.freeze()  # the processes share what is imported: a collection would copy it
    server, running = os.getpid(), dict[int, int]()
    with suppress(EOFError, ConnectionError):
        while True:
            if channel.poll(POLL):
                request = json.loads(channel.recv_bytes())
                if os.getppid() != asks:  # killed since; the sweep may be going on elsewhere
                    return None
                try:
                    pid = fork()
                except OSError as error:  # no memory for one more
                    print(f"no process: {error}", file=sys.stderr)
                    channel.send_bytes(json.dumps([request["number"], None, os.EX_OSERR]).encode())
                    continue
                if pid == 0:
                    channel.close()
                    return request | {"parent": server}
                with suppress(OSError):  # it may be over
                    os.setpgid(pid, pid)  # here, too: who knows its number may end its group
                running[pid] = request["number"]
                channel.send_bytes(json.dumps([request["number"], pid, None]).encode())
            for pid, number in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del running[pid]
                    channel.send_bytes(json.dumps([number, pid, os.waitstatus_to_exitcode(status)]).encode())
    return None


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: those of linear algebra end before a fork, and begin again
        return os.fork()


def carry_out(target: str, request: Mapping[str, Any]) -> int:
    """Calls the target, in the process that is for it. Returns the exit code."""
    end_with(request["parent"], GRACE)
    os.setpgid(0, 0)
    os.environ.update(request["environment"])
    with open(request["log"], "ab", opener=no_link) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    streams.prepare()
    module, _, function = target.partition(":")
    try:
        getattr(import_module(module), function)(*request["arguments"])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def main(number: str, prepare: str, target: str) -> None:
    request = serve(Connection(int(number)), prepare)
    code = 0
    if request is not None:
        code = carry_out(target, request)
        atexit._run_exitfuncs()  # all that Python does at its end, but for taking modules down: 0.4 s
        code = streams.finish(code)
    os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
