"""Runs that tell probabilities of classes and are no network themselves: a classical classifier, or a run with members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from groundup.baselines.classification import ClassifierBaseline, Fitted, truth_of
from groundup.baselines.linear import LogisticRegression
from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.roles import Row, check_columns
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.metrics.calibration import temperature_figures
from groundup.metrics.class_sections import classification_sections
from groundup.metrics.classes import answered_rows, named_classes
from groundup.metrics.classification import classification_metrics
from groundup.metrics.estimate import Estimate
from groundup.metrics.sections import Section
from groundup.runs.folder import RunFolder
from groundup.stages.answering import BATCHES, Answering, blocks
from groundup.stages.evaluation import beside
from groundup.stages.stored import check_config
from groundup.system.files import damaged
from groundup.tasks.evaluation import Results


class Classifier(Answering):
    """A run that tells ``probabilities``; the rest follows from them."""

    def __init__(self, folder: RunFolder, config: Config, labels: Sequence[str]) -> None:
        super().__init__(folder, config)
        self._labels = tuple(labels)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def answer(
        self, rows: Iterable[Row], batch_size: int = 64, accelerator: str = "cpu", seed: int = 1, prefix: str = ""
    ) -> Iterator[dict[str, Any]]:
        for block in blocks((self.row(row) for row in rows), batch_size * BATCHES):
            answers = named_classes(self.probabilities(block, accelerator), self.labels)
            for row, found in zip(block, answers, strict=True):
                there = any((row.get(role) or "").strip() for role in self.reads)
                yield {**found, "status": "ok" if there else "empty"}

    def scorer(self, config: Config, source: Source) -> ClassifierScorer:
        return ClassifierScorer(self, source)


class ClassifierScorer:
    """A classifier before the rows of ``source``. Raises UserError where these have no text or no label."""

    def __init__(self, run: Classifier, source: Source) -> None:
        check_columns(("text", "label"), source.columns)
        if "label" not in source.columns:
            raise UserError("the data has no labels: name the column that holds them, data.label=COLUMN")
        self.run, self.source = run, source
        self._texts: dict[str, list[Row]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        return self.run.labels

    def texts(self, split: str) -> list[Row]:
        if split not in self._texts:
            self._texts[split] = list(self.source.rows(split))
        return self._texts[split]

    def score(self, split: str, hardware: Config) -> Results:
        self.truth(split)  # a strange label shows before the work
        return self.results(split, self.run.probabilities(self.texts(split), hardware.get("accelerator") or "cpu"))

    def results(self, split: str, probabilities: np.ndarray) -> Results:
        """Figures of a split whose rows have these ``probabilities`` (N, C), and an answer for each row."""
        truth = self.truth(split)
        labels = [row["label"] for row in self.texts(split)]
        told = answered_rows(range(len(labels)), labels, probabilities, self.labels)
        return Results(classification_metrics(probabilities, truth), told)

    def truth(self, split: str) -> np.ndarray:
        """The class of each row (N,). Raises UserError for a label that training did not know, or an empty split."""
        rows = self.texts(split)
        if not rows:
            raise UserError(f"the {split} split is empty: it has no row")
        truth = truth_of(rows, self.labels)
        if (strange := np.flatnonzero(truth < 0)).size:
            shown = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
            raise UserError(
                f"row {strange[0] + 1} of the {split} split has the label '{rows[strange[0]]['label']}', which training "
                f"does not know (it knows {shown}): mend the label, or remove the row"
            )
        return truth

    def sections(self, rows: list[dict[str, Any]], split: str) -> list[Section]:
        return classification_sections(rows, self.labels)

    def explanations(self, rows: list[dict[str, Any]], split: str, count: int) -> list[Section]:
        raise UserError(f"explain={count} is for a network, and {self.run.folder.path} holds none. Try explain=0")

    def across(self, results: Mapping[str, Results]) -> dict[str, Estimate]:
        return temperature_figures({name: found.predictions for name, found in results.items()}, self.labels)

    def baselines(self, split: str, trained: bool) -> dict[str, dict[str, Estimate]]:
        return beside(LogisticRegression(), self, split, trained)


class BaselineRun(Classifier):
    """A classical classifier that was fitted by ``groundup baseline``."""

    def __init__(self, folder: RunFolder, config: Config, labels: Sequence[str], fitted: Fitted) -> None:
        super().__init__(folder, config, labels)
        self.fitted = fitted

    @classmethod
    def open(cls, folder: RunFolder, config: Config) -> BaselineRun:
        """Raises UserError where a file of it is missing or damaged."""
        check_config(folder, config, ("baseline", "task", "data"))
        labels = saved_labels(folder)
        recipe: ClassifierBaseline = instantiate(config.baseline, "baseline")
        return cls(folder, config, labels, recipe.load(folder.path, len(labels)))

    @property
    def name(self) -> str:
        choices = self.folder.status().get("choices") or {}
        return str(choices.get("baseline") or self.config.baseline["_target_"].rpartition(".")[2]).replace("_", " ")

    def probabilities(self, rows: Sequence[Row], accelerator: str = "cpu") -> np.ndarray:
        return self.fitted.probabilities(rows)


def saved_labels(folder: RunFolder) -> list[str]:
    """The class names of a run. Raises UserError for a file that holds none."""
    labels = folder.read_json("labels.json", [])
    if not all(isinstance(label, str) for label in labels):
        raise damaged(folder.labels, "a label is no text")
    if len(labels) < 2 or max(Counter(labels).values()) > 1:
        raise damaged(folder.labels, "it has no two classes, or one of them twice")
    return labels
