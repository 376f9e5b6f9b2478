"""The report shows what the folder holds, in any state of the run, and needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from pathlib import Path

import pytest
from report_page import Page, page

from groundup.metrics.class_sections import classification_sections
from groundup.metrics.estimate import Estimate, Metric, labelled
from groundup.metrics.sections import Cell, Matrix, Section, Table, Trend, sections_from
from groundup.report import page as page_module
from groundup.report.charts import line_chart, trend_chart
from groundup.report.page import environment, write_report
from groundup.report.points import extremes, smoothed, thin
from groundup.report.scales import number, short
from groundup.report.table import show_table
from groundup.runs.folder import RunFolder
from groundup.training.step_logger import FIGURES


def test_a_finished_run_shows_every_section(fabricated):
    sections = page(fabricated()).sections
    titles = [
        "Results",
        "Learning curves",
        "Confusion matrix",
        "Calibration",
        "ROC and precision-recall curves",
        "Wrong predictions",
        "Samples",
        "Provenance",
        "Configuration",
    ]
    assert list(sections)[1:] == titles
    for text in ("finetune", "done", "python_docs_topic · transformer_encoder", "1,200", "812,934"):
        assert text in sections[""]
    assert "把一段文字拆成词" in sections["Wrong predictions"]
    assert "The with statement" in sections["Samples"]
    assert "hub_token=********" in sections["Provenance"]
    assert "width: 128" in sections["Configuration"]


@pytest.mark.parametrize(
    ("config", "choices", "title"),
    [
        ({"steps": {}}, {"experiment": "demo", "hydra": "default"}, "demo"),
        ({"run": "logs/finetune/trec6_lstm/monday"}, {"data": "_same_as_run"}, "trec6_lstm/monday"),
        ({}, {}, "folder"),
        ({}, {"data": "trec6", "baseline": "naive_bayes"}, "trec6 · naive_bayes"),
    ],
)
def test_a_pipeline_has_the_name_of_its_experiment_and_an_evaluation_that_of_its_run(tmp_path, config, choices, title):
    run = RunFolder(tmp_path / "folder")
    run.path.mkdir()
    run.write_config(config)
    run.set_status("done", choices=choices)
    assert page(run).sections[""].strip().startswith(title)


def test_an_evaluation_is_called_by_what_was_trained(fabricated, tmp_path):
    judged = fabricated()
    run = RunFolder(tmp_path / "evaluation")
    run.set_status("done", stage="evaluate", choices={"data": "_same_as_run"})
    run.write_config({"run": str(judged.path)})
    assert page(run).sections[""].strip().startswith("python_docs_topic · transformer_encoder, evaluate")
    assert judged.path.name in page(run).sections[""]


def test_results_stand_beside_the_baselines_with_intervals(fabricated):
    run = fabricated()
    text = page(run).sections["Results"]
    for file in ("metrics.json", "baselines.json"):
        saved = run.read_json(file)
        for results in [saved] if "test/accuracy" in saved else saved.values():
            estimate = results["test/accuracy"]
            low, high = estimate["ci95"]
            assert re.search(rf"{estimate['value']:.4f} +{low:.3f} – {high:.3f}", text)
    assert "bag-of-words logistic regression" in text


def test_an_ensemble_is_called_by_the_data_of_its_members(tmp_path):
    run = RunFolder(tmp_path / "7")
    run.set_status("done", stage="ensemble", choices={"data": "_same_as_run"})
    for name in ("a", "b"):
        RunFolder(run.path / "members" / name).set_status("done", choices={"data": "trec6"})
    assert page(run).sections[""].strip().startswith("trec6 · 2 members, ensemble 7")


def test_what_stands_below_a_figure_is_said_above_it(tmp_path):
    run = RunFolder(tmp_path)
    accuracy = Metric("accuracy", "max", shown="table")
    held_out = Estimate(0.8, 0.7, 0.9, 40, metric=accuracy)
    folds = Estimate(0.8, None, None, 5, deviation=0.02, metric=accuracy)
    run.write_json(
        "metrics.json", {"test/accuracy": held_out, "out_of_fold/accuracy": held_out, "folds/accuracy": folds}
    )
    text = " ".join(page(run).sections["Results"].split())
    for said in (
        "test split n = 40, with 95 % intervals",
        "out of fold n = 40, with",
        "folds n = 5, mean ± standard deviation",
    ):
        assert said in text


def test_it_is_one_file_that_asks_for_nothing(fabricated):
    run = fabricated()
    html = write_report(run).read_text(encoding="utf-8")
    tags = Page(html)
    assert not {"link", "img", "iframe", "a"} & set(tags.tags)
    assert tags.tags.count("script") == 1  # ours, by its digest: a browser runs no other
    script = html[html.index("<script>") + len("<script>") : html.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [value for name, value in tags.attributes if name == "content" and "script-src" in value]
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval|innerHTML|http:)\b", script)
    assert not [value for name, value in tags.attributes if name in ("src", "href") or name.startswith("on")]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert str(run.path.parent) not in html


def test_a_moved_run_is_the_same_run(tmp_path, fabricated):
    run = fabricated()
    write_report(run)
    before = (run.read_config(), run.status(), run.read_predictions(), run.read_sections())
    moved = RunFolder(shutil.move(run.path, tmp_path / "elsewhere"))
    assert (moved.read_config(), moved.status(), moved.read_predictions(), moved.read_sections()) == before
    for file in moved.path.glob("*.*"):
        if not file.is_file():
            continue
        assert str(tmp_path) not in file.read_text(encoding="utf-8")


def test_text_of_users_is_never_markup(tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=y>\"'&"
    run = RunFolder(tmp_path / "run")
    run.set_status("failed", why=evil, stage=evil)
    run.write_config({evil: evil})
    row = {"text": evil, "text_pair": evil, "label": evil, "predicted": "b", "probability": 0.9}
    table = Table({evil: "text"}, [[Cell(evil, evil, [evil])], [evil * 20]], evil, evil)
    sections = classification_sections([row, {**row, "text": evil * 20}], [evil, "b"])
    matrix, trend = Matrix([evil], [[1]], {evil: [evil]}), Trend(evil, evil, {evil: [(1, 0.5, 0.4, 0.6)]})
    run.write_json("sections.json", [*sections, Section(evil, evil, [table, matrix, trend])])
    run.write_json("measures.json", {evil: {"title": evil, "better": evil}})
    run.write_json("metrics.json", {f"test/{evil}": {"value": 1.0, "ci95": [0, 1], "n": 1}})
    run.write_json("baselines.json", {evil: {f"test/{evil}": {"value": 1.0, "ci95": [0, 1], "n": 1}}})
    run.write_json("provenance.json", {evil: evil, "command": evil})
    run.samples.mkdir()
    (run.samples / "a.txt").write_text(evil)
    run.metrics_csv.write_text('step,"<script>x</script>/y"\n1,2.0\n2,3.0\n')
    tags = Page(write_report(run).read_text(encoding="utf-8"))
    assert tags.tags.count("script") == 1
    assert "img" not in tags.tags
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name in ("src", "href")]
    assert evil in tags.sections["Wrong predictions"]


def test_every_value_is_escaped_by_the_templates_alone():
    assert environment().autoescape is True
    for file in Path(page_module.__file__).parent.rglob("*"):
        if file.suffix in (".py", ".html"):
            assert not re.search(r"\|\s*safe\b|Markup|escape\(|autoescape (false|off)", file.read_text("utf-8")), file


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_an_unfinished_run_says_why_and_shows_its_curves(fabricated, state):
    sections = page(fabricated(state)).sections
    assert "the loss became NaN at step 400" in sections[""]
    assert state in sections[""]
    assert "Learning curves" in sections
    assert "Results" not in sections


def test_an_empty_folder_has_a_report(tmp_path):
    assert "unknown" in page(RunFolder(tmp_path / "empty")).sections[""]


def test_confusions_are_counted_by_true_class_down_and_predicted_across(tmp_path):
    run = RunFolder(tmp_path)
    pairs = [("a", "a")] * 3 + [("a", "b")] * 2 + [("b", "b")] * 5
    rows = [{"text": "x", "label": t, "predicted": p} for t, p in pairs]
    run.write_json("sections.json", classification_sections(rows, ["a", "b"]))
    html = write_report(run).read_text(encoding="utf-8")
    assert 'title="a → b: 2 (40.0%)"' in html
    assert 'title="b → a: 0 (0.0%)"' in html
    assert "2 of 10 rows are wrong (20.0%)" in html


def test_many_classes_list_the_worst_confusions(tmp_path):
    run = RunFolder(tmp_path)
    rows = [{"text": "x", "label": f"c{i % 40}", "predicted": f"c{i % 39}"} for i in range(400)]
    run.write_json("sections.json", classification_sections(rows, []))
    assert "most frequent confusions" in page(run).sections["Confusion matrix"]


def test_a_language_model_has_curves_and_results_without_classes(tmp_path):
    run = RunFolder(tmp_path)
    run.metrics_csv.write_text(
        "step,train/loss,validation/loss\n" + "".join(f"{s},{5 / s},{6 / s}\n" for s in range(1, 30))
    )
    run.write_json("metrics.json", {"validation/perplexity": {"value": 42.5, "ci95": [40.0, 45.0], "n": 1000}})
    sections = page(run).sections
    assert "42.5" in sections["Results"]
    assert "40.0 – 45.0" in sections["Results"]
    assert "Confusion matrix" not in sections


def test_what_a_new_task_declares_and_shows_needs_no_word_here(tmp_path):
    entity_f1 = Metric("entity_f1", "max", "entity F1", "table")
    spurious = Metric("spurious", shown="list")
    measured = labelled({entity_f1: Estimate(0.75, 0.7, 0.8, 40), spurious: Estimate(0.125, None, None, 40)})
    baseline = labelled({entity_f1: Estimate(0.5, 0.4, 0.6, 40)})
    run = RunFolder(tmp_path)
    run.write_json("measures.json", {metric.name: metric for metric in (entity_f1, spurious)})
    run.write_json("metrics.json", {f"test/{name}": one for name, one in measured.items()})
    run.write_json("baselines.json", {"rules": {f"test/{name}": one for name, one in baseline.items()}})
    run.metrics_csv.write_text("step,validation/entity_f1,validation/spurious\n1,0.2,0.5\n2,0.75,0.25\n3,0.5,0.125\n")
    table = Table({"sentence": "text", "found": "mistake"}, [[Cell("Guido left CWI", "cut", ["B-PER O O"]), "O"]])
    run.write_json("sections.json", [Section("Entities", "One sentence.", [table])])
    html = write_report(run).read_text(encoding="utf-8")
    found = Page(html).sections
    assert re.search(r"entity F1 this run 0\.7500 +0\.700 – 0\.800", " ".join(found["Results"].split()))
    assert "what the outputs are like spurious" in " ".join(found["Results"].split())
    assert re.findall(r"<figcaption><b>(.*?)</b>", html) == ["entity F1"]
    assert "best validation: 0.75 at step 2" in html
    assert found["Entities"].split() == "One sentence. sentence found Guido left CWI cut B-PER O O O".split()
    rows = {"rules": run.read_json("baselines.json")["rules"], "ours": run.read_json("metrics.json")}
    assert "**0.7500 [0.7000, 0.8000]**" in show_table(rows)


def test_curves_survive_constants_gaps_and_one_point():
    assert line_chart("a", {"train": [(1, 2.0)]}, (1, 1)).lines[0].dots
    constant = line_chart("a", {"train": [(1, 0.0), (2, 0.0)], "validation": []}, (1, 2))
    assert [line.name for line in constant.lines] == ["train"]
    assert line_chart("a", {"train": [(1, float("nan"))]}, (1, 1)) is None
    assert "nan" not in str(line_chart("a", {"train": [(1, float("nan")), (2, 1.0), (3, 2.0)]}, (1, 3), "min")).lower()


def test_the_best_point_is_marked():
    points = [(1, 3.0), (2, 1.25), (3, 2.0)]
    assert line_chart("loss", {"validation": points}, (1, 3), "min").best.title == "best validation: 1.25 at step 2"
    assert line_chart("accuracy", {"validation": points}, (1, 3), "max").best.title == "best validation: 3 at step 1"


def test_a_trend_places_equal_ratios_equally_far_apart_and_draws_its_intervals():
    points = [(100, 0.4, 0.3, 0.5), (1_000, 0.6, 0.5, 0.7), (10_000, 0.7, None, None)]
    chart = trend_chart(Trend("accuracy", "rows", {"a": points, "b": points, "c": []}))
    one, other = chart.lines
    (x, y), (x2, y2), (x3, y3) = one.dots
    assert x2 - x == pytest.approx(x3 - x2) and x < x2 and y > y2 > y3
    assert [label for _, label in chart.steps] == ["100", "1,000", "10,000"]
    assert one.whiskers.count("M") == 2 and one.colour != other.colour
    low, high = re.findall(r"M[\d.]+ ([\d.]+)h6m-3 0V([\d.]+)", one.whiskers)[0]
    assert float(low) > y > float(high)  # y falls upwards
    assert all(a != b for a, b in zip(one.dots, other.dots, strict=True))  # whiskers stand beside each other
    close = trend_chart(
        Trend("accuracy", "rows", {"a": [(100, 0.4, None, None), *points[1:], (1_001, 0.6, None, None)]})
    )
    assert [label for _, label in close.steps] == ["100", "1,001", "10,000"]
    assert trend_chart(Trend("accuracy", "rows", {"a": []})) is None
    assert trend_chart(Trend("accuracy", "rows", {"a": [(5, 0.5, None, None)]})).lines[0].dots


@pytest.mark.parametrize("point", [[0, 0.5, None, None], [-1, 0.5, None, None], [1, float("inf"), None, None], [1, 2]])
def test_a_trend_of_a_stranger_has_places(point):
    part = {"title": "a", "x": "b", "lines": {"c": [point]}, "kind": "trend"}
    with pytest.raises(ValueError, match="trend"):
        sections_from([{"title": "t", "note": "", "parts": [part]}])


def test_long_curves_are_thinned_to_their_mean_and_keep_their_end():
    points = [(i, float(i % 2)) for i in range(10_000)]
    thinned = thin(points, 101)
    assert len(thinned) == 101
    assert thinned[-1] == points[-1]
    assert all(abs(y - 0.5) < 0.01 for _, y in thinned[:-1])


def test_a_spike_of_one_step_in_many_is_drawn_and_a_smooth_line_has_no_hook_at_its_ends():
    points = [(i, 2.0 + 0.1 * (i % 2)) for i in range(50_000)]
    points[31_234] = (31_234, 9.5)
    kept = extremes(points)
    assert len(kept) <= 600 and (31_234, 9.5) in kept and kept == sorted(kept) and {points[0], points[-1]} <= {*kept}
    assert extremes(points[:50]) == points[:50]
    chart = line_chart("loss", {"train": points}, (0, 50_000))
    assert [31_234, 9.5] in chart.data["lines"][0]["points"] and len(chart.data["lines"][0]["smooth"]) <= 240
    low, high = (min if up else max for up in (True, False))
    assert low(y for _, y in smoothed(points)) > 2.04 and high(y for _, y in smoothed(points[:30_000])) < 2.06


def test_lines_stand_in_the_order_of_their_numbers_and_none_looks_like_another(tmp_path):
    run = RunFolder(tmp_path)
    names = [f"train/update_ratio/level_{level}" for level in range(12)]
    rows = [",".join([f"{step * 10_000}", *["0.1"] * 12]) for step in range(1, 101)]
    run.metrics_csv.write_text("\n".join([",".join(["step", *names]), *rows]) + "\n")
    html = write_report(run).read_text(encoding="utf-8")
    keys = re.findall(r'<span class="key ([\w ]+)">level (\d+)', html)
    assert [int(level) for _, level in keys] == list(range(12)) and len({colour for colour, _ in keys}) == 12
    assert ">1M</text>" in html and "1,000,000<" not in html.partition("<h2>")[2]


def test_a_single_point_is_no_chart_unless_there_is_nothing_more(tmp_path):
    run = RunFolder(tmp_path)
    run.metrics_csv.write_text("step,train/loss,validation/accuracy\n1,2.0,\n")
    assert re.findall("<figcaption><b>(.*?)</b>", write_report(run).read_text("utf-8")) == ["loss"]
    run.metrics_csv.write_text("step,train/loss,validation/accuracy\n1,2.0,\n2,1.0,0.5\n")
    assert re.findall("<figcaption><b>(.*?)</b>", write_report(run).read_text("utf-8")) == ["loss"]


def test_figures_of_different_tasks_share_no_picture(tmp_path, fabricated):
    pipeline, one = RunFolder(tmp_path), fabricated()
    other = RunFolder(shutil.copytree(one.path, tmp_path / "other"))
    other.set_status("done", choices={"task": "masked_lm"})
    pipeline.set_status("done", stage="pipeline")
    pipeline.write_json("steps.json", {"one": one.path.name, "other": "other"})
    titles = re.findall("<figcaption><b>(.*?)</b>", write_report(pipeline).read_text("utf-8"))
    assert titles == ["loss on validation, classification", "loss on validation, masked lm"]


def test_what_can_be_typed_next_stands_at_the_top_without_a_path_of_the_machine(tmp_path):
    def top(state: str, stage: str, kept: bool = True, **more) -> str:
        run = RunFolder(tmp_path / "logs" / stage / "a name" / state)
        run.path.mkdir(parents=True)
        run.write_config({"model": {}, "paths": {"logs": str(tmp_path / "logs")}})
        run.set_status(state, stage=stage, **more)
        if kept:
            run.checkpoints.mkdir()
            (run.checkpoints / "last.ckpt").touch()
        html = write_report(run).read_text(encoding="utf-8")
        assert str(tmp_path) not in html.partition("<h2>")[0]
        return " ".join(Page(html).sections[""].split())

    assert "next: groundup resume run='finetune/a name/interrupted'" in top("interrupted", "finetune")
    done = top("done", "finetune", writes=None)
    assert "predict run='finetune/a name/done'" in done and "evaluate run=" in done and "resume" not in done
    pretrained = top("done", "pretrain")
    assert "generate run=" in pretrained and "finetune init_from='pretrain/a name/done'" in pretrained
    assert "next:" not in top("running", "finetune") and "next:" not in top("failed", "finetune", kept=False)


def test_numbers_are_for_people():
    figures = [0.123456, 12345.6, 3e-5, 0, float("inf"), 2.5e12]
    assert [number(figure) for figure in figures] == ["0.1235", "12,346", "3.0e-5", "0", "–", "2.5e+12"]


def test_the_size_is_that_of_the_model_not_of_the_choice_that_was_replaced(fabricated):
    run = fabricated()
    assert "width 128, 4 layers" in page(run).sections[""] and "tiny" not in page(run).sections[""]
    model = {"_target_": "groundup.models.recurrent.RecurrentEncoder", "width": 32, "layers": 2}
    run.write_config({**run.read_config(), "init_from": "earlier", "model": model})
    headline = page(run).sections[""]
    assert "width 32, 2 layers" in headline and "RecurrentEncoder" in headline and "transformer_encoder" not in headline
    run.write_config(
        {**run.read_config(), "init_from": {"encoder": None, "decoder": None}}
    )  # as it is where none is named
    assert "transformer_encoder" in page(run).sections[""]
    sides = {"encoder": {"width": 64, "layers": 3}, "decoder": {"width": 64, "layers": 1}}
    run.write_config({"model": sides})
    assert "width 64, 3 + 1 layers" in page(run).sections[""]


def test_figures_of_training_are_called_by_words(tmp_path):
    run = RunFolder(tmp_path)
    kinds = ("matrix", "embedding", "head", "vector")
    names = ["train/learning_rate", *(f"train/learning_rate/{kind}" for kind in kinds), "tokens"]
    rows = [f"{step},{','.join(['0.01'] * 5)},{step * 15360}" for step in (10, 20, 100)]
    run.metrics_csv.write_text("\n".join([",".join(["step", *names]), *rows]) + "\n")
    run.write_json("measures.json", {metric.name: metric for metric in FIGURES})
    curves = page(run).sections["Learning curves"]
    for words in ("hidden matrices", "embeddings", "output layer", "norms and biases", "tokens read"):
        assert words in curves
    assert "matrix" not in curves and "vector" not in curves
    assert "M" in curves and "1,500,000" not in curves


def test_figures_of_an_axis_fit_beside_it():
    assert [short(value) for value in (0, 0.25, 800, 1500, 25_000, 1_500_000, 2.5e9)] == [
        "0", "0.25", "800", "1500", "25k", "1.5M", "2.5G",
    ]  # fmt: skip


def test_steps_of_a_pipeline_are_linked_and_their_curves_share_a_picture_and_colours(tmp_path, fabricated):
    pipeline = RunFolder(tmp_path)
    one, other = fabricated(), fabricated("failed")
    write_report(one)
    pipeline.set_status("done", stage="pipeline")
    outside = tmp_path.parent / f"{tmp_path.name}_outside"
    outside.mkdir()
    places = {"<b>one": one.path.name, "other": other.path.name, "up": f"../{outside.name}", "itself": ".", "none": "x"}
    pipeline.write_json("steps.json", places)
    html = write_report(pipeline).read_text(encoding="utf-8")
    assert f'<a href="{one.path.name}/report.html">&lt;b&gt;one</a>' in html
    assert html.count("<a href") == 1 and "<th>other</th>" in html and "outside" not in html and "itself" not in html
    charts = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    assert charts and all("&lt;b&gt;one</span>" in chart for chart in charts)
    assert len({re.search(r'key (\w+)">&lt;b', chart)[1] for chart in charts}) == 1
    assert (
        re.findall(r"<b>(.*?)</b>", charts[0]) == ["loss on validation"] and charts[0].count('<path class="line') >= 2
    )
    (tmp_path / "steps.json").write_text('{"a": 1, "b": null, "c": "no\\u0000where"}')
    assert "<h2>Steps</h2>" not in write_report(pipeline).read_text(encoding="utf-8")
