"""Results beside baselines, the confusion matrix, and the rows a classifier got wrong, as HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from groundup.metrics.estimate import Estimate
from groundup.runs.report.charts import interval_bar, number
from groundup.runs.table import as_estimate, best_rows, lower_is_better, main_metrics

_HEAT_CLASSES = 24  # a larger matrix is unreadable; its most frequent confusions are listed instead
_WRONG_ROWS = (12, 40)  # shown at once, and with those folded away


def results_table(rows: Mapping[str, Mapping[str, Mapping]], split: str) -> str:
    """One row a system, one column a main metric of ``split``: value, 95 % interval, and a bar with the interval."""
    estimates = {
        label: {k: as_estimate(v) for k, v in row.items() if k.startswith(f"{split}/")} for label, row in rows.items()
    }
    estimates = {label: row for label, row in estimates.items() if row}
    metrics = main_metrics({"": estimates.get("this run") or next(reversed(estimates.values()), {})})
    best = best_rows(estimates, metrics)
    head = "".join(f"<th>{escape(_words(name))}{' ↓' if lower_is_better(name) else ''}</th>" for name in metrics)
    body = []
    for label, results in estimates.items():
        cells = []
        for name in metrics:
            low, high = _range([row[name] for row in estimates.values() if name in row])
            cells.append(_result_cell(results.get(name), low, high, label in best[name], label == "this run"))
        body.append(
            f'<tr><th class="{"ours" if label == "this run" else ""}">{escape(label)}</th>{"".join(cells)}</tr>'
        )
    return (
        f'<div class="wide"><table class="results"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
        "</table></div>"
    )


def all_metrics(results: Mapping[str, Mapping]) -> str:
    """Every metric of ``metrics.json``, folded away."""
    rows = []
    for name, saved in results.items():
        estimate = as_estimate(saved)
        rows.append(
            f"<tr><th>{escape(name)}</th><td>{_value(estimate)}</td><td>{_interval(estimate)}</td><td>{estimate.n:,}</td></tr>"
        )
    head = "<thead><tr><th>metric</th><th>value</th><th>95 % interval</th><th>measured on</th></tr></thead>"
    return f"<details><summary>All metrics</summary><table>{head}<tbody>{''.join(rows)}</tbody></table></details>"


def confusion(rows: Sequence[Mapping], labels: Sequence[str]) -> str:
    """Heat map (true class down, predicted class across) with the recall of each class, or the worst confusions if many classes."""
    counts = Counter((str(row["label"]), str(row["predicted"])) for row in rows)
    labels = [str(name) for name in labels]
    labels += sorted({name for pair in counts for name in pair} - set(labels))
    if len(labels) > _HEAT_CLASSES:
        return _worst_confusions(counts)
    totals = {name: sum(counts[name, other] for other in labels) for name in labels}
    said = {name: sum(counts[other, name] for other in labels) for name in labels}
    head = "".join(f'<th class="up"><span>{escape(name)}</span></th>' for name in labels)
    body = []
    for true in labels:
        cells = "".join(_heat_cell(counts[true, other], totals[true], true, other) for other in labels)
        right = counts[true, true]
        precision, recall = right / (said[true] or 1), right / (totals[true] or 1)
        f1 = 2 * right / ((said[true] + totals[true]) or 1)
        scores = "".join(f'<td class="score">{share:.3f}</td>' for share in (precision, recall, f1))
        body.append(f'<tr><th>{escape(true)}</th>{cells}{scores}<td class="score">{totals[true]:,}</td></tr>')
    scores = "".join(f'<th class="score">{name}</th>' for name in ("precision", "recall", "F1", "rows"))
    return (
        '<p class="note">Rows are the true classes, columns the predicted ones. Depth of colour: share of the row.</p>'
        f'<div class="wide"><table class="heat"><thead><tr><th></th>{head}{scores}</tr></thead><tbody>{"".join(body)}</tbody>'
        "</table></div>"
    )


def wrong_predictions(rows: Sequence[Mapping]) -> str:
    """The most confident mistakes first."""
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    if not wrong:
        return f'<p class="note">All {len(rows):,} rows are right.</p>'
    worst = sorted(wrong, key=lambda row: -(row.get("probability") or 0))
    shown, folded = worst[: _WRONG_ROWS[0]], worst[_WRONG_ROWS[0] : _WRONG_ROWS[1]]
    note = f"{len(wrong):,} of {len(rows):,} rows are wrong ({len(wrong) / len(rows):.1%}); the surest first."
    more = f"<details><summary>{len(folded)} more</summary>{_wrong_table(folded)}</details>" if folded else ""
    return f'<p class="note">{note}</p>{_wrong_table(shown)}{more}'


def key_values(values: Mapping) -> str:
    """A table of names and plain values; nested ones become ``outer.inner``."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(_plain(value))}</td></tr>" for name, value in _flat(values))
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _wrong_table(rows: Sequence[Mapping]) -> str:
    body = []
    for row in rows:
        pair = f'<div class="pair">{_text(row["text_pair"])}</div>' if row.get("text_pair") else ""
        probability = row.get("probability")
        body.append(
            f'<tr><td class="text">{_text(row.get("text", ""))}{pair}</td><td>{escape(str(row["label"]))}</td>'
            f'<td class="bad">{escape(str(row["predicted"]))}</td>'
            f'<td class="right">{"" if probability is None else f"{probability:.3f}"}</td></tr>'
        )
    head = '<thead><tr><th>text</th><th>true</th><th>predicted</th><th class="right">probability</th></tr></thead>'
    return f'<div class="wide"><table class="wrong">{head}<tbody>{"".join(body)}</tbody></table></div>'


def _result_cell(estimate: Estimate | None, low: float, high: float, best: bool, ours: bool) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "<td>–</td>"
    bar = interval_bar(estimate, low, high, "ours" if ours else "")
    value = f"<b>{_value(estimate)}</b>" if best else _value(estimate)
    return f'<td>{value}<span class="interval">{_interval(estimate)}</span>{bar}</td>'


def _range(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """0..1 for shares; for losses 0 to a little above the largest."""
    top = max([e.high if e.high is not None else e.value for e in estimates if math.isfinite(e.value)], default=1)
    return 0.0, 1.0 if top <= 1 else top * 1.05


def _heat_cell(count: int, total: int, true: str, predicted: str) -> str:
    share = count / total if total else 0.0
    kind = "hit" if true == predicted else "miss"
    strong = " strong" if share > 0.55 else ""
    title = escape(f"{true} → {predicted}: {count:,} ({share:.1%})")
    shown = f"{count:,}" if count else "·"
    return f'<td class="cell {kind}{strong}" style="--share:{share * 100:.1f}%" title="{title}">{shown}</td>'


def _worst_confusions(counts: Counter) -> str:
    pairs = [(pair, n) for pair, n in counts.most_common() if pair[0] != pair[1]][:20]
    body = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td><td>{n:,}</td></tr>" for (a, b), n in pairs)
    head = "<thead><tr><th>true</th><th>predicted</th><th>rows</th></tr></thead>"
    return f'<p class="note">The most frequent confusions.</p><table>{head}<tbody>{body}</tbody></table>'


def _text(value: object, most: int = 280) -> str:
    text = " ".join(str(value).split())
    if len(text) <= most:
        return escape(text)
    return f"<details><summary>{escape(text[:most])} …</summary>{escape(text[most:4000])}</details>"


def _value(estimate: Estimate) -> str:
    return f"{estimate.value:.4f}" if abs(estimate.value) < 10 else number(estimate.value)


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    digits = 3 if abs(estimate.high) < 10 else 1
    return f"{estimate.low:.{digits}f} – {estimate.high:.{digits}f}"


def _words(metric: str) -> str:
    names = {"auroc": "AUROC", "macro_f1": "macro F1", "bits_per_byte": "bits per byte"}
    name = metric.rsplit("/", 1)[-1]
    return names.get(name, name.replace("_", " "))


def _flat(values: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat += _flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return flat


def _plain(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "–" if value is None else str(value)
