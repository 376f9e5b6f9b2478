"""What the report shows of classified rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from groundup.metrics.calibration import slice_section, threshold_sections
from groundup.metrics.classes import probability_table
from groundup.metrics.sections import Cell, Content, Matrix, Section, Table

_MATRIX = 24  # classes; a larger matrix is unreadable, and its most frequent confusions are listed instead
_CONFUSIONS = 20
_WRONG = (12, 40)  # wrong rows shown at once, and with those folded away


def classification_sections(
    rows: Sequence[Mapping], labels: Sequence[str], features: Mapping[str, np.ndarray] = MappingProxyType({})
) -> list[Section]:
    """What was right and wrong: the confusion matrix, curves of the probabilities, slices, and the wrong rows, the surest first.

    Args:
        rows: as in ``predictions.jsonl``, with ``label``, ``predicted``, ``text`` and maybe ``text_pair``, ``probability``.
        labels: class names in order; further ones that occur in ``rows`` come after them.
        features: what rows are sliced by, see ``slice_section``.
    """
    if not rows:
        return []
    counts = Counter((str(row["label"]), str(row["predicted"])) for row in rows)
    labels = list(dict.fromkeys([*map(str, labels), *sorted({name for pair in counts for name in pair})]))
    table = probability_table(rows, labels)
    curves = threshold_sections(*table, labels) if table else []
    right = np.array([row["label"] == row["predicted"] for row in rows])
    return [_confusions(counts, labels), *curves, *slice_section(right, features), _wrong_rows(rows)]


def _confusions(counts: Counter[tuple[str, str]], labels: list[str]) -> Section:
    title = "Confusion matrix"
    if len(labels) > _MATRIX:
        worst = [pair for pair in counts.most_common() if pair[0][0] != pair[0][1]][:_CONFUSIONS]
        columns: dict[str, Content] = {"true": "word", "predicted": "word", "rows": "number"}
        table = Table(columns, [[true, predicted, f"{n:,}"] for (true, predicted), n in worst])
        return Section(title, "The most frequent confusions.", [table])
    matrix = [[counts[true, predicted] for predicted in labels] for true in labels]
    scores: dict[str, list[str]] = {"precision": [], "recall": [], "F1": [], "rows": []}
    for i, row in enumerate(matrix):
        right, true, predicted = row[i], sum(row), sum(other[i] for other in matrix)
        shares = (right / (predicted or 1), right / (true or 1), 2 * right / ((predicted + true) or 1))
        for figures, figure in zip(scores.values(), (*(f"{share:.3f}" for share in shares), f"{true:,}"), strict=True):
            figures.append(figure)
    note = "Rows are the true classes, columns the predicted ones. Depth of colour: share of the row."
    return Section(title, note, [Matrix(labels, matrix, scores)])


def _wrong_rows(rows: Sequence[Mapping]) -> Section:
    title, wrong = "Wrong predictions", [row for row in rows if row["label"] != row["predicted"]]
    if not wrong:
        return Section(title, f"All {len(rows):,} rows are right.")
    lines: list[list[Cell | str]] = []
    for row in sorted(wrong, key=lambda row: -(row.get("probability") or 0))[: _WRONG[1]]:
        text = Cell(row.get("text", ""), below=[row["text_pair"]] if row.get("text_pair") else [])
        probability = row.get("probability")
        lines.append(
            [text, str(row["label"]), str(row["predicted"]), "" if probability is None else f"{probability:.3f}"]
        )
    columns: dict[str, Content] = {"text": "text", "true": "word", "predicted": "mistake", "probability": "number"}
    note = f"{len(wrong):,} of {len(rows):,} rows are wrong ({len(wrong) / len(rows):.1%}); the surest first."
    return Section(title, note, [Table(columns, lines, folded=_WRONG[0])])
