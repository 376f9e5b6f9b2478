"""All runs below a folder on a local page that refreshes itself: ``groundup report --serve``.

It reads, and writes nothing. Only this machine can ask, and only for runs and sweeps that are there: a name is looked up in the
list of them, never made a path. What a run says is text; the page runs no script but its own.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from groundup.errors import UserError
from groundup.metrics.estimate import Metric
from groundup.report.listing import Listed
from groundup.report.page import environment
from groundup.report.points import extremes, rounded
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
from groundup.runs.reference import newest_runs
from groundup.system.files import no_link

log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
_REPORT = re.compile(
    r"/report/(?:(.+)/)?report\.html"
)  # as the files lie, so that the links of a page lead where they should
MOST_CURVES = 40  # runs of one answer
MOST_POINTS = 240  # of a curve
SWEEP = "sweep.json"  # in the folder of a sweep
MOST_REPORT = 200_000_000  # bytes


class Live(ThreadingHTTPServer):
    """Serves the runs below ``logs`` on the loopback address; ``port`` 0 takes a free one.

    Raises UserError where the port is taken.
    """

    daemon_threads = True

    def __init__(self, logs: Path, port: int) -> None:
        self.logs = logs
        self._rows: dict[Path, tuple[tuple[int, ...], dict[str, Any], Listed]] = {}
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise UserError(f"port={port}: {error.strerror}. Try port={port + 1 if port else 8000}") from None

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}"

    @cached_property
    def page(self) -> str:
        return (
            environment("page.js", "live.js", more="connect-src 'self'; ")
            .get_template("live.html")
            .render(logs=str(self.logs))
        )

    def runs(self) -> dict[str, RunFolder]:
        """Name of each run, its path below ``logs``, the newest first."""
        return {os.path.relpath(folder.path, self.logs): folder for folder in newest_runs(self.logs)}

    def rows(self, where: Iterable[str] = ()) -> list[dict[str, Any]]:
        """What the table shows: of the runs that have each ``KEY=VALUE`` of their configuration, where a star stands for
        anything. A row is made again when its files have changed, or while it runs."""
        wanted = [word.partition("=")[::2] for word in where]
        rows = []
        for one in map(Listed, newest_runs(self.logs)):
            files = (one.folder.status_file, one.folder.metrics_json, one.folder.metrics_csv)
            stamp = tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
            known = self._rows.get(one.folder.path)
            if known is None or known[0] != stamp or known[1]["state"] == "running":
                self._rows[one.folder.path] = known = stamp, self._row(one), one
            if all(fnmatchcase(known[2].said(key) or "", value) for key, value in wanted):
                rows.append({**known[1], "sweep": self._sweep(one.folder.path)})
        return rows

    def curves(self, name: str) -> dict[str, list]:
        """``{"train/loss": [[step, value], ...]}`` of a run; empty for one that is not there."""
        run = self.runs().get(name)
        lines: dict[str, list] = {}
        for row in read_metrics(run.metrics_csv) if run is not None else ():
            for column, value in row.items():
                if column != "step" and value == value and abs(value) != float("inf"):
                    lines.setdefault(column, []).append((row["step"], value))
        return {column: rounded(extremes(points, MOST_POINTS)) for column, points in lines.items()}

    def report(self, name: str) -> bytes | None:
        """``report.html`` of a run or a sweep; None where there is none, or something else is in its place."""
        runs = self.runs()
        folders = {name: run.path for name, run in runs.items()}
        folders |= {sweep: self.logs / sweep for run in runs.values() if (sweep := self._sweep(run.path))}
        if name not in folders:
            return None
        try:
            with open(folders[name] / "report.html", "rb", opener=no_link) as file:
                return file.read(MOST_REPORT)
        except OSError:
            return None

    def _sweep(self, path: Path) -> str | None:
        """Path below ``logs`` of the sweep that a run is a job of, once it has a page."""
        above = path.parents[: len(path.relative_to(self.logs).parts)]
        found = next((folder for folder in above if (folder / SWEEP).is_file()), None)
        return os.path.relpath(found, self.logs) if found and (found / "report.html").is_file() else None

    def _row(self, one: Listed) -> dict[str, Any]:
        metric = one.best[1].metric if one.best else None
        curves: dict[str, Metric] = {}
        try:
            saved = one.folder.read_json("measures.json", {})
            curves = {
                name: Metric.from_dict(name, about) for name, about in saved.items() if isinstance(about, Mapping)
            }
        except UserError:
            pass
        return {
            **one.about(),
            "run": os.path.relpath(one.folder.path, self.logs),
            "why": str(one.status.get("why") or ""),
            "score": one.score,
            "metric": one.best[0] if one.best else None,
            "value": one.best[1].value if one.best else None,
            "better": metric.better if metric else None,
            "report": one.folder.report.is_file(),
            "titles": {name: str(about) for name, about in curves.items()},
        }


class _Handler(BaseHTTPRequestHandler):
    server: Live
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The page, its list, its curves, and the reports."""
        host = self.headers.get("Host", "")
        if host not in (f"{LOOPBACK}:{self.server.server_port}", f"localhost:{self.server.server_port}"):
            self._answer(
                HTTPStatus.FORBIDDEN, "text/plain", b"only this machine is answered\n"
            )  # a name that leads here
            return
        asked = urlsplit(self.path)
        try:
            if asked.path == "/":
                self._answer(HTTPStatus.OK, "text/html", self.server.page.encode())
            elif asked.path == "/runs.json":
                self._json({"runs": self.server.rows(parse_qs(asked.query).get("where", []))})
            elif asked.path == "/curves.json":
                names = parse_qs(asked.query).get("run", [])[:MOST_CURVES]
                self._json({name: self.server.curves(name) for name in names})
            elif (name := _REPORT.fullmatch(asked.path)) and (page := self.server.report(unquote(name[1] or "."))):
                self._answer(HTTPStatus.OK, "text/html", page)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here\n")
        except (UserError, OSError, ValueError) as error:  # a damaged or vanished file of a run
            log.warning("%s: %s", self.path, error)
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"a file of that run cannot be read\n")

    def _json(self, value: Any) -> None:
        self._answer(HTTPStatus.OK, "application/json", json.dumps(value, allow_nan=False).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the page asks every few seconds."""
