"""Views of W&B by code: they name what runs really log, are written without a key, and sent with one."""

from __future__ import annotations

import json
import os
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from offline import offline_folders, read_back

from groundup import cli
from groundup.config.build import instantiate
from groundup.config.compose import compose
from groundup.runs.dashboard import View
from groundup.runs.folder import RunFolder
from groundup.tasks.base import Task

pytest.importorskip("wandb_workspaces", reason="the extra 'dashboard' is not installed")
TINY = [
    "size=nano",
    "tokenizer=char",
    "wandb.mode=offline",
    "budget.steps=4",
    "validate_every=2",
    "batching.batch_size=8",
]
UPDATES = "callbacks.step_logger.every=1"


def views(*words: str) -> dict[str, View]:
    nodes = compose("dashboard", list(words)).dashboard
    return {name: instantiate(node, f"dashboard.{name}") for name, node in nodes.items()}


@pytest.fixture(scope="module")
def logged(data_overrides, groundup) -> set[str]:
    """Names of figures and of keys of the configuration, as W&B wrote them down for two trainings."""
    found: set[str] = set()
    for words in (["finetune", "data.label=subject"], ["pretrain", "batching.length=16"]):
        with pytest.MonkeyPatch.context() as patch:  # as on a GPU whose peak is known: one TFLOP/s
            patch.setattr("groundup.training.step_logger.peak_of", lambda *_: 1e12)
            folder = groundup(words[0], *data_overrides, *words[1:], *TINY, UPDATES)
        (offline,) = offline_folders(RunFolder(folder))
        told = read_back(offline)
        found |= {*told["summary"], *(name for row in told["rows"] for name in row)}
        found |= set(keys(told["config"]))
    return found


def keys(config: dict, before: str = ""):
    for name, value in config.items():
        yield f"{before}{name}"
        if isinstance(value, dict):
            yield from keys(value, f"{before}{name}.")


def tasks(kind: type = Task):
    yield kind
    for other in kind.__subclasses__():
        yield from tasks(other)


def test_views_name_what_is_logged(logged):
    import groundup.tasks.multilabel
    import groundup.tasks.question_answering
    import groundup.tasks.regression
    import groundup.tasks.summarization
    import groundup.tasks.tagging
    import groundup.tasks.translation  # noqa: F401

    measured = {f"{split}/{one.name}" for kind in tasks() for one in kind.reports for split in ("validation", "test")}
    for name, view in views().items():
        plain = {re.sub(r"_ci95_(low|high)$", "", one) for one in view.names if one not in logged}
        assert not plain - measured, (name, sorted(plain - measured))
    assert {"train/loss", "tokens", "trainer/global_step", "choice.data", "parameters", "optimizer.lr"} <= logged


def test_without_a_key_everything_is_written_and_nothing_sent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("MY_SECRET", "very-secret")
    assert cli.run(["dashboard", "folder=views"]) == 0
    assert "no API key, so nothing was sent" in capsys.readouterr().out
    for name, view in views().items():
        text = (tmp_path / "views" / f"{name}.json").read_text(encoding="utf-8")
        spec = json.loads(text)
        assert spec["displayName"] == view.title and "secret" not in text
        shown = [name for panels in view.sections.values() for panel in panels for name in panel.get("line", ())]
        assert shown and all(json.dumps(name) in text for name in shown)
        assert text.count('"viewType"') == sum(map(len, view.sections.values()))


class Protocol(BaseHTTPRequestHandler):
    """The few answers of a W&B server that views need; what it is told to keep stands in ``kept``."""

    kept: list[dict] = []
    status = 200

    def do_POST(self):
        asked = (
            json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}") if self.path == "/graphql" else {}
        )
        query, given = asked.get("query", ""), asked.get("variables") or {}
        told: dict = {}
        if "upsertView" in query:
            self.kept.append(given)
            view = {"id": f"id{len(self.kept)}", "name": given["name"], "displayName": given["displayName"]}
            view |= {
                "type": given["type"],
                "description": "",
                "spec": given["spec"],
                "createdAt": "2026-01-01T00:00:00Z",
                "updatedAt": "2026-01-01T00:00:00Z",
            }
            view |= {"user": {"username": "me", "photoUrl": None}, "entityName": "me"}
            view["project"] = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
            told = {"upsertView": {"view": view, "inserted": True}}
        elif "internalId" in query:
            told = {"project": {"internalId": "p"}}
        elif "GetProjects" in query:
            told = {"models": {"pageInfo": {"hasNextPage": False, "endCursor": None}, "edges": []}}
        elif "upsertModel" in query:
            told = {"result": {"project": None, "model": None, "inserted": True}}
        elif "viewer" in query:
            told = {
                "viewer": {
                    "id": "u",
                    "entity": "me",
                    "username": "me",
                    "email": "",
                    "flags": "{}",
                    "teams": {"edges": []},
                }
            }
        data = json.dumps({"data": told}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A recorded protocol on this machine, and a key for it."""
    import wandb

    Protocol.kept, Protocol.status = [], 200
    with ThreadingHTTPServer(("127.0.0.1", 0), Protocol) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        wandb.teardown()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        yield Protocol
        listening.shutdown()
    wandb.teardown()


def test_with_a_key_views_are_sent_and_a_second_call_changes_the_same(server, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["dashboard", "folder=views", "dashboard=[pretraining,sweep]"]
    assert cli.run(words) == 0
    assert capfd.readouterr().out.count("http://127.0.0.1") == 3
    assert [one["type"] for one in server.kept] == ["project-view", "project-view", "runs"]
    assert [one["entityName"] for one in server.kept] == ["me"] * 3
    first = list(server.kept)
    assert "validation/perplexity" in first[0]["spec"] and "choice.value.model" in first[1]["spec"]
    assert "validation/perplexity" in first[2]["spec"]
    assert cli.run(words) == 0
    again = server.kept[3:]
    assert [one["id"] for one in again] == ["id1", "id2", "id3"]
    assert [one["name"] for one in again[:2]] == [one["name"] for one in first[:2]]
    assert "a" * 40 not in "".join(file.read_text() for file in (tmp_path / "views").iterdir())


def test_a_server_that_says_no_is_one_line_and_the_views_are_written(server, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    server.status = 403
    assert cli.run(["dashboard", "folder=views", "dashboard=[sweep]"]) == 2
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("error: W&B: ") and "entity=TEAM" in told[0]
    assert os.listdir(tmp_path / "views") == ["sweep.json"]


@pytest.mark.parametrize(
    ("panel", "told"),
    [
        ("{scatter: [a]}", "two names"), ("{line: []}", "missing"), ("{lines: [a]}", "has one of line"),
        ("{line: [a], bars: [b]}", "has one of line"), ("{line: [a], x: epochs}", "x is step or tokens"),
    ],
)  # fmt: skip
def test_a_panel_that_says_something_else_is_one_line(panel, told, capsys):
    assert cli.run(["dashboard", "dashboard=[sweep]", f"dashboard.sweep.sections.scores=[{panel}]"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: dashboard.sweep.sections: ") and told in line and line.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"), [("dashboard=[]", "nothing to show. Try"), ("folder=taken", "taken is a file")]
)
def test_what_cannot_be_written_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    assert cli.run(["dashboard", words]) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
