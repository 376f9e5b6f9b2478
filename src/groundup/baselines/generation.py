"""What a model that writes must beat: its own source, the first sentence, words drawn at random."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from groundup.metrics.estimate import Estimate
from groundup.metrics.generation import references_of, summarization_metrics, translation_metrics
from groundup.metrics.overlap import tokens

COPY = "copy of the source"
LEAD = "lead sentence"
RANDOM = "random words"
# After a full stop that a blank or an end follows, after a Chinese or Japanese one, or at an empty line.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]»”’]*(?=\s|$)|(?<=[。！？])[」』”’]*|\n\s*\n")


def translation_baselines(rows: Iterable[Mapping], split: str) -> dict[str, dict[str, Estimate]]:
    """The source taken for its translation, as ``baselines.json`` holds it: ``{name: {"test/bleu": Estimate, ...}}``.

    Args:
        rows: with ``source``, ``target`` and maybe further ``references``.
        split: prefix of the metric names.
    """
    rows = list(rows)
    return _measured({COPY: [row["source"] for row in rows]}, rows, split, translation_metrics)


def summarization_baselines(rows: Iterable[Mapping], split: str, seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """The first sentence of the source, and words drawn from it, as many as a reference has on average.

    Arguments and result as for ``translation_baselines``; ``seed`` is that of the draw.
    """
    rows = list(rows)
    length = round(float(np.mean([len(tokens(row["target"])) for row in rows])))
    written = {
        LEAD: [lead_sentence(row["source"]) for row in rows],
        RANDOM: [random_words(row["source"], length, seed, number) for number, row in enumerate(rows)],
    }
    return _measured(written, rows, split, summarization_metrics)


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


def _measured(
    written: Mapping[str, list[str]], rows: list[Mapping], split: str, measure: Callable[..., dict[str, Estimate]]
) -> dict[str, dict[str, Estimate]]:
    sources, references = [row["source"] for row in rows], [references_of(row) for row in rows]
    measured = {name: measure(texts, sources, references) for name, texts in written.items()}
    return {name: {f"{split}/{metric}": value for metric, value in found.items()} for name, found in measured.items()}
