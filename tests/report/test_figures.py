"""Pictures of a page as files for papers, and figures as tables for papers."""

from __future__ import annotations

import csv
import io
import re
import shutil
from xml.etree import ElementTree

import pytest

from groundup import cli
from groundup.report.figures import write_figures
from groundup.report.page import write_report
from groundup.report.sweep_page import JobLine, write_sweep

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run(tmp_path, monkeypatch, fabricated):
    monkeypatch.chdir(tmp_path)
    return fabricated()


def test_every_picture_of_a_page_is_a_file_that_needs_no_page(run, tmp_path):
    page = write_report(run)
    files = write_figures(page, tmp_path / "figures")
    assert len(files) == len(re.findall("<figure", page.read_text())) == len(set(files)) > 3
    assert {"loss.svg", "accuracy.svg"} <= {file.name for file in files}
    for file in files:
        text = file.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg" and "var(" not in text and "<script" not in text
        _, _, width, height = map(float, root.get("viewBox").split())
        assert (width, height) == (float(root.get("width")), float(root.get("height")))
        drawn = [path for path in root.iter(f"{SVG}path") if "line" in (path.get("class") or "") and path.get("d")]
        assert drawn or root.findall(f".//{SVG}rect[@class='weight']")
        for colour in {word for path in drawn for word in path.get("class").split()} - {"line", "faint", "spread"}:
            assert f".line.{colour}," in text  # else it would be black
    loss = (tmp_path / "figures" / "loss.svg").read_text(encoding="utf-8")
    assert ">loss</text>" in loss and ">train</text>" in loss and ">validation</text>" in loss


def test_axes_and_all_lines_of_a_picture_are_named(run, tmp_path):
    columns = [f"train/update_ratio/level_{level}" for level in range(12)]
    rows = [",".join(["0.1"] * 12) for _ in range(3)]
    run.metrics_csv.write_text(
        "\n".join(f"{i},{row}" for i, row in enumerate([",".join(columns), *rows])).replace("0,", "step,", 1)
    )
    page = write_report(run)
    files = {file.stem: file.read_text(encoding="utf-8") for file in write_figures(page, tmp_path / "figures")}
    assert all(f">level {level}</text>" in files["update_weight_by_level"] for level in range(12))
    assert ">true positive rate over false positive rate</text>" in files["roc"]


def test_names_from_a_stranger_stay_text_and_no_file_is_written_twice(tmp_path):
    jobs = [JobLine(i, {"</svg><script>x": str(i), "b": str(-i)}, "done", float(i), {}) for i in range(4)]
    page = write_sweep(tmp_path / "report.html", {"title": "../../up"}, "loss", True, jobs, [])
    page.write_text(page.read_text() + page.read_text())
    first, second = write_figures(page, tmp_path / "figures")
    assert first.parent == second.parent == tmp_path / "figures" and first != second
    assert "<script" not in first.read_text() and "&lt;script" in first.read_text()
    ElementTree.parse(first)


def test_a_run_beside_its_baselines_as_a_table_of_each_format(run, capsys):
    assert cli.run(["report", "run_done", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    systems = list(dict.fromkeys(row["system"] for row in rows))
    assert systems[-1] == "run_done" and len(systems) > 1 and {row["metric"].split("/")[0] for row in rows} == {"test"}
    saved = run.read_json("metrics.json", {})["test/accuracy"]["value"]
    assert [float(row["value"]) for row in rows if (row["system"], row["metric"]) == ("run_done", "test/accuracy")] == [
        saved
    ]
    assert cli.run(["report", "run_done", "format=latex"]) == 0
    latex = capsys.readouterr().out
    assert latex.count(r"\begin{tabular}") == 1 and "accuracy" in latex and r"\textbf{" in latex
    assert cli.run(["report", "run_done", "run_done", "--format=md"]) == 0
    assert capsys.readouterr().out.count("| run_done ") == 2


def test_pictures_are_written_beside_the_page_by_one_word(run, capsys):
    assert cli.run(["report", "run_done", "--figures"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "run_done/report.html" and "run_done/figures/loss.svg" in told
    assert sorted(told[1:]) == sorted(f"run_done/figures/{file.name}" for file in (run.path / "figures").iterdir())


def test_what_has_no_figures_yet_says_so(run, fabricated, capsys):
    unfinished = fabricated("failed").path.name
    assert cli.run(["report", unfinished, "format=csv"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and "no figures yet" in line and line.count("\n") == 1
    shutil.copytree("run_done", "other")
    assert cli.run(["compare", "run_done", "other", "format=html"]) == 2
    assert "output=compare.html" in capsys.readouterr().err


def test_pictures_that_cannot_be_are_one_line(run, capsys):
    (run.path / "figures").touch()
    for words, said in (
        (["--figures"], "figures is a file"),
        (["--figures", "format=md"], "Leave one out"),
        (["format=pdf"], "one of html, md, latex, csv. Try format=html"),
    ):
        assert cli.run(["report", "run_done", *words]) != 0
        error = capsys.readouterr().err
        assert error.startswith("error: ") and said in error and error.count("\n") == 1
