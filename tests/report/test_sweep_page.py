"""The page of a sweep: what its settings explain, the lines through them, and every job with what became of it."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys

import pytest
from report_page import Page

from groundup.report.page import write_report
from groundup.report.parallel import parallel_chart
from groundup.report.sweep_page import JobLine, importance, write_sweep
from groundup.runs.folder import RunFolder


def job(number: int, score: float | None, state: str = "done", why: str = "", **changed: str) -> JobLine:
    figures = {} if score is None else {"validation/loss": f"{score:.4g}"}
    return JobLine(number, changed, state, score, figures, why)


@pytest.fixture
def jobs() -> list[JobLine]:
    """Of twelve jobs, whose score the learning rate decides, and the model a little; one failed, one never began."""
    draw = random.Random(0)
    made = []
    for number in range(12):
        lr, model = 10 ** draw.uniform(-4, -2), "ab"[number % 2]
        made.append(job(number, -lr * 100 + 0.02 * (model == "b"), model=model, lr=f"{lr:.6g}", seed="1"))
    made.sort(key=lambda one: one.score)
    return [
        *made,
        job(12, None, "failed", "<b>no memory</b>", model="a", lr="1", seed="1"),
        job(13, None, "waiting", model="b", lr="2", seed="1"),
    ]


def test_importance_is_what_a_setting_explains_alone(jobs):
    found = importance(jobs)
    assert next(iter(found)) == "lr" and found["lr"] > 0.9 and found["model"] < 0.3 and "seed" not in found
    one = [job(i, float(i // 2), model="ab"[i // 2 % 2], noise="xy"[i % 2]) for i in range(4)]
    assert importance(one) == pytest.approx({"model": 1.0, "noise": 0.0})


def test_too_few_jobs_or_equal_scores_say_nothing():
    assert importance([job(0, 1.0, a="x"), job(1, 2.0, a="y")]) == {}
    assert importance([job(i, 1.0, a="xy"[i % 2]) for i in range(6)]) == {}
    assert importance([]) == {}


def test_lines_go_through_the_settings_and_better_is_higher():
    chart = parallel_chart(
        {"lr": ["0.001", "0.1", "0.01"], "model": ["a", "b", "a"]}, "loss", [1.0, 3.0, 2.0], True, ["0", "1", "2"]
    )
    assert [axis.name for axis in chart.axes] == ["lr", "model", "loss"]
    ways = {line.name: [float(y) for y in re.findall(r" ([\d.]+)", line.path)] for line in chart.lines}
    top, bottom = chart.ends
    assert ways["0"] == [bottom, bottom, top] and ways["1"] == [top, top, bottom]
    assert ways["2"][0] == pytest.approx((top + bottom) / 2)  # 0.01 is in the middle of a logarithmic axis
    assert [line.name for line in chart.lines if line.best] == ["0"]


def test_the_page_has_every_job_and_escapes_what_it_is_told(jobs, tmp_path):
    about = {"title": "<i>sweep</i>", "command": "groundup finetune -m lr=..."}
    seeds = [["over seeds", "lr", "runs", "validation/loss"], ["mean ± std", "0.1", "2", "0.5 ± 0.1"]]
    html = write_sweep(tmp_path / "report.html", about, "validation/loss", True, jobs, seeds).read_text(
        encoding="utf-8"
    )
    page = Page(html)
    assert list(page.sections)[1:] == [
        "Settings and validation/loss",
        "What the score depends on",
        "Mean over seeds",
        "Jobs",
    ]
    assert "12 done, 1 failed, 1 waiting" in page.sections[""] and "<i>sweep</i>" in page.sections[""]
    assert "<b>no memory</b>" in page.sections["Jobs"] and {"b", "i"}.isdisjoint(page.tags)
    assert html.count('<path class="line') == 12
    assert page.sections["Jobs"].split()[:7] == ["job", "model", "lr", "seed", "state", "validation/loss", "10"]


def test_a_job_is_linked_and_the_curves_of_the_best_share_a_picture(tmp_path, fabricated):
    sweep = tmp_path / "a sweep"
    runs = [fabricated(), fabricated("failed")]
    runs = [RunFolder(shutil.move(run.path, sweep / f"{number}#<b>")) for number, run in enumerate(runs)]
    write_report(runs[0])
    jobs = [
        JobLine(i, {"lr": f"{i}"}, "done", float(i), {"validation/loss": "1"}, run=run) for i, run in enumerate(runs)
    ]
    html = write_sweep(
        sweep / "report.html", {"title": "s"}, "validation/loss", True, jobs, [], "groundup x"
    ).read_text()
    assert re.findall(r'<a href="([^"]+)">(\d)</a>', html) == [("0%23%3Cb%3E/report.html", "0")]
    charts = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    assert len(charts) == 3 and all("job 0: 0</span>" in chart and "job 1: 1</span>" in chart for chart in charts)
    assert "<code>groundup x</code>" in html


def test_a_sweep_without_a_score_has_its_jobs_alone(tmp_path):
    failed = [job(0, None, "failed", "no memory", lr="1"), job(1, None, "failed", "no memory", lr="2")]
    html = write_sweep(tmp_path / "report.html", {"title": "s"}, "validation/loss", True, failed, []).read_text("utf-8")
    assert list(Page(html).sections)[1:] == ["Jobs"]


def test_reports_are_written_without_torch():
    """A pool has not imported it, and five seconds at the end of a sweep are long."""
    look = "import sys, groundup.report.sweep_page, groundup.report.live; print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "[]\n"
