"""The page of all runs: what it answers, what it refuses, and what a browser makes of 200 runs."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest

from groundup.errors import UserError
from groundup.metrics.estimate import Estimate, Metric
from groundup.report.live import LOOPBACK, Live
from groundup.report.page import write_report
from groundup.report.sweep_page import JobLine, write_sweep
from groundup.runs.folder import RunFolder

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ACCURACY = Metric("accuracy", "max", shown="table")


def made(logs: Path, name: str, accuracy: float, started: float, state: str = "done") -> RunFolder:
    run = RunFolder(logs / name)
    run.path.mkdir(parents=True)
    run.write_config({"seed": 1})
    run.set_status(state, stage="finetune", choices={"data": "trec6", "model": "cnn_encoder"}, started=started)
    run.write_json("metrics.json", {"test/accuracy": Estimate(accuracy, 0, 1, 9, metric=ACCURACY)})
    rows = [f"{step},{1 / step:.4f},{1.2 / step:.4f}" for step in range(10, 210, 10)]
    run.metrics_csv.write_text("\n".join(["step,train/loss,validation/loss", *rows]) + "\n")
    return run


@pytest.fixture
def live(tmp_path):
    """A server of three runs, one with a report and one with an evil name."""
    logs = tmp_path / "logs"
    write_report(made(logs, "finetune/a", 0.7, 1e9))
    made(logs, "finetune/b & <i>", 0.9, 2e9)
    made(logs, "finetune/c", 0.5, 3e9, "failed")
    (tmp_path / "secret.txt").write_text("a secret")
    (logs / "secret.html").write_text("a secret")
    with Live(logs, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(server: Live, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, dict]:
    connection = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"{LOOPBACK}:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def test_runs_are_listed_with_their_scores(live):
    status, body, headers = asked(live, "/runs.json")
    rows = json.loads(body)["runs"]
    assert status == 200 and headers["Cache-Control"] == "no-store"
    assert [(row["run"], row["state"], row["value"]) for row in rows] == [
        ("finetune/c", "failed", 0.5), ("finetune/b & <i>", "done", 0.9), ("finetune/a", "done", 0.7),
    ]  # fmt: skip
    assert rows[0]["better"] == "max" and rows[2]["report"] and not rows[0]["report"]


def test_a_new_run_and_a_changed_one_are_seen(live):
    asked(live, "/runs.json")
    run = made(live.logs, "finetune/d", 0.1, 4e9)
    assert len(json.loads(asked(live, "/runs.json")[1])["runs"]) == 4
    run.write_json("metrics.json", {"test/accuracy": Estimate(0.99, 0, 1, 9, metric=ACCURACY)})
    assert json.loads(asked(live, "/runs.json")[1])["runs"][0]["value"] == 0.99


def test_curves_are_those_of_the_run(live):
    found = json.loads(asked(live, f"/curves.json?run={quote('finetune/b & <i>')}&run=nosuch")[1])
    assert found["nosuch"] == {}
    assert found["finetune/b & <i>"]["train/loss"][0] == [10, 0.1]


def test_reports_are_served_and_nothing_else(live):
    assert "<h1>" in asked(live, "/report/finetune/a/report.html")[1]
    (live.logs / "finetune" / "c" / "report.html").symlink_to(live.logs / "secret.html")
    for path in (
        "/report/finetune/c/report.html", "/report/secret.html", "/report/../secret.txt/report.html", "/report/report.html",
        "/report/..%2Ffinetune%2Fa/report.html", "/report/%2Fetc%2Fpasswd", "/report//etc/passwd/report.html", "/secret.html",
        "/../secret.txt", "//etc/passwd", "/finetune/a/config.yaml", "/report/finetune/a%00/report.html",
        "/report/finetune/a/../a/report.html", "/report/finetune/a/config.yaml",
    ):  # fmt: skip
        status, body, _ = asked(live, path)
        assert status == 404 and "secret" not in body, path


def test_runs_are_found_by_any_key_of_their_configuration(live):
    live.runs()["finetune/a"].write_config({"seed": 7, "optimizer": {"lr": 0.01}})
    asked(live, "/runs.json")
    for where, found in (("seed=7", ["a"]), ("seed=1", ["c", "b & <i>"]), ("seed=7&where=optimizer.lr=0.0*", ["a"])):
        rows = json.loads(asked(live, f"/runs.json?where={where}")[1])["runs"]
        assert [row["run"].removeprefix("finetune/") for row in rows] == found, where
    assert json.loads(asked(live, "/runs.json?where=nosuch=1&where=odd")[1])["runs"] == []


def test_a_job_leads_to_the_page_of_its_sweep_whose_links_lead_back(live):
    run, sweep = made(live.logs, "sweeps/one/0", 0.4, 5e9), live.logs / "sweeps" / "one"
    write_report(run)
    assert json.loads(asked(live, "/runs.json")[1])["runs"][0]["sweep"] is None
    (sweep / "sweep.json").write_text("{}")
    write_sweep(sweep / "report.html", {"title": "s"}, "loss", True, [JobLine(0, {}, "done", 0.4, {}, run=run)], [])
    assert json.loads(asked(live, "/runs.json")[1])["runs"][0]["sweep"] == "sweeps/one"
    status, body, _ = asked(live, "/report/sweeps/one/report.html")
    (link,) = re.findall(r'href="([^"]+)"', body)
    assert status == 200 and "<h1>" in asked(live, f"/report/sweeps/one/{link}")[1]


def test_other_hosts_and_methods_are_refused(live):
    for host in (
        "evil.example",
        f"evil.example:{live.server_port}",
        "127.0.0.1",
        f"127.0.0.1.evil.example:{live.server_port}",
    ):
        status, body, _ = asked(live, "/runs.json", host)
        assert status == 403 and "trec6" not in body
    for method in ("POST", "PUT", "DELETE"):
        assert asked(live, "/runs.json", method=method)[0] == 501
    assert live.server_address[0] == LOOPBACK


def test_a_damaged_run_does_not_end_the_page(live):
    (live.logs / "finetune" / "a" / "metrics.json").write_text("[1")
    (live.logs / "finetune" / "a" / "status.json").write_text("{")
    (live.logs / "finetune" / "a" / "metrics.csv").write_text("step,x\n1,nan\n2,inf\n3,\x00\n4,5\n")
    assert asked(live, "/runs.json")[0] == 200
    status, body, _ = asked(live, "/curves.json?run=finetune%2Fa")
    assert status in (200, 500) and "nan" not in body.lower()
    assert asked(live, "/runs.json")[0] == 200


def test_a_port_that_is_taken_is_a_line(live, tmp_path):
    with pytest.raises(UserError, match=f"port={live.server_port}: .*Try port={live.server_port + 1}"):
        Live(tmp_path, live.server_port)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_200_runs_their_curves_and_the_best(live, tmp_path):
    for number in range(200):
        made(live.logs, f"sweep/{number}", number / 1000, 1000 + number)
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    wait = ["--virtual-time-budget=4000", "--dump-dom", f"http://localhost:{live.server_port}/"]
    text = subprocess.run([*command, *wait], capture_output=True, text=True, timeout=120).stdout
    assert text.count("<tr") == 204
    assert "202 done, 1 failed" in text.replace("1 failed, 202 done", "202 done, 1 failed")
    assert unescape(re.search(r'id="best"[^>]*>([^<]*)<', text)[1]) == "best: test/accuracy 0.9000, finetune/b & <i>"
    drawn = re.findall(r'<path class="line \w+" d="M([^"]+)"', text)
    assert len(drawn) == 5 and all(path.count("L") == 19 for path in drawn)
    assert text.count('data-value=""') == len(drawn) == 5  # of many lines the keys tell the values
    labels = re.findall(r"<text [^>]*text-anchor[^>]*>([^<]*)<", text)
    assert len(labels) > 6 and all(re.fullmatch(r"[\d.,]+k?( steps)?", label) for label in labels)
    assert 'href="/report/finetune/a/report.html"' in text and "<i>" not in text.replace("&lt;i&gt;", "")


def test_the_command_serves_until_it_is_stopped_and_rewrites_reports(tmp_path):
    import sys

    run = made(tmp_path / "logs", "finetune/a", 0.7, 1e9)
    command = [sys.executable, "-m", "groundup", "report"]
    told = subprocess.run([*command, "last"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0 and run.report.is_file() and "report.html" in told.stdout
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "Try groundup report last" in refused.stderr
    with subprocess.Popen([*command, "--serve", "port=0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            port = int(re.match(r"http://127\.0\.0\.1:(\d+) shows the runs below logs", line)[1])
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
            connection.request("GET", "/runs.json")
            assert json.loads(connection.getresponse().read())["runs"][0]["run"] == "finetune/a"
            server.terminate()  # Ctrl-C is ignored by what a shell has put into the background
            assert server.wait(timeout=60) == 0 and "ended" in server.stdout.read()
        finally:
            server.kill()
