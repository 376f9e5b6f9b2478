"""Metrics beside baselines, as HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from groundup.metrics.estimate import Estimate, base_name
from groundup.report.charts import interval_bar, number
from groundup.report.table import best_rows, estimates, main_metrics

_GROUPS = 12  # a longer table stands under "All metrics" alone


def results_table(rows: Mapping[str, Mapping[str, Mapping]], split: str) -> str:
    """One row a system, one column a main metric of ``split``: value, 95 % interval, and a bar with the interval."""
    found = _of_split(rows, split)
    metrics = main_columns(found)
    best = {name: best_rows(found, name) for name in metrics}
    titles = {name: metric for row in reversed(list(found.values())) for name, metric in _titles(row).items()}
    lower = {name for row in found.values() for name, one in row.items() if one.metric and one.metric.better == "min"}
    head = "".join(f"<th>{escape(titles[name])}{' ↓' if name in lower else ''}</th>" for name in metrics)
    body = []
    for label, results in found.items():
        cells = []
        for name in metrics:
            high = _end([row[name] for row in found.values() if name in row])
            cells.append(_result_cell(results.get(name), high, label in best[name], label == "this run"))
        body.append(
            f'<tr><th class="{"ours" if label == "this run" else ""}">{escape(label)}</th>{"".join(cells)}</tr>'
        )
    return (
        f'<div class="wide"><table class="results"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
        f"</table></div>{_signatures(found)}"
    )


def main_columns(found: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    return main_metrics({"": found.get("this run") or next(reversed(found.values()), {})})


def group_table(results: Mapping[str, Mapping], split: str) -> str:
    """Metrics of groups of rows (``exact_match_new_years``) below those of all rows; empty without groups, or with many."""
    ours = _of_split({"": results}, split).get("", {})
    found: dict[str, dict[str, Estimate]] = {}
    for estimate in ours.values():
        if estimate.group is not None and estimate.metric is not None:
            found.setdefault(estimate.group.replace("_", " "), {})[estimate.metric.name] = estimate
    if not found or len(found) > _GROUPS:
        return ""
    whole = {base_name(name): estimate for name, estimate in ours.items() if estimate.group is None}
    columns = list(dict.fromkeys(name for row in found.values() for name in row))
    return _plain_table(
        {"all rows": {name: whole[name] for name in columns if name in whole}, **found}, columns, "group of rows"
    )


def text_table(rows: Mapping[str, Mapping[str, Mapping]], split: str) -> str:
    """Figures that have no good end: they tell what kind of output each system has. Empty for systems without any."""
    found = _of_split(rows, split)
    main = main_columns(found) if found else []
    systems = {
        label: {
            base_name(name): one
            for name, one in row.items()
            if name not in main and one.metric and not one.metric.better
        }
        for label, row in found.items()
    }
    columns = list(dict.fromkeys(name for row in systems.values() for name in row))
    return _plain_table(systems, columns, "what the outputs are like", sizes=False) if columns else ""


def all_metrics(results: Mapping[str, Mapping]) -> str:
    """Every metric of ``metrics.json``, folded away."""
    rows = []
    for name, estimate in estimates(results).items():
        rows.append(
            f"<tr><th>{escape(name)}</th><td>{_value(estimate)}</td><td>{_interval(estimate)}</td><td>{estimate.n:,}</td></tr>"
        )
    head = "<thead><tr><th>metric</th><th>value</th><th>95 % interval</th><th>measured on</th></tr></thead>"
    return f"<details><summary>All metrics</summary><table>{head}<tbody>{''.join(rows)}</tbody></table></details>"


def _of_split(rows: Mapping[str, Mapping[str, Mapping]], split: str) -> dict[str, dict[str, Estimate]]:
    """The estimates of one split; systems without any are left out."""
    found = {
        label: {name: one for name, one in estimates(row).items() if name.startswith(f"{split}/")}
        for label, row in rows.items()
    }
    return {label: row for label, row in found.items() if row}


def _titles(row: Mapping[str, Estimate]) -> dict[str, str]:
    return {name: str(one.metric or base_name(name)) for name, one in row.items()}


def _plain_table(
    rows: Mapping[str, Mapping[str, Estimate]], columns: Sequence[str], title: str, sizes: bool = True
) -> str:
    """Values with their intervals, without bars."""
    titles = {name: title for row in rows.values() for name, title in _titles(row).items()}
    head = "".join(f"<th>{escape(titles[name])}</th>" for name in columns) + ("<th>rows</th>" if sizes else "")
    body = []
    for label, results in rows.items():
        cells = [_result_cell(results.get(name), None, False, False) for name in columns]
        if sizes:
            cells.append(f"<td>{max((e.n for e in results.values()), default=0):,}</td>")
        body.append(f"<tr><th>{escape(label)}</th>{''.join(cells)}</tr>")
    head = f"<thead><tr><th>{escape(title)}</th>{head}</tr></thead>"
    return f'<div class="wide"><table class="plain">{head}<tbody>{"".join(body)}</tbody></table></div>'


def _signatures(estimates: Mapping[str, Mapping[str, Estimate]]) -> str:
    """How BLEU and chrF were measured: figures of others compare only where this agrees."""
    said = {(str(e.metric), e.signature) for row in estimates.values() for e in row.values() if e.signature}
    lines = [
        f"<div>{escape(metric)}: <code>{escape(str(signature))}</code></div>" for metric, signature in sorted(said)
    ]
    return f'<div class="note signature">{"".join(lines)}</div>' if lines else ""


def _result_cell(estimate: Estimate | None, high: float | None, best: bool, ours: bool) -> str:
    """``high`` is the end of the bar's scale; None: no bar."""
    if estimate is None or math.isnan(estimate.value):
        return "<td>–</td>"
    bar = "" if high is None else interval_bar(estimate, 0.0, high, "ours" if ours else "")
    value = f"<b>{_value(estimate)}</b>" if best else _value(estimate)
    return f'<td>{value}<span class="interval">{_interval(estimate)}</span>{bar}</td>'


def _end(row: Sequence[Estimate]) -> float:
    """The end of a scale from 0: 1 for shares, 100 for BLEU and chrF; for losses a little above the largest."""
    if any(e.metric and e.metric.percent for e in row):
        return 100.0
    top = max([e.high if e.high is not None else e.value for e in row if math.isfinite(e.value)], default=1)
    return 1.0 if top <= 1 else top * 1.05


def _value(estimate: Estimate) -> str:
    if estimate.metric and estimate.metric.percent:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.4f}" if abs(estimate.value) < 10 else number(estimate.value)


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    digits = 3 if abs(estimate.high) < 10 else 1
    return f"{estimate.low:.{digits}f} – {estimate.high:.{digits}f}"
