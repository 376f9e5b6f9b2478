"""The routes: which run is asked, and what of it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, Router

from groundup.config.root import Limits
from groundup.serving.completions import completion_of, read_asked
from groundup.serving.counts import Counts
from groundup.serving.explained import explained
from groundup.serving.guard import Guard
from groundup.serving.page import page
from groundup.serving.reading import read_json
from groundup.serving.request_error import RequestError
from groundup.serving.served import Served
from groundup.serving.worker import Worker


class App:
    """Runs by their names, the first one being asked where a request names none, behind a ``Guard`` (``guarded``)."""

    def __init__(
        self, runs: Sequence[Served], worker: Worker, counts: Counts, limits: Limits, token: str | None
    ) -> None:
        self.runs = {one.name: one for one in runs}
        self.first, self.worker, self.counts, self.limits = runs[0], worker, counts, limits
        self.since = int(time.time())
        self._page = page()
        routes: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/": ("GET", self.show),
            "/health": ("GET", self.health),
            "/metrics": ("GET", self.metrics),
            "/runs": ("GET", self.list_runs),
            "/predict": ("POST", self.predict),
            "/explain": ("POST", self.explain),
            "/v1/models": ("GET", self.list_models),
            "/v1/completions": ("POST", self.complete),
        }
        router = Router(
            [Route(path, endpoint, methods=[method]) for path, (method, endpoint) in routes.items()],
            redirect_slashes=False,
        )
        # Not a whole Starlette, which answers what fails in a text of its own: the guard answers in JSON.
        app = ExceptionMiddleware(router, {HTTPException: _no_route, RequestError: _refused})
        self.guarded = Guard(app, counts, token, limits.bytes, limits.seconds, [*routes])

    async def show(self, request: Request) -> Response:
        return HTMLResponse(self._page)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ending" if self.guarded.draining else "ok"})

    async def metrics(self, request: Request) -> Response:
        return Response(self.counts.text(), media_type="text/plain; version=0.0.4")

    async def list_runs(self, request: Request) -> Response:
        return JSONResponse({"runs": [one.about() for one in self.runs.values()]})

    async def predict(self, request: Request) -> Response:
        """The answer to a row, or a list of answers to a list of rows."""
        served, asked = self._named(request.query_params.getlist("run")), read_json(request.scope["body"])
        raw, rows = served.rows(asked, self.limits)
        answers = await self.worker.answers(served.run, rows)
        lines = [served.line(*pair) for pair in zip(raw, answers, strict=True)]
        text = f"[{', '.join(lines)}]" if isinstance(asked, list) else lines[0]
        return Response(text + "\n", media_type="application/json")

    async def explain(self, request: Request) -> Response:
        """The answer to one row, and what it comes from."""
        served, asked = self._named(request.query_params.getlist("run")), read_json(request.scope["body"])
        if served.explains is None:
            why = f"{served.name} tells nothing of where its answers come from: ask it at /predict?run={served.name}"
            raise RequestError(400, why, "run")
        if isinstance(asked, list):
            raise RequestError(422, "a list, where one row is explained at a time")
        (raw,), (row,) = served.rows(asked, self.limits)
        worker = self.worker
        answer = await worker.run(lambda: explained(served.network, row, worker.accelerator, worker.seed))
        return Response(served.line(raw, answer) + "\n", media_type="application/json")

    async def list_models(self, request: Request) -> Response:
        """The runs that go on from a prompt, as clients of the protocol list them."""
        models = [
            {"id": one.name, "object": "model", "created": self.since, "owned_by": "groundup"}
            for one in self.runs.values()
            if one.continues
        ]
        return JSONResponse({"object": "list", "data": models})

    async def complete(self, request: Request) -> Response:
        """Texts after a prompt, or after each of several; whole, or as events while they are written."""
        asked = read_asked(read_json(request.scope["body"]))
        served = self._named([] if asked.model is None else [asked.model], "model")
        completion = await completion_of(served, asked, self.limits)
        if asked.stream:
            events = completion.events(self.worker)
            first = await anext(events)  # what is refused is refused by a code, before a stream begins
            return StreamingResponse(_chained(first, events), media_type="text/event-stream")
        return JSONResponse(await completion.whole(self.worker))

    def _named(self, names: Sequence[str], param: str = "run") -> Served:
        if not names:
            return self.first
        if len(names) > 1 or names[0] not in self.runs:
            known = ", ".join(self.runs)
            raise RequestError(404, f"no run {names[0][:80]!r} here; there is {known}", param, "model_not_found")
        return self.runs[names[0]]


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for event in rest:
            yield event


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return Response(json.dumps(error.body()), error.code, error.headers, "application/json")


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: "there is nothing here", 405: f"{request.method} is not for {request.scope['path'][:80]}"}
    refused = RequestError(error.status_code, what.get(error.status_code, str(error.detail)))
    return Response(json.dumps(refused.body()), error.status_code, {**(error.headers or {})}, "application/json")
