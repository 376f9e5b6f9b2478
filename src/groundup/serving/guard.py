"""What every request passes before its route: who may ask, how much is read, headers that every answer has, and the counts."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from groundup.serving.counts import Counts
from groundup.serving.request_error import RequestError

log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
OPEN = ("/", "/health")  # what is answered without a token: neither tells anything of the runs
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class GoneError(Exception):
    """The client has left, or reads nothing: nobody waits for the rest."""


class Guard:
    """An ASGI application around ``app``, which finds the whole body of a request in ``scope["body"]``.

    ``token``: that every request must bring, but for ``OPEN``; None: none is asked for, and then requests must be addressed
    to this machine by its own name, which a page of another site cannot say (DNS rebinding), and come from no other site's
    page. ``most``: bytes of a body; ``seconds``: in which it must have come. ``paths``: by which requests are counted.
    """

    def __init__(
        self, app: Callable, counts: Counts, token: str | None, most: int, seconds: float, paths: Sequence[str]
    ) -> None:
        self.app, self.counts, self.token, self.most, self.seconds = app, counts, token, most, seconds
        self.paths = {*paths}
        self.draining = False  # no request after this one on its connection

    def drain(self) -> None:
        """From now on answers close their connections."""
        self.draining = True

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        begun, code = time.perf_counter(), 0
        self.counts.begun += 1

        async def answer(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                closing = [(b"connection", b"close")] if self.draining else []
                message["headers"] = [*message.get("headers", ()), *HEADERS, *closing]
            try:
                await send(message)
            except OSError:
                raise GoneError from None

        try:
            try:
                headers = dict(scope["headers"])
                if b"transfer-encoding" in headers and b"content-length" in headers:  # a proxy may read the other one
                    raise RequestError(400, "two lengths: Content-Length, and Transfer-Encoding")
                self._check_sender(scope["path"], headers)
                if scope["method"] == "POST":
                    scope["body"] = await self._body(headers, receive)
                await self._until_gone(scope, receive, answer)
            except RequestError as refused:
                if code:
                    raise
                await tell(refused, answer)
        except GoneError:
            code = code or 499
        except asyncio.CancelledError:  # a second signal, or time is up
            if not code:
                await tell(RequestError(503, "the server ended before the answer was there"), answer)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"][:80])
            if not code:
                await tell(RequestError(500, "the server failed at this request; its log says why"), answer)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.counts.answered(path, code, time.perf_counter() - begun)

    async def _until_gone(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """The application's answer. Raises GoneError where the client leaves before it."""
        work = asyncio.ensure_future(self.app(scope, receive, send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
                raise GoneError
            work.result()
        finally:
            gone.cancel()
            work.cancel()

    def _check_sender(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self.token is not None:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            right = kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.token.encode())
            if not right and path not in OPEN:
                raise RequestError(401, "a token is needed: Authorization: Bearer TOKEN", name="invalid_api_key")
            return
        if not is_here(headers.get(b"host", b"").decode("latin-1")):
            raise RequestError(403, "only this machine is answered, as localhost or 127.0.0.1")
        origin, host = headers.get(b"origin"), headers[b"host"]
        if origin is not None and origin not in (b"http://" + host, b"https://" + host):
            raise RequestError(403, "pages of other sites are not answered")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Raises RequestError for one that is too long, too slow, or no JSON by its own account; GoneError where
        the client leaves before its end."""
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise RequestError(415, "send JSON: Content-Type: application/json")
        told = int(headers.get(b"content-length", b"0"))  # the protocol lets nothing but digits through
        parts: list[bytes] = []
        size, more, until = 0, True, time.monotonic() + self.seconds
        while more:
            if max(size, told) > self.most:
                raise RequestError(413, f"a body of {max(size, told):,} bytes, of {self.most:,} at most")
            try:
                message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0.001))
            except TimeoutError:
                raise RequestError(408, f"the body did not come within {self.seconds:g} seconds") from None
            if message["type"] == "http.disconnect":
                raise GoneError
            parts.append(message.get("body", b""))
            size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > self.most:
            raise RequestError(413, f"a body of {size:,} bytes, of {self.most:,} at most")
        return b"".join(parts)


def is_here(host: str) -> bool:
    """Whether a Host header names this machine itself."""
    match = re.fullmatch(r"(localhost|[\d.]+|\[[\da-f:]+\])(:\d{1,5})?", host, re.ASCII | re.IGNORECASE)
    if match is None or match[1].lower() == "localhost":
        return match is not None
    try:
        return ipaddress.ip_address(match[1].strip("[]")).is_loopback
    except ValueError:
        return False


async def _gone(receive: Receive) -> None:
    """Until the client has left; after the body nothing else is waited for, and one that nobody asked for is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def tell(refused: RequestError, send: Send) -> None:
    body = json.dumps(refused.body()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refused.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.code, "headers": raw})
    await send({"type": "http.response.body", "body": body})
