"""What a classifier got right and wrong: the confusion matrix and the rows it was surest about, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from groundup.report.cells import text_cell

_HEAT_CLASSES = 24  # a larger matrix is unreadable; its most frequent confusions are listed instead
_WRONG_ROWS = (12, 40)  # shown at once, and with those folded away


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


def _wrong_table(rows: Sequence[Mapping]) -> str:
    body = []
    for row in rows:
        pair = f'<div class="pair">{text_cell(row["text_pair"])}</div>' if row.get("text_pair") else ""
        probability = row.get("probability")
        body.append(
            f'<tr><td class="text">{text_cell(row.get("text", ""))}{pair}</td><td>{escape(str(row["label"]))}</td>'
            f'<td class="bad">{escape(str(row["predicted"]))}</td>'
            f'<td class="right">{"" if probability is None else f"{probability:.3f}"}</td></tr>'
        )
    head = '<thead><tr><th>text</th><th>true</th><th>predicted</th><th class="right">probability</th></tr></thead>'
    return f'<div class="wide"><table class="wrong">{head}<tbody>{"".join(body)}</tbody></table></div>'


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
