from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from groundup.metrics.classification import ACCURACY, AUROC, MACRO_F1
from groundup.metrics.estimate import LOSS, Estimate, labelled
from groundup.metrics.generation import SUMMARIZATION, TRANSLATION
from groundup.metrics.language import CONDITIONAL
from groundup.report.table import estimates, main_metrics, markdown, results_as_markdown, show_table, side_by_side
from groundup.stages.listing import aligned

ROWS = {
    "majority": {
        "test/accuracy": Estimate(0.2, 0.1, 0.3, 50, metric=ACCURACY),
        "test/loss": Estimate(1.7, 1.6, 1.8, 50, metric=LOSS),
    },
    "ours [tiny]": {
        "test/accuracy": {"value": 0.9, "ci95": [0.8, 0.95], "n": 50, **ACCURACY.as_dict()},
        "test/macro_f1": {"value": None, "ci95": [None, None], "n": 50, **MACRO_F1.as_dict()},
        "test/loss": {"value": 0.4, "ci95": [0.3, 0.5], "n": 50, **LOSS.as_dict()},
        "validation/accuracy": {"value": 0.91, "ci95": [0.8, 0.95], "n": 50, **ACCURACY.as_dict()},
    },
}
KNOWN = {label: estimates(results) for label, results in ROWS.items()}


def as_lines(rows, metrics=None) -> list[str]:
    """The table in Markdown, without the blanks that align it."""
    known = {label: estimates(results) for label, results in rows.items()}
    return [re.sub(" +", " ", line) for line in results_as_markdown(known, metrics or main_metrics(known)).splitlines()]


def test_the_best_of_each_column_is_bold_also_where_low_is_good():
    lines = as_lines(ROWS)
    assert lines[0] == "| | test/accuracy | test/macro_f1 | test/loss |"
    assert lines[2] == "| majority | 0.2000 [0.1000, 0.3000] | - | 1.7000 [1.6000, 1.8000] |"
    assert lines[3] == "| ours [tiny] | **0.9000 [0.8000, 0.9500]** | - | **0.4000 [0.3000, 0.5000]** |"


def test_columns_are_aligned():
    lines = results_as_markdown(KNOWN, main_metrics(KNOWN)).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_columns_are_aligned_on_a_terminal_also_in_chinese():
    label = "e\u0301 \u200b评论，好"  # 2 + 0 + 4 x 2 columns
    lines = markdown(["", "标签"], [[label, "a"], ["b" * 10, "正面"]]).splitlines()
    assert [cell_len(line) for line in lines] == [21] * 4
    cells = aligned([[label, "x"], ["b" * 10, "y"], ["海", "z"]]).splitlines()
    assert {cell_len(line) for line in cells} == {13}


def test_the_printed_table_holds_every_figure_and_is_not_wrapped(capsys):
    markdown = show_table(ROWS, title="Demo")
    printed = capsys.readouterr().out
    for text in ("Demo", "ours [tiny]", "0.9000 [0.8000, 0.9500]", "1.7000 [1.6000, 1.8000]"):
        assert text in printed
    assert markdown == results_as_markdown(KNOWN, main_metrics(KNOWN))


def test_columns_can_be_chosen_and_default_to_the_test_split():
    assert main_metrics(KNOWN) == ["test/accuracy", "test/macro_f1", "test/loss"]
    assert main_metrics({"a": {"validation/loss": Estimate(1.0, None, None, 1, metric=LOSS)}}) == ["validation/loss"]
    assert main_metrics({"a": {"test/odd": Estimate(1.0, None, None, 1)}}) == ["test/odd"]
    assert "0.9100" in as_lines(ROWS, ["validation/accuracy"])[3]


def test_one_row_has_no_winner_and_bars_in_labels_do_not_break_the_table():
    lines = as_lines({"a|b": ROWS["majority"]})
    assert "**" not in "".join(lines)
    assert lines[2].startswith("| a\\|b |")


@pytest.mark.parametrize(
    ("declared", "shown"),
    [(TRANSLATION, ["bleu", "chrf", "exact_match"]), (SUMMARIZATION, ["rouge_1", "rouge_2", "rouge_l"])],
)
def test_tables_of_written_text_begin_with_its_metrics_in_their_units(declared, shown):
    reports = (*declared, *CONDITIONAL)
    results = {f"test/{metric.name}": Estimate(12.345678, 11.5, 13.25, 9, metric=metric) for metric in reports}
    assert main_metrics({"ours": results}) == [f"test/{name}" for name in (*shown, "perplexity", "loss")]
    first = f"test/{shown[0]}"
    copy = {first: Estimate(1.0, None, None, 9, metric=declared[0])}
    lines = as_lines({"copy": copy, "ours": results})
    assert lines[2].startswith("| copy | 1.00 | - |" if declared is TRANSLATION else "| copy | 1.0000 | - |")
    digits = "12.35 [11.50, 13.25]" if declared is TRANSLATION else "12.3457 [11.5000, 13.2500]"
    assert lines[3].startswith(f"| ours | **{digits}** | {digits} | 12.3457 [11.5000, 13.2500] |")


def test_at_80_columns_nothing_is_cut(capsys, monkeypatch):
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Console, "is_terminal", True)
    found = {metric: Estimate(0.2, 0.1, 0.3, 50) for metric in (ACCURACY, MACRO_F1, AUROC, LOSS)}
    three = {f"test/{name}": estimate for name, estimate in labelled(found).items()}
    show_table({"bag-of-words logistic regression": three, "TransformerEncoder": three})
    printed = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed and printed.count("[0.1000, 0.3000]") == 8
    assert printed.count("TransformerEncoder") == printed.count("bag-of-words logistic regression") == 4
    assert printed.index("test/accuracy") < printed.index("test/macro_f1") < printed.index("test/loss")


def test_metrics_stand_side_by_side_as_far_as_they_fit():
    names = ["test/accuracy", "test/macro_f1", "test/loss"]
    assert side_by_side(KNOWN, names, 200) == [names]
    assert side_by_side(KNOWN, names, 70) == [names[:2], names[2:]]
    assert side_by_side(KNOWN, names, 10) == [[name] for name in names]
