"""Self-training: a trained model predicts classes of texts, and the most certain of them are learned by another model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from groundup.ranges import Count, Share


class PseudoLabels:
    """Which rows without a label a student learns from, under the class that its teacher finds likeliest.

    threshold: the probability that the teacher needs. weight: how much such a row counts beside a labelled one. confidence:
    it counts by the teacher's probability, too. balance: as many rows as are over the threshold, but the same share of the
    rows of every class that the teacher finds, the likeliest: over one threshold stand mostly classes that are easy, and
    they crowd out the others. rounds: so many students, each the teacher of the next. teacher: a finished run to begin
    with; None: one is trained on the labelled rows first. labels: the rows that a student learns from, once a teacher has
    chosen them; the run writes it down.
    Source: Lee 2013; balance as Zou et al. 2018.
    """

    def __init__(
        self,
        threshold: Share = 0.9,
        weight: Annotated[float, Field(gt=0)] = 1.0,
        confidence: bool = True,
        balance: bool = True,
        rounds: Count = 1,
        teacher: str | None = None,
        labels: str | None = None,
    ) -> None:
        self.threshold, self.weight, self.confidence, self.balance = threshold, weight, confidence, balance
        self.rounds, self.teacher, self.labels = rounds, teacher, labels

    def choose(self, predicted: Sequence[str], probability: Sequence[float]) -> dict[int, float]:
        """Number of each chosen row -> its weight, by rising numbers.

        predicted, probability: of each row its likeliest class, and how likely that is.
        """
        chosen = [number for number, likely in enumerate(probability) if likely >= self.threshold]
        if self.balance:
            classes: defaultdict[str, list[int]] = defaultdict(list)
            for number in sorted(range(len(predicted)), key=lambda number: (-probability[number], number)):
                classes[predicted[number]].append(number)
            sure, rows = len(chosen), max(len(predicted), 1)
            chosen = sorted(n for numbers in classes.values() for n in numbers[: -(-sure * len(numbers) // rows)])
        return {number: self.weight * (probability[number] if self.confidence else 1.0) for number in chosen}
