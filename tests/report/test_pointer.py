"""What charts and tables of a page do with a pointer, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from groundup.report.page import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

PLAY = """
const told = {};
window.onerror = (message, file, line) => { document.title = `told:{"error": "${message} ${line}"}`; };
const figures = [...document.querySelectorAll("figure[data-chart]")];
told.empty = figures.filter((figure) => [...figure.querySelectorAll("path.line")].every((path) => path.getTotalLength() < 10)).length;
told.charts = figures.length;
const figure = figures[0], svg = figure.querySelector("svg"), frame = svg.getBoundingClientRect();
const fire = (type, share) =>
  svg.dispatchEvent(new PointerEvent(type, { clientX: frame.left + frame.width * share, clientY: frame.top + 60, bubbles: true }));
const labels = () => [...svg.querySelectorAll("text:not(.mark)")].map((text) => text.textContent);
told.before = labels();
const drawing = svg.innerHTML;
fire("pointermove", 0.5);
told.values = figure.querySelector("output").textContent;
fire("pointerleave", 0.5);
const press = (key) => svg.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
press("ArrowRight");
told.first = figure.querySelector("output").textContent;
press("ArrowRight"); press("ArrowRight"); press("ArrowLeft");
told.second = figure.querySelector("output").textContent;
fire("pointerdown", 0.4); fire("pointermove", 0.6); fire("pointerup", 0.6);
told.zoomed = labels();
svg.dispatchEvent(new MouseEvent("dblclick"));
told.whole = labels();
told.same = svg.innerHTML === drawing;
fire("pointerdown", 0.4); fire("pointermove", 0.6); fire("pointerup", 0.6);
const whole = [...figure.querySelectorAll("button")].find((button) => button.textContent === "whole");
told.back = !whole.hidden;
whole.click();
told.same_again = svg.innerHTML === drawing;
const button = [...figure.querySelectorAll("button")].find((button) => button.textContent === "log y");
button.click();
told.log = labels();
fire("pointerleave", 0.5);
told.left = figure.querySelector("output").textContent;
const table = [...document.querySelectorAll("table")].find((table) => table.tBodies[0]?.rows.length > 2 && table.tHead);
const column = 1, cells = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim());
table.tHead.rows[0].cells[column].click();
told.rising = cells();
table.tHead.rows[0].cells[column].click();
told.falling = cells();
const mixed = document.createElement("table");
mixed.createTHead().innerHTML = "<tr><th>lr</th></tr>";
mixed.createTBody().innerHTML = ["0.01", "-", "3e-4", "1,000", "0.2 [0.1, 0.3]"].map((text) => `<tr><td>${text}</td></tr>`).join("");
document.body.append(mixed);
sortable(mixed);
const head = mixed.tHead.rows[0].cells[0];
head.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
told.mixed = [...mixed.tBodies[0].rows].map((row) => row.textContent);
told.sorted = head.getAttribute("aria-sort");
mixed.remove();
told.wide = [document.documentElement.scrollWidth, innerWidth];
document.title = "told:" + JSON.stringify(told);
"""


def played(run, folder: Path, allowed: bool = True) -> dict:
    """What PLAY found on the report of a run, which allows no script but its own."""
    html = write_report(run).read_text(encoding="utf-8")
    if allowed:
        html, count = re.subn(r"script-src &#39;sha256-[^&]+&#39;", "script-src 'unsafe-inline'", html)
        assert count == 1
    file = folder / "played.html"
    file.write_text(html.replace("</body>", f"<script>{PLAY}</script></body>"), encoding="utf-8")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'browser'}",
        "--window-size=390,844",
        "--dump-dom",
    ]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>told:(.*?)</title>", done.stdout, re.DOTALL)
    assert "<h1>" in done.stdout
    return json.loads(unescape(found[1])) if found else {}


def numbers(labels: list[str]) -> list[float]:
    return [float(label.replace(",", "")) for label in labels if re.fullmatch(r"[\d.,]+", label)]


def test_charts_answer_the_pointer_and_tables_sort(fabricated, tmp_path):
    told = played(fabricated(), tmp_path)
    assert "error" not in told, told
    assert told["charts"] > 3 and told["empty"] == 0
    step, train, validation = re.fullmatch(r"([\d,]+): train ([\d.]+), validation ([\d.]+)", told["values"]).groups()
    assert 500 <= float(step.replace(",", "")) <= 700  # the middle of 1,200 steps
    assert 0.2 < float(train) < 2 and 0.2 < float(validation) < 2
    steps = [number for number in numbers(told["zoomed"]) if number > 50]
    assert steps and min(steps) > 400 and max(steps) < 800
    assert max(numbers(told["whole"])) >= 1000
    assert told["log"] != told["whole"] and {"0.5", "1"} <= set(told["log"])
    assert told["left"] == ""
    assert told["falling"] == told["rising"][::-1] != told["rising"]
    assert (
        told["same"] and told["back"] and told["same_again"]
    )  # the drawing that came, with its smooth lines and its best point
    assert (told["first"][:3], told["second"][:3]) == ("5: ", "10:")  # by arrow keys
    assert told["mixed"] == ["3e-4", "0.01", "0.2 [0.1, 0.3]", "1,000", "-"] and told["sorted"] == "ascending"
    assert told["wide"][0] <= told["wide"][1] < 600  # nothing leaves the screen of a phone


def test_a_browser_runs_no_script_that_is_not_ours(fabricated, tmp_path):
    assert played(fabricated(), tmp_path, allowed=False) == {}
