"""What a model that writes must beat: its own source, the first sentence, words drawn at random."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from groundup.baselines.baseline import Baseline, Texts
from groundup.data.roles import Row
from groundup.metrics.estimate import Estimate, Results
from groundup.metrics.generation import (
    SUMMARIES,
    TRANSLATIONS,
    Ranked,
    references_of,
    summarization_metrics,
    translation_metrics,
    written_sections,
)
from groundup.metrics.overlap import tokens
from groundup.metrics.sections import Section

# After a full stop that a blank or an end follows, after a Chinese or Japanese one, or at an empty line.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]»”’]*(?=\s|$)|(?<=[。！？])[」』”’]*|\n\s*\n")


class Writer(Baseline):
    """Writes a text for each source, without having learned anything."""

    quick = True
    measured: ClassVar[Callable[..., dict[str, Estimate]]]  # metrics of what is written, of sources and of references
    ranked: ClassVar[Ranked]

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> list[str]:
        """A text for each row, of which it reads the ``source``."""

    def learn(self, data: Texts) -> Callable[[str], Results]:
        def results(split: str) -> Results:
            rows = data.texts(split)
            written, sources = self.write(rows), [row["source"] for row in rows]
            metrics = type(self).measured(written, sources, [references_of(row) for row in rows])
            told = zip(rows, written, strict=True)
            return Results(metrics, [{"index": i, **row, "hypothesis": text} for i, (row, text) in enumerate(told)])

        return results

    def sections(self, rows: list[dict[str, Any]], data: Texts, split: str) -> list[Section]:
        return written_sections(rows, *self.ranked)


class CopySource(Writer):
    """The source, taken for its translation."""

    name = "copy of the source"
    tasks = ("translation",)
    measured, ranked = staticmethod(translation_metrics), TRANSLATIONS

    def write(self, rows: Sequence[Row]) -> list[str]:
        return [row["source"] for row in rows]


class LeadSentence(Writer):
    """The first sentence of the source, taken for its summary."""

    name = "lead sentence"
    tasks = ("summarization",)
    measured, ranked = staticmethod(summarization_metrics), SUMMARIES

    def write(self, rows: Sequence[Row]) -> list[str]:
        return [lead_sentence(row["source"]) for row in rows]

    def simpler(self) -> Baseline | None:
        return RandomWords()


class RandomWords(Writer):
    """Words drawn from the source, as many as a target has on average; ``seed`` is that of the draw."""

    name = "random words"
    tasks = ("summarization",)
    measured, ranked = staticmethod(summarization_metrics), SUMMARIES

    def __init__(self, seed: Annotated[int, Field(ge=0)] = 0) -> None:
        self.seed = seed

    def write(self, rows: Sequence[Row]) -> list[str]:
        length = round(float(np.mean([len(tokens(row["target"])) for row in rows])))
        return [random_words(row["source"], length, self.seed, number) for number, row in enumerate(rows)]


def lead_sentence(text: str) -> str:
    """The first sentence of a text, or its first paragraph where that has no end mark."""
    text = text.strip()
    end = _SENTENCE_END.search(text)
    return text[: end.end()].strip() if end else text


def random_words(text: str, length: int, *seed: int) -> str:
    """``length`` different places of a text drawn at random, in the order drawn; all of them where it is shorter."""
    words = tokens(text)
    order = np.random.default_rng(seed).permutation(len(words))[:length]
    return " ".join(words[place] for place in order)
