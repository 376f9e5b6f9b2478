"""Metrics beside baselines, as HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from groundup.metrics.estimate import Estimate
from groundup.metrics.monitored import ABOUT_TEXT, base_name, lower_is_better
from groundup.report.charts import interval_bar, number
from groundup.report.table import (
    OF_TEXT,
    PERCENT,
    as_estimate,
    best_rows,
    main_metrics,
)

_NAMES = {
    "auroc": "AUROC",
    "macro_f1": "macro F1",
    "bits_per_byte": "bits per byte",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "tokens": "tokens read",
    "tokens_per_second": "tokens a second",
    "grad_norm": "norm of the gradient",
    "padding_share": "share of padding",
    "learning_rate": "learning rate, the highest",
    "learning_rate/matrix": "learning rate of hidden matrices",
    "learning_rate/embedding": "learning rate of embeddings",
    "learning_rate/head": "learning rate of the output layer",
    "learning_rate/vector": "learning rate of norms and biases",
}
_GROUPS = 12  # a longer table stands under "All metrics" alone


def results_table(rows: Mapping[str, Mapping[str, Mapping]], split: str) -> str:
    """One row a system, one column a main metric of ``split``: value, 95 % interval, and a bar with the interval."""
    estimates = _of_split(rows, split)
    metrics = main_metrics({"": estimates.get("this run") or next(reversed(estimates.values()), {})})
    best = best_rows(estimates, metrics)
    head = "".join(f"<th>{escape(metric_words(name))}{' ↓' if lower_is_better(name) else ''}</th>" for name in metrics)
    body = []
    for label, results in estimates.items():
        cells = []
        for name in metrics:
            high = _end([row[name] for row in estimates.values() if name in row], name)
            cells.append(_result_cell(name, results.get(name), high, label in best[name], label == "this run"))
        body.append(
            f'<tr><th class="{"ours" if label == "this run" else ""}">{escape(label)}</th>{"".join(cells)}</tr>'
        )
    return (
        f'<div class="wide"><table class="results"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
        f"</table></div>{_signatures(estimates)}"
    )


def group_table(results: Mapping[str, Mapping], split: str) -> str:
    """Text metrics of groups of rows (``exact_match_new_years``) below those of all rows; empty without groups, or with many."""
    found: dict[str, dict[str, Estimate]] = {}
    metrics = []
    for name, estimate in _of_split({"": results}, split).get("", {}).items():
        metric, group = _parted(base_name(name))
        if group is not None:
            found.setdefault(group, {})[metric] = estimate
            metrics.append(metric)
    if not found or len(found) > _GROUPS:
        return ""
    columns = [metric for metric in OF_TEXT if metric in metrics]
    whole = {metric: as_estimate(results[f"{split}/{metric}"]) for metric in columns if f"{split}/{metric}" in results}
    return _plain_table({"all rows": whole, **found}, columns, "group of rows")


def text_table(rows: Mapping[str, Mapping[str, Mapping]], split: str) -> str:
    """What kind of text each system writes: figures that have no good end. Empty for systems that write none."""
    estimates = _of_split(rows, split)
    columns = [name for name in ABOUT_TEXT if any(f"{split}/{name}" in row for row in estimates.values())]
    systems = {label: {base_name(name): e for name, e in row.items()} for label, row in estimates.items()}
    return _plain_table(systems, columns, "what the texts are like", sizes=False) if columns else ""


def all_metrics(results: Mapping[str, Mapping]) -> str:
    """Every metric of ``metrics.json``, folded away."""
    rows = []
    for name, saved in results.items():
        estimate = as_estimate(saved)
        rows.append(
            f"<tr><th>{escape(name)}</th><td>{_value(name, estimate)}</td><td>{_interval(estimate)}</td><td>{estimate.n:,}</td></tr>"
        )
    head = "<thead><tr><th>metric</th><th>value</th><th>95 % interval</th><th>measured on</th></tr></thead>"
    return f"<details><summary>All metrics</summary><table>{head}<tbody>{''.join(rows)}</tbody></table></details>"


def _of_split(rows: Mapping[str, Mapping[str, Mapping]], split: str) -> dict[str, dict[str, Estimate]]:
    """The estimates of one split; systems without any are left out."""
    estimates = {
        label: {k: as_estimate(v) for k, v in row.items() if k.startswith(f"{split}/")} for label, row in rows.items()
    }
    return {label: row for label, row in estimates.items() if row}


def _parted(name: str) -> tuple[str, str | None]:
    """``exact_match_new_years`` -> ("exact_match", "new years"); a metric of all rows has no group."""
    for metric in OF_TEXT:
        if name.startswith(f"{metric}_"):
            return metric, name[len(metric) + 1 :].replace("_", " ")
    return name, None


def _plain_table(
    rows: Mapping[str, Mapping[str, Estimate]], columns: Sequence[str], title: str, sizes: bool = True
) -> str:
    """Values with their intervals, without bars."""
    head = "".join(f"<th>{escape(metric_words(name))}</th>" for name in columns) + ("<th>rows</th>" if sizes else "")
    body = []
    for label, results in rows.items():
        cells = [_result_cell(name, results.get(name), None, False, False) for name in columns]
        if sizes:
            cells.append(f"<td>{max((e.n for e in results.values()), default=0):,}</td>")
        body.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}</tr>")
    head = f"<thead><tr><th>{escape(title)}</th>{head}</tr></thead>"
    return f'<div class="wide"><table class="plain">{head}<tbody>{"".join(body)}</tbody></table></div>'


def _signatures(estimates: Mapping[str, Mapping[str, Estimate]]) -> str:
    """How BLEU and chrF were measured: figures of others compare only where this agrees."""
    said = {(metric_words(name), e.signature) for row in estimates.values() for name, e in row.items() if e.signature}
    lines = [
        f"<div>{escape(metric)}: <code>{escape(str(signature))}</code></div>" for metric, signature in sorted(said)
    ]
    return f'<div class="note signature">{"".join(lines)}</div>' if lines else ""


def _result_cell(name: str, estimate: Estimate | None, high: float | None, best: bool, ours: bool) -> str:
    """``high`` is the end of the bar's scale; None: no bar."""
    if estimate is None or math.isnan(estimate.value):
        return "<td>–</td>"
    bar = "" if high is None else interval_bar(estimate, 0.0, high, "ours" if ours else "")
    value = f"<b>{_value(name, estimate)}</b>" if best else _value(name, estimate)
    return f'<td>{value}<span class="interval">{_interval(estimate)}</span>{bar}</td>'


def _end(estimates: Sequence[Estimate], name: str) -> float:
    """The end of a scale from 0: 1 for shares, 100 for BLEU and chrF; for losses a little above the largest."""
    if base_name(name) in PERCENT:
        return 100.0
    top = max([e.high if e.high is not None else e.value for e in estimates if math.isfinite(e.value)], default=1)
    return 1.0 if top <= 1 else top * 1.05


def _value(name: str, estimate: Estimate) -> str:
    if base_name(name) in PERCENT:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.4f}" if abs(estimate.value) < 10 else number(estimate.value)


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    digits = 3 if abs(estimate.high) < 10 else 1
    return f"{estimate.low:.{digits}f} – {estimate.high:.{digits}f}"


def metric_words(metric: str) -> str:
    """A figure's name for people, without its split."""
    if metric in _NAMES:
        return _NAMES[metric]
    name = base_name(metric)
    return _NAMES.get(name, name.replace("_", " "))
