"""Whether probabilities mean what they say, how classes are told apart at each threshold, and on which rows a model fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from groundup.metrics.classes import probability_table
from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.intervals import bootstrap, wilson
from groundup.metrics.paired import Statistic
from groundup.metrics.sections import Content, Curves, Section, Table

ECE = Metric("ece", "min", "ECE", "list", also=("expected_calibration_error", "calibration_error"))
SCALED_ECE = Metric("scaled_ece", "min", "ECE, temperature-scaled", "list")
TEMPERATURE = Metric("temperature", None, "temperature that fits best", "list")
_BINS = 15
_DOTS = 10  # groups of equally many rows in the picture
_POINTS = 120  # of a curve
_CLASSES = 8  # curves in one picture; of more classes those with most rows
_TINY = 1e-30


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> Statistic:
    """Expected calibration error as a function of row weights: |accuracy - confidence| of 15 equal ranges of confidence,
    weighted by their rows.

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,) whether it is the true one.

    Source: Guo et al. 2017, "On calibration of modern neural networks".
    """
    from scipy.sparse import csr_matrix

    ranges = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    rows = np.arange(len(confidence))
    gaps = csr_matrix((right - confidence.astype(np.float64), (ranges, rows)), shape=(_BINS, len(rows)))
    return lambda weights: np.abs(gaps @ weights).sum(axis=0) / weights.sum(axis=0)


def fitted_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T > 0 with the least loss of ``scaled(probabilities, T)``; above 1: the model was too sure.

    Args:
        probabilities: (N, C), of rows that nothing is measured on afterwards.
        labels: (N,) class numbers.
    """
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(probabilities, _TINY))
    truth = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        cold = logits / np.exp(log_temperature)
        most = cold.max(axis=1)
        return float(np.mean(most + np.log(np.exp(cold - most[:, None]).sum(axis=1)) - truth / np.exp(log_temperature)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))  # from 1/20 to 20


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature), which needs no more of the logits than their softmax; (N, C)."""
    logits = np.log(np.maximum(probabilities, _TINY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def rescaled(row: Mapping[str, Any], temperature: float) -> dict[str, Any]:
    """An answer that tells ``probabilities`` of all classes, with these ``scaled``; its class stays."""
    told: Mapping[str, float] = row["probabilities"]
    (shares,) = scaled(np.array([[*told.values()]]), temperature).tolist()
    probabilities = dict(zip(told, shares, strict=True))
    return {**row, "probability": probabilities[row["predicted"]], "probabilities": probabilities}


def scaled_error(probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> Estimate:
    """The calibration error of ``scaled`` probabilities; the predictions stay the same."""
    confidence, right = scaled(probabilities, temperature).max(axis=1), probabilities.argmax(axis=1) == labels
    return replace(bootstrap(calibration_error(confidence, right), len(labels)), metric=SCALED_ECE)


def temperature_figures(told: Mapping[str, Sequence[Mapping]], names: Sequence[str]) -> dict[str, Estimate]:
    """The temperature that is best on validation, and the calibration error with it on other splits.

    Args:
        told: split -> rows as in ``predictions.jsonl``. Empty results without validation, or probabilities of all classes.
    """
    tables = {split: probability_table(rows, names) for split, rows in told.items()}
    if not (fitted := tables.pop("validation", None)) or len(fitted[1]) < 2:
        return {}
    temperature = fitted_temperature(*fitted)
    figures = {"validation/temperature": Estimate(temperature, None, None, len(fitted[1]), metric=TEMPERATURE)}
    for split, table in tables.items():
        if table:
            figures[f"{split}/scaled_ece"] = scaled_error(*table, temperature)
    return figures


def threshold_sections(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[Section]:
    """Calibration, and ROC and precision-recall curves of each class against the rest.

    Args:
        probabilities: (N, C); labels: (N,) class numbers; names: (C,).
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    found = bootstrap(calibration_error(confidence, right), len(labels))
    reliable = Curves(
        "Calibration", "mean probability", "accuracy", {"predictions": _reliability(confidence, right)}, True
    )
    note = (
        f"ECE {found}. Each dot is a group of equally many rows: how often they are right over how sure the model is of them. "
        "Below the line it is too sure."
    )
    sections = [Section("Calibration", note, [reliable])]
    counts = np.bincount(labels, minlength=len(names))
    shown = [c for c in np.argsort(-counts, kind="stable")[:_CLASSES].tolist() if 0 < counts[c] < len(labels)]
    roc: dict[str, list[tuple[float, float]]] = {}
    precision: dict[str, list[tuple[float, float]]] = {}
    for c in shown[:1] if len(names) == 2 else sorted(shown):  # both sides of a binary problem draw one curve
        false, true, _ = roc_curve(labels == c, probabilities[:, c])
        roc[names[c]] = _thinned(false, true)
        precise, recalled, _ = precision_recall_curve(labels == c, probabilities[:, c])
        precision[names[c]] = _thinned(recalled[::-1], precise[::-1])
    if roc:
        some = (
            f"The {len(roc)} most frequent classes of {len(names)}, each" if len(roc) < len(names) > 2 else "Each class"
        )
        note = f"{some} against the rest, at every threshold of its probability."
        parts = [
            Curves("ROC", "false positive rate", "true positive rate", roc, True),
            Curves("Precision and recall", "recall", "precision", precision),
        ]
        sections.append(Section("ROC and precision-recall curves", note, parts))
    return sections


def _reliability(confidence: np.ndarray, right: np.ndarray) -> list[tuple[float, float]]:
    groups = np.array_split(np.argsort(confidence, kind="stable"), min(_DOTS, len(confidence)))
    return [(float(confidence[group].mean()), float(right[group].mean())) for group in groups]


def _thinned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    places = np.unique(np.linspace(0, len(x) - 1, min(_POINTS, len(x))).round().astype(int))
    return [(round(float(x[place]), 4), round(float(y[place]), 4)) for place in places]


def slice_section(right: np.ndarray, features: Mapping[str, np.ndarray]) -> list[Section]:
    """Accuracy by what rows are like, with intervals: thirds of a number, or whether something is so.

    Args:
        right: (N,) 1 where a row is right.
        features: name -> (N,) numbers (NaN: unknown), or truth values with both names, "cut / whole". One that does not
            part the rows is left out.
    """
    columns: dict[str, Content] = {
        "rows with": "word",
        "accuracy": "number",
        "95 % interval": "number",
        "rows": "number",
    }
    lines = []
    for name, values in features.items():
        groups: dict[str, np.ndarray]
        if values.dtype == bool:
            groups = dict(zip(name.split(" / "), (values, ~values), strict=True))
        else:
            low, high = np.nanquantile(values, [1 / 3, 2 / 3]) if np.isfinite(values).any() else (0.0, 0.0)
            groups = {
                f"{name} up to {low:.4g}": values <= low,
                f"{name} up to {high:.4g}": (values > low) & (values <= high),
                f"{name} above {high:.4g}": values > high,
            }
        there = {label: members for label, members in groups.items() if members.any()}
        for label, members in there.items() if len(there) > 1 else ():
            one = wilson(float(right[members].sum()), int(members.sum()))
            lines.append([label, f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}", f"{one.n:,}"])
    return [Section("Slices", "How often rows of a kind are right.", [Table(columns, lines)])] if lines else []
