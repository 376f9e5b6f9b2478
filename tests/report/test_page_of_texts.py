"""The report of a run that writes text: results in their units, what was written, and where the decoder looked."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from report_page import Page, page

from groundup.metrics.estimate import Estimate
from groundup.metrics.generation import EXACT_MATCH, attention_sections, written_sections
from groundup.metrics.overlap import CHRF, sentence_chrf
from groundup.metrics.sections import Alignment, Cell
from groundup.report.heat_map import heat_map
from groundup.report.page import write_report
from groundup.runs.folder import RunFolder


def test_sections_of_a_translation(written):
    sections = page(written()).sections
    assert list(sections)[1:] == ["Results", "Learning curves", "Translations", "Cross-attention"]
    assert list(page(written("summarization")).sections)[3] == "Summaries"


def test_main_metrics_stand_in_order_and_in_their_units(written):
    run = written()
    text = page(run).sections["Results"]
    table = text[: text.index("what the outputs are like")]
    names = ["BLEU", "chrF", "exact match", "perplexity", "loss"]
    assert [table.index(f" {name}") for name in names] == sorted(table.index(f" {name}") for name in names)
    found = run.read_json("metrics.json")["test/bleu"]
    assert f"{found['value']:.2f} {found['ci95'][0]:.1f} – {found['ci95'][1]:.1f}" in text
    assert "copy of the source" in table
    assert "BLEU: nrefs:var|case:mixed|eff:no|tok:zh|smooth:exp" in " ".join(text.split())
    assert "n = 60," in text  # rows, though the loss is measured on tokens
    for name in ("length ratio", "copy rate", "repetition rate", "distinct-1"):
        assert name in text[len(table) :]


def test_bars_of_bleu_end_at_100(written):
    run = written()
    value = run.read_json("metrics.json")["test/bleu"]["value"]
    html = write_report(run).read_text(encoding="utf-8")
    assert f'<rect class="fill ours" width="{1.2 * value:.1f}"' in html


def test_groups_stand_below_all_rows(written):
    text = " ".join(page(written()).sections["Results"].split())
    whole = written().read_json("metrics.json")["test/exact_match"]
    assert re.search(
        rf"group of rows exact match rows all rows {whole['value']:.4f} .*? 60 new years 0\.2500 .*? 30", text
    )
    assert "group of rows" not in page(written("summarization")).sections["Results"]


def test_many_groups_stand_under_all_metrics_alone(tmp_path):
    run = RunFolder(tmp_path)
    one = Estimate(0.5, 0.4, 0.6, 9, metric=EXACT_MATCH)
    groups = {f"test/exact_match_{i}": replace(one, group=str(i)) for i in range(20)}
    run.write_json("metrics.json", {"test/exact_match": one, **groups})
    text = page(run).sections["Results"]
    assert "group of rows" not in text
    assert "test/exact_match_19" in text


def test_curves_begin_with_what_counts(written):
    html = write_report(written()).read_text(encoding="utf-8")
    assert re.findall(r"<figcaption><b>(.*?)</b>", html) == ["loss", "BLEU"]
    assert "best validation: 12.25 at step 20" in html


@pytest.mark.parametrize("kind", ["translation", "summarization"])
def test_the_worst_the_median_and_the_best_rows_are_shown(written, kind):
    run = written(kind)
    text = page(run).sections["Translations" if kind == "translation" else "Summaries"]
    worst, rest = text.split("Around the median")
    middle, best = rest.split("Best")
    numbers = [[int(n) for n in re.findall(r"Source number (\d+) ", part)] for part in (worst, middle, best)]
    assert all(len(part) == 6 for part in numbers)
    assert max(numbers[0]) < 12
    assert 24 < min(numbers[1]) <= max(numbers[1]) < 36
    assert min(numbers[2]) > 48
    assert 59 in numbers[2]
    assert 0 in numbers[0]
    assert ("chrF" if kind == "translation" else "ROUGE-L") in worst
    assert run.read_predictions()[numbers[0][1]]["hypothesis"] in worst


def test_flags_are_counted_above_and_shown_beside_the_row(written):
    text = page(written()).sections["Translations"]
    assert "60 rows; 1 with the source empty; 2 with the source cut to fit; 1 without any text written." in text
    assert "source empty" in text[text.index("Worst") :]


def translations(rows) -> list[list]:
    """Rows of the only table of a section."""
    (section,) = written_sections(rows, "Translations", CHRF, sentence_chrf)
    (table,) = section.parts
    return table.rows


def test_few_rows_are_all_shown_once_from_worst_to_best():
    rows = [{"source": f"s{i}", "target": "a b c", "hypothesis": "a b c"[:i]} for i in range(6)]
    shown = [row[0].text for row in translations(rows)]
    assert sorted(shown) == [f"s{i}" for i in range(6)]
    assert shown.index("s0") < shown.index("s2") < shown.index("s5")


def test_further_references_are_shown_and_count():
    row = {"source": "s", "target": "x", "references": ["right & proper"], "hypothesis": "right & proper"}
    ((_, reference, hypothesis, score),) = translations([row])
    assert (reference, hypothesis, score) == (Cell("x", below=["right & proper"]), "right & proper", "100.0")


def test_rows_without_a_reference_are_shown_without_a_score():
    (section,) = written_sections([{"source": "s", "hypothesis": "h"}], "Translations", CHRF, sentence_chrf)
    assert section.note == "1 rows."
    assert section.parts[0].rows == [[Cell("s"), Cell("", below=[]), "h"]]


def test_the_heat_map_shows_every_token_and_weight(written):
    run = written()
    html = write_report(run).read_text(encoding="utf-8")
    drawn = page(run).sections["Cross-attention"]
    assert all(token in drawn for token in ("Hello", "world", "<eos>", "你好", "↵"))
    titles = re.findall(r"<title>([^<]*?: [\d.]+)</title>", html)
    assert titles == ["你好 ← Hello: 0.90", "你好 ← world: 0.10", "↵ ← Hello: 0.25", "↵ ← &lt;eos&gt;: 0.75"]
    opacities = [float(value) for value in re.findall(r'fill-opacity="([\d.]+)"', html)]
    assert opacities == pytest.approx([0.9**0.5, 0.1**0.5, 0.5, 0.75**0.5], abs=0.01)


def test_cells_lie_below_their_source_and_beside_their_target():
    (x1, y1, *_), (x2, y2, *_) = heat_map(Alignment(["a", "b"], ["x", "y"], [[1, 0], [0, 1]])).cells
    assert (x2 - x1, y2 - y1) == pytest.approx((18, 18))


def test_long_maps_are_cut_and_say_so():
    picture = heat_map(Alignment(["a"] * 90, ["b"] * 5, [[1 / 90] * 90] * 5))
    assert picture.cut == "the first 60 tokens of the source"
    assert len(picture.cells) == 5 * 60
    assert heat_map(Alignment(["a"], ["b"], [[1.0]])).cut == ""


def test_empty_texts_and_undefined_weights_have_a_map_or_none():
    assert attention_sections([{"source": [], "target": ["b"], "weights": [[]]}]) == []
    assert heat_map(Alignment([], ["b"], [[]])) is None
    assert heat_map(Alignment(["a"], [""], [[None]])).down[0][1] == "∅"


def test_text_of_users_is_never_markup(tmp_path):
    evil = "<script>alert(1)</script>\"'&"
    run = RunFolder(tmp_path)
    row = {"source": evil, "target": evil, "references": [evil], "hypothesis": evil, "status": evil}
    maps = attention_sections([{"source": [evil], "target": [evil], "weights": [[1.0]]}])
    run.write_json("sections.json", [*written_sections([row] * 2, "Translations", CHRF, sentence_chrf), *maps])
    one = {"value": 1.0, "ci95": [0, 1], "n": 1, "signature": evil}
    run.write_json("metrics.json", {"test/bleu": one, f"test/bleu_{evil}": one})
    tags = Page(write_report(run).read_text(encoding="utf-8"))
    assert tags.tags.count("script") == 1
    assert evil in tags.sections["Translations"]
