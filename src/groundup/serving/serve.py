"""``groundup serve``: opens runs, and answers for them until it is told to end."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from groundup.config.root import Limits
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.reference import open_run
from groundup.stages.build import prepare_process, task_class
from groundup.stages.loading import load_run
from groundup.stages.predict import check_answers
from groundup.system.signals import EXIT_CODES

log = logging.getLogger(__name__)
NEEDED = ("starlette", "uvicorn", "prometheus_client")
TOKEN = "GROUNDUP_TOKEN"
SHORTEST = 16  # characters of a token
LOOPBACK = "127.0.0.1"


def run(cfg: Config, job: Job) -> None:
    """Serves until SIGTERM or Ctrl-C. Raises UserError where packages, the token or an answering run is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"serve needs {' and '.join(missing)}. Try pip install 'groundup[serve]'")
    from groundup.serving.app import App
    from groundup.serving.counts import Counts
    from groundup.serving.served import Served
    from groundup.serving.server import Server
    from groundup.serving.worker import Worker

    token, limits = token_for(cfg.host), Limits(**cfg.limits)
    prepare_process(cfg.threads)
    listening = listen(cfg.host or LOOPBACK, cfg.port)
    references = cfg.run if isinstance(cfg.run, list) else [cfg.run]
    folders = [open_run(one, Path(cfg.paths.logs), "predict") for one in references]
    for folder in folders:
        check_answers(task_class(Config(folder.read_config())), folder)
    runs = [
        Served(name, load_run(folder.checkpoint or folder.path, cfg.paths.logs))
        for name, folder in zip(names(folders), folders, strict=True)
    ]
    counts = Counts()
    worker = Worker(cfg.batch_size, cfg.wait_ms / 1000, limits.queue, limits.seconds, counts, cfg.accelerator, cfg.seed)
    app = App(runs, worker, counts, limits, token)
    server = Server(app.guarded, limits.seconds, app.guarded.drain)
    with taking(cfg.host or LOOPBACK, cfg.port):
        listening.listen()  # another may have begun to since it was bound
    worker.start()
    host, port = listening.getsockname()[:2]
    where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"{where} answers for {', '.join(one.name for one in runs)}; Ctrl-C ends it", flush=True)
    server.run(sockets=[listening])
    if not server.force_exit:
        worker.close()
    print(f"ended: {counts.begun:,} requests taken, {counts.ended:,} answered", flush=True)
    if (
        server.force_exit
    ):  # what the models' thread is at cannot be broken off, and Python would wait for it or fall over it
        os._exit(EXIT_CODES["SIGTERM"])


def token_for(host: str | None) -> str | None:
    """What clients must bring, from the environment; None: nothing, as only this machine is answered.

    Raises UserError where another address than the loopback one is given and no token, or one that can be guessed.
    """
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        if host is None or _is_loopback(host):
            return None
        raise UserError(
            f"host={host}: others can ask, so they need a token. Try export {TOKEN}=$(openssl rand -hex 16)"
        )
    if len(token) < SHORTEST or not (token.isascii() and token.isprintable()):
        raise UserError(
            f"{TOKEN} must be {SHORTEST} or more plain characters. Try export {TOKEN}=$(openssl rand -hex 16)"
        )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens once it is served. Raises UserError where the address cannot be had."""
    with taking(host, port):
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    return listening


@contextmanager
def taking(host: str, port: int) -> Iterator[None]:
    """Errors of an address as a UserError that says what to type."""
    try:
        yield
    except socket.gaierror as error:
        raise UserError(f"host={host}: {error.strerror}. Try host=0.0.0.0, or leave it out") from None
    except OSError as error:
        raise UserError(f"host={host} port={port}: {error.strerror}. Try port={port + 1 if port else 8000}") from None


def names(folders: Sequence[RunFolder]) -> list[str]:
    """Of each run the shortest end of its path that no other has."""
    paths = [folder.path.resolve().parts[1:] for folder in folders]
    found = []
    for path in paths:
        length = next(
            n for n in range(1, len(path) + 1) if n == len(path) or [p[-n:] for p in paths].count(path[-n:]) == 1
        )
        name = "/".join(path[-length:])
        found.append(name if name.isprintable() else repr(name)[1:-1])  # a terminal obeys what it is shown
    return found
