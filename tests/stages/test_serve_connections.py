"""What stands between a socket and the routes of ``groundup serve``: strangers' connections, and who may ask. No run is needed."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.serving.serve import listen, names, taking

serving = pytest.importorskip("groundup.serving.server")
counts, guard = (pytest.importorskip(f"groundup.serving.{name}") for name in ("counts", "guard"))
LARGE = 300_000  # bytes, more than is written without somebody who reads


async def answers(scope, receive, send) -> None:
    """A large answer at ``/large``, one without end at ``/endless``, else what was sent."""
    body = scope.get("body", b"") if scope["path"] == "/" else b"x" * LARGE
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(seconds: float = 30.0) -> Iterator[Any]:
    """The application behind a guard and a socket, at ``server.address``."""
    listening = listen("127.0.0.1", 0)
    guarded = guard.Guard(answers, counts.Counts(), None, 1000, seconds, ["/"])
    server = serving.Server(guarded, seconds, guarded.drain)
    server.address = listening.getsockname()
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield server
    finally:
        server.force_exit = server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until(happened, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def asked(server: Any, sent: bytes) -> bytes:
    """All that comes back until the server closes, or says nothing more."""
    with socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(sent)
        connection.settimeout(1)
        told = b""
        try:
            while part := connection.recv(1 << 16):
                told += part
        except (TimeoutError, ConnectionError):
            pass
        return told


def test_one_who_never_reads_is_let_go():
    with served(seconds=0.3) as server, socket.create_connection(server.address) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: server.server_state.connections)
        until(lambda: not server.server_state.connections)


def test_answers_that_wait_for_a_reader_are_whole_though_a_body_came_with_the_request():
    with served() as server, socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello" * 40)
        time.sleep(0.2)
        read = 0
        while read < 40 * LARGE:
            part = connection.recv(1 << 16)
            assert part, f"closed after {read} bytes"
            read += len(part)


def test_a_refused_body_that_turns_out_to_be_no_http_ends_the_connection_in_silence(caplog):
    with served() as server, socket.create_connection(server.address, timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 415")
        connection.sendall(b"no chunk\r\n")
        until(lambda: not server.server_state.connections)
    assert "Traceback" not in caplog.text


def test_no_more_connections_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(serving, "CONNECTIONS", 5)
    with served() as server:
        opened = [socket.create_connection(server.address, timeout=20) for _ in range(9)]
        for connection in opened[5:]:
            with pytest.raises((ConnectionResetError, AssertionError)):
                assert connection.recv(1)
        assert len(server.server_state.connections) <= 5
        for connection in opened:
            connection.close()


def test_files_are_asked_for_and_counted():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
        found = serving.files_at_most()
        assert found == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert found == (serving.FILES if before[1] < 0 else min(serving.FILES, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_signal_before_it_has_started_ends_it():
    async def end() -> None:
        server = serving.Server(answers, 1.0, lambda: None)
        server.drain()
        await asyncio.wait_for(server.serve([listen("127.0.0.1", 0)]), 20)
        assert server.should_exit and not server.server_state.connections

    asyncio.run(end())


def test_two_that_were_given_one_port_do_not_both_get_it():
    first = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    second = listen("127.0.0.1", port)  # both may be bound until one of them listens
    first.listen()
    with first, second, pytest.raises(UserError, match=f"Try port={port + 1}"), taking("127.0.0.1", port):
        second.listen()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.9.9.9:8000", "[::1]", "[::1]:8000"])
def test_names_of_this_machine(host):
    assert guard.is_here(host)


@pytest.mark.parametrize(
    "host",
    "localhost.evil.example|127.0.0.1.evil.example|evil.example|0x7f.1|127.1|2130706433|0.0.0.0|x@localhost|localhost/x|[|[]|::1|"
    "evil.example\\@localhost|localhost:abc|localhost:|localhost\n|[::ffff:8.8.8.8]|١٢٧.0.0.1||localhost:000000080".split(
        "|"
    ),
)
def test_names_that_are_none(host):
    assert not guard.is_here(host)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"Origin: http://localhost", 200),
        (b"Origin: https://localhost", 200),
        (b"Origin: app://localhost", 403),
        (b"Origin: localhost", 403),
        (b"Origin: null", 403),
        (b"Origin: http://localhost:1", 403),
        (b"Content-Length: 4", 400),  # of two lengths a proxy may have read the other
        (b"Content-Length: 20000", 400),
    ],
)
def test_origins_and_lengths(head, code):
    whole = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    with served() as server:
        told = asked(server, whole + head + b"\r\n\r\n4\r\n1234\r\n0\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 %d " % code, told), told
    assert code == 200 or json.loads(told.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_names_of_runs_are_shown_as_they_are_told_and_no_terminal_obeys_them(tmp_path):
    told = ["a", "语言", "a\x1b[31m", "b\nhttp: answers", "c\u202e", "d\udcff"]
    shown = ["a", "语言", "a\\x1b[31m", "b\\nhttp: answers", "c\\u202e", "d\\udcff"]
    assert names([RunFolder(tmp_path / name) for name in told]) == shown
