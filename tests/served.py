"""``groundup serve`` as a process, and a client that asks it what no well-behaved client would."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from child import Child

for needed in ("starlette", "uvicorn"):
    pytest.importorskip(needed)
httpx = pytest.importorskip("httpx")


class Served:
    """The command ``serve`` with further ``words``, once it answers; ``ask`` for JSON, ``raw`` for bytes as they stand."""

    def __init__(self, place: Path, *words: str, first: str = "") -> None:
        self.child = Child(["serve", "port=0", "threads=1", *words], place, first)
        self.child.wait_for(lambda: "answers for" in self.child.output())
        self.url = re.findall(r"http://\S+", self.child.output())[0]
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def ask(self, path: str, body: Any, code: int = 200, **headers: str) -> Any:
        """What is answered to ``body``, which is sent as JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.client.post(path, content=content, headers={"Content-Type": "application/json", **headers})
        assert answer.status_code == code, answer.text
        return answer.json()

    def raw(self, sent: bytes, seconds: float = 30) -> bytes:
        """All that comes back until the server closes the connection."""
        with socket.create_connection(self.address, timeout=seconds) as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # refused before it was read
                pass
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
            except ConnectionResetError:
                pass
            return b"".join(parts)

    def end(self) -> int:
        """Its exit status after SIGTERM."""
        if self.child.returncode is None:
            self.child.send_signal(signal.SIGTERM)
        return self.child.wait(60)


@contextmanager
def serving(place: Path, *words: str) -> Iterator[Served]:
    """Raises AssertionError unless it lives to the end and ends with 0."""
    served = Served(place, *words)
    try:
        yield served
        assert served.end() == 0, served.child.errors()
    finally:
        served.client.close()
        served.child.kill()
