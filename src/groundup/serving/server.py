"""Uvicorn with what it lacks: limits on slow connections and on their number, and a shutdown that loses no request."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from groundup.system.signals import on_signals

log = logging.getLogger(__name__)
CONNECTIONS = 1000  # at most
FILES = 4096  # that the process asks for; a burst of connections that are then closed takes some, too
IDLE = 75  # seconds between requests of a connection: clients and proxies keep one less long, and let go first
GRACE = 1.0  # seconds after SIGTERM in which requests on open connections are still taken


def protocol(seconds: float, connections: int) -> type[H11Protocol]:
    """HTTP/1.1, where the head of a request has so many seconds to come, and what is written so many to be read."""

    class Connection(H11Protocol):
        unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > connections:
                transport.abort()
            self._be_patient()

        def connection_lost(self, exc: Exception | None) -> None:
            self.patience.cancel()
            self.resume_writing()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.unread = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            if self.unread is not None:
                self.unread.cancel()
            super().resume_writing()

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:  # the head is there
                self.patience.cancel()

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                super().send_400_response(msg)
            else:  # the rest of what was refused is no HTTP
                self.transport.abort()

        def data_received(self, data: bytes) -> None:
            if self.conn.their_state is h11.IDLE and self.patience.cancelled():  # the next head begins
                self._be_patient()
            super().data_received(data)

        def on_response_complete(self) -> None:
            if self.conn.their_state is h11.SEND_BODY:  # the rest of this body is thrown away
                self._be_patient()
            super().on_response_complete()

        def _be_patient(self) -> None:
            self.patience = self.loop.call_later(seconds, self.transport.abort)

    return Connection


def files_at_most() -> int:
    """Files that this process may have open, after it has asked for as many as it may need."""
    try:
        import resource
    except ImportError:  # Windows, which counts otherwise
        return FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FILES:
        soft = FILES if hard == resource.RLIM_INFINITY else max(soft, min(FILES, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return FILES if soft < 0 else soft


class Server(uvicorn.Server):
    """Serves until SIGTERM or Ctrl-C: then it listens no more, answers what comes on open connections for a moment and what
    it has accepted to the end. ``draining`` is called at once: answers must close their connections from then on."""

    def __init__(self, app: Any, seconds: float, draining: Callable[[], None]) -> None:
        files = files_at_most()
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol(seconds, min(CONNECTIONS, files // 2)),
                # So many are taken at once, and it is some turns until the first of them can be closed.
                backlog=max(1, min(1024, files // 16)),
                ws="none",
                loop="asyncio",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=IDLE,
                timeout_graceful_shutdown=int(seconds) + 1,
            )
        )
        self.draining = draining

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def end(number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(self.drain)

        before = on_signals(end, ("SIGTERM", "SIGINT"))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def drain(self) -> None:
        """Begins the end; a second call ends at once."""
        if not self.started or not self.servers[0].is_serving():
            self.force_exit = self.should_exit = True
            for task in self.server_state.tasks:
                task.cancel()
            return
        self.draining()
        for listening in self.servers:
            listening.close()
        asyncio.get_running_loop().call_later(GRACE, self._leave)

    def _leave(self) -> None:
        self.should_exit = True
