"""Runs that may answer together: what each said of rows that none had learned from, and the weights that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.stages.answering import Answering, clean_of
from groundup.stages.folds import ARRAYS, OutOfFold
from groundup.stages.members import fused, logarithm

WORTH = 1.92  # nats that a member must add to the log-likelihood of all rows: the 95 % point of chi-square with 1 degree, halved
PRIOR = 1.0  # rows that the equal weights count for, so that few rows do not make them infinite


@dataclass
class Expert:
    """A run that may become a member. ``said``: (n, C), of the rows that all of them have held out."""

    name: str
    run: Answering
    said: np.ndarray


def experts_of(opened: Sequence[Answering], references: Sequence[str]) -> tuple[list[Expert], OutOfFold]:
    """The runs with what they said of the rows that all have held out; and these rows. Raises UserError as ``shared_rows``."""
    found = shared_rows([run.folder for run in opened], references)
    experts = [Expert(run.name, run, one.probabilities) for run, one in zip(opened, found, strict=True)]
    return experts, found[0]


def shared_rows(folders: Sequence[RunFolder], references: Sequence[str]) -> list[OutOfFold]:
    """What each of the runs said of the rows that all of them have held out.

    Raises UserError for runs of other classes or of other data, or with no such rows.
    """
    found, cleanings = [], []
    classes = folders[0].read_json("labels.json", [])
    for run, reference in zip(folders, references, strict=True):
        labels = run.read_json("labels.json", [])
        if not labels or labels != classes:
            raise UserError(f"members={reference}: its classes are not those of {references[0]}. Leave it out")
        cleanings.append(clean_of(run.read_config()))
        if cleanings[-1] != cleanings[0]:
            raise UserError(
                f"members={reference}: its texts were cleaned otherwise than those of {references[0]}. Leave it out"
            )
        if not (run.path / ARRAYS).exists():
            raise UserError(
                f"members={reference}: it says nothing of rows that it had not learned from. Train it with folds=5"
            )
        found.append(OutOfFold.load(run, len(labels)))
    index = found[0].index
    for one in found[1:]:
        index = np.intersect1d(index, one.index)
    if not len(index):
        raise UserError("members: no row was held out by all of them. Train them with the same folds")
    places = [np.searchsorted(one.index, index) for one in found]
    shared = [
        OutOfFold(index, one.probabilities[place], one.fold[place], one.truth[place])
        for one, place in zip(found, places, strict=True)
    ]
    for one, reference in zip(shared, references, strict=True):
        if (one.truth != shared[0].truth).any():
            raise UserError(f"members={reference}: it was trained on other rows than {references[0]}. Leave it out")
    return shared


def chosen_weights(said: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """The weight of each member (K,), 0 for those that do not raise the likelihood of the rows by ``WORTH``.

    The least useful goes first, and the others are fitted anew.
    """
    kept = list(range(len(said)))
    weights, loss = fit_weights([said[k] for k in kept], truth)
    while len(kept) > 1:
        without = {k: fit_weights([said[j] for j in kept if j != k], truth)[1] for k in kept}
        least = min(kept, key=lambda k: without[k])
        if (without[least] - loss) * len(truth) > WORTH:
            break
        kept.remove(least)
        weights, loss = fit_weights([said[k] for k in kept], truth)
    found = np.zeros(len(said))
    found[kept] = weights
    return found


def fit_weights(said: Sequence[np.ndarray], truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights a_k >= 0 (K,) that make softmax(sum a_k log p_k) likeliest, and the loss that they reach, in nats a row.

    It is convex, so there is one answer (L-BFGS-B). ``said``: K times (n, C). ``truth``: (n,).
    """
    from scipy.optimize import minimize

    logs = np.stack([logarithm(one) for one in said])  # (K, n, C)
    n, equal = len(truth), 1 / len(said)
    right = logs[:, np.arange(n), truth]  # (K, n)

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.tensordot(weights, logs, 1)  # (n, C)
        top = scores.max(axis=1, keepdims=True)
        shares = np.exp(scores - top)
        total = shares.sum(axis=1, keepdims=True)
        nll = (top[:, 0] + np.log(total[:, 0]) - weights @ right).mean()
        expected = np.einsum("knc,nc->kn", logs, shares / total)
        away = weights - equal
        return nll + PRIOR * (away @ away) / (2 * n), (expected - right).mean(axis=1) + PRIOR * away / n

    start = np.full(len(said), equal)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(said))
    return found.x, float(objective(found.x)[0])


def judged(said: Sequence[np.ndarray], truth: np.ndarray, weights: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """What the members say together (n, C), each part of the rows by weights that were fitted to the others."""
    kept = [k for k, weight in enumerate(weights) if weight]
    together = np.zeros_like(said[0])
    for part in np.unique(parts):
        inside = parts == part
        fitted, _ = fit_weights([said[k][~inside] for k in kept], truth[~inside])
        together[inside] = fused([said[k][inside] for k in kept], fitted)
    return together
