"""What a model wrote for its sources: the worst, the middling and the best of it, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from groundup.metrics.generation import references_of
from groundup.metrics.overlap import ROUGE_L, rouge_scores, sentence_chrf
from groundup.report.cells import text_cell

_SHOWN = 6  # rows of each kind
_STATUS = {"truncated": "source cut to fit", "empty": "source empty"}


def outputs(rows: Sequence[Mapping], summaries: bool) -> str:
    """Sources, references and hypotheses of rows from ``predictions.jsonl``, ranked by chrF, or by ROUGE-L for summaries."""
    known = [row for row in rows if row.get("target") is not None]
    note = f'<p class="note">{_counts(rows)}</p>'
    if not known:
        return note + _table(rows[: 2 * _SHOWN], None, "")
    texts, references = [row["hypothesis"] for row in known], [references_of(row) for row in known]
    scores = rouge_scores(texts, references)[ROUGE_L] if summaries else sentence_chrf(texts, references)
    measure = "ROUGE-L" if summaries else "chrF"
    parts = [
        f"<h3>{title} <small>by {measure} of the row</small></h3>"
        + _table([known[i] for i in chosen], [scores[i] for i in chosen], measure)
        for title, chosen in _chosen(scores).items()
    ]
    return note + "".join(parts)


def _chosen(scores: np.ndarray) -> dict[str, list[int]]:
    """Places of the worst rows, of those around the median, and of the best; no row twice."""
    order = np.argsort(scores, kind="stable").tolist()
    if len(order) <= 3 * _SHOWN:
        return {"From worst to best": order}
    middle = len(order) // 2 - _SHOWN // 2
    around = order[middle : middle + _SHOWN]
    return {"Worst": order[:_SHOWN], "Around the median": around, "Best": order[: -_SHOWN - 1 : -1]}


def _counts(rows: Sequence[Mapping]) -> str:
    """How many rows there are, and how many of them have a flag."""
    statuses = Counter(row.get("status", "ok") for row in rows)
    said = [f"{len(rows):,} rows"]
    said += [f"{n:,} with the {_STATUS[status]}" for status, n in statuses.items() if status in _STATUS]
    said += [f"{n:,} {escape(str(status))}" for status, n in statuses.items() if status not in (*_STATUS, "ok")]
    silent = sum(not row["hypothesis"].strip() for row in rows)
    if silent:
        said.append(f"{silent:,} without any text written")
    return "; ".join(said) + "."


def _table(rows: Sequence[Mapping], scores: Sequence[float] | None, measure: str) -> str:
    body = []
    for number, row in enumerate(rows):
        further = "".join(f'<div class="pair">{text_cell(text)}</div>' for text in row.get("references") or ())
        score = "" if scores is None else _score(scores[number], measure)
        body.append(
            f'<tr><td class="text">{text_cell(row["source"])}{_flag(row)}</td>'
            f'<td class="text">{text_cell(row.get("target") or "")}{further}</td>'
            f'<td class="text">{text_cell(row["hypothesis"]) or "–"}</td><td class="right">{score}</td></tr>'
        )
    head = (
        f'<thead><tr><th>source</th><th>reference</th><th>hypothesis</th><th class="right">{measure}</th></tr></thead>'
    )
    return f'<div class="wide"><table class="outputs">{head}<tbody>{"".join(body)}</tbody></table></div>'


def _score(value: float, measure: str) -> str:
    return f"{value:.1f}" if measure == "chrF" else f"{value:.3f}"


def _flag(row: Mapping) -> str:
    status = row.get("status", "ok")
    return "" if status == "ok" else f' <span class="flag">{escape(_STATUS.get(status, str(status)))}</span>'
