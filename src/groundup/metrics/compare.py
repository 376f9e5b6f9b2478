"""Is one model better than another? Differences on the same rows, with intervals."""

from __future__ import annotations

import numpy as np

from groundup.metrics.arrays import as_array
from groundup.metrics.classification import macro_scores
from groundup.metrics.estimate import RESAMPLES, Estimate, interval


def paired_difference(
    predictions, baseline_predictions, labels, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Accuracy and macro-F1 of one set of predictions minus those of another, both (N,), for the same ``labels`` (N,).

    Both are resampled together, so what makes a row hard for both cancels out: the interval is narrower than two separate ones suggest.
    A difference whose interval lies above 0 is a gain at the 95 % level. Source: Berg-Kirkpatrick et al. 2012, "An empirical
    investigation of statistical significance in NLP".
    """
    ours, theirs, labels = (as_array(values, np.int64) for values in (predictions, baseline_predictions, labels))
    n = len(labels)
    outcomes, counts = np.unique(np.stack([labels, ours, theirs]), axis=1, return_counts=True)
    label, our, their = outcomes
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([counts[None], generator.multinomial(n, counts / n, size=resamples)])  # (1 + R, outcomes)
    hit = (our == label).astype(np.float64) - (their == label)
    accuracy = drawn @ hit / n
    macro_f1 = np.subtract(*(macro_scores(drawn, label, said)["macro_f1"] for said in (our, their)))
    differences = {"accuracy": accuracy, "macro_f1": macro_f1}
    return {name: interval(values[0], values[1:], n) for name, values in differences.items()}
