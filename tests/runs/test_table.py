from __future__ import annotations

import re

from groundup.metrics.estimate import Estimate
from groundup.report.table import main_metrics, markdown_table, show_table, side_by_side

ROWS = {
    "majority": {"test/accuracy": Estimate(0.2, 0.1, 0.3, 50), "test/loss": Estimate(1.7, 1.6, 1.8, 50)},
    "ours [tiny]": {
        "test/accuracy": {"value": 0.9, "ci95": [0.8, 0.95], "n": 50},
        "test/loss": {"value": 0.4, "ci95": [0.3, 0.5], "n": 50},
        "test/macro_f1": {"value": None, "ci95": [None, None], "n": 50},
        "validation/accuracy": {"value": 0.91, "ci95": [0.8, 0.95], "n": 50},
    },
}


def test_the_best_of_each_column_is_bold_also_where_low_is_good():
    lines = markdown_table(ROWS).splitlines()
    assert lines[0] == "| | test/accuracy | test/macro_f1 | test/loss |"
    assert lines[2] == "| majority | 0.2000 [0.1000, 0.3000] | - | 1.7000 [1.6000, 1.8000] |"
    assert lines[3] == "| ours [tiny] | **0.9000 [0.8000, 0.9500]** | - | **0.4000 [0.3000, 0.5000]** |"


def test_the_printed_table_holds_every_figure_and_is_not_wrapped(capsys):
    markdown = show_table(ROWS, title="Demo")
    printed = capsys.readouterr().out
    for text in ("Demo", "ours [tiny]", "0.9000 [0.8000, 0.9500]", "1.7000 [1.6000, 1.8000]"):
        assert text in printed
    assert markdown == markdown_table(ROWS)


def test_columns_can_be_chosen_and_default_to_the_test_split():
    assert main_metrics(ROWS) == ["test/accuracy", "test/macro_f1", "test/loss"]
    assert main_metrics({"a": {"validation/loss": Estimate(1.0, None, None, 1)}}) == ["validation/loss"]
    assert main_metrics({"a": {"test/odd": Estimate(1.0, None, None, 1)}}) == ["test/odd"]
    assert "0.9100" in markdown_table(ROWS, ["validation/accuracy"])


def test_one_row_has_no_winner_and_bars_in_labels_do_not_break_the_table():
    assert "**" not in markdown_table({"a|b": ROWS["majority"]})
    assert "| a\\|b |" in markdown_table({"a|b": ROWS["majority"]})


def test_tables_of_written_text_begin_with_its_metrics_in_their_units():
    names = [
        "loss",
        "perplexity",
        "bits_per_byte",
        "token_accuracy",
        "length_ratio",
        "rouge_l",
        "exact_match",
        "chrf",
        "bleu",
    ]
    results = {f"test/{name}": Estimate(12.345678, 11.5, 13.25, 9) for name in names}
    shown = ["bleu", "chrf", "exact_match", "rouge_l", "perplexity", "loss"]
    assert main_metrics({"ours": results}) == [f"test/{name}" for name in shown]
    cells = markdown_table({"ours": results, "copy": {"test/bleu": Estimate(1.0, None, None, 9)}}).splitlines()
    assert cells[2].startswith(
        "| ours | **12.35 [11.50, 13.25]** | 12.35 [11.50, 13.25] | 12.3457 [11.5000, 13.2500] |"
    )
    assert cells[3].startswith("| copy | 1.00 | - |")


def test_at_80_columns_nothing_is_cut(capsys, monkeypatch):
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Console, "is_terminal", True)
    three = {f"test/{name}": Estimate(0.2, 0.1, 0.3, 50) for name in ("accuracy", "macro_f1", "auroc", "loss")}
    show_table({"bag-of-words logistic regression": three, "TransformerEncoder": three})
    printed = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed and printed.count("[0.1000, 0.3000]") == 8
    assert printed.count("TransformerEncoder") == printed.count("bag-of-words logistic regression") == 4
    assert printed.index("test/accuracy") < printed.index("test/macro_f1") < printed.index("test/loss")


def test_metrics_stand_side_by_side_as_far_as_they_fit():
    names = ["test/accuracy", "test/macro_f1", "test/loss"]
    assert side_by_side(ROWS, names, 200) == [names]
    assert side_by_side(ROWS, names, 70) == [names[:2], names[2:]]
    assert side_by_side(ROWS, names, 10) == [[name] for name in names]
