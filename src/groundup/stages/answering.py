"""A run that answers, whatever is inside: all that ``evaluate``, ``predict``, runs with members and a server use of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.data.rows import roles
from groundup.data.sources.source import Source
from groundup.runs.folder import RunFolder
from groundup.stages.build import task_class
from groundup.stages.evaluation import Scorer
from groundup.text.clean import Clean

BATCHES = 64  # that are sorted by length together: what padding costs is little from here on
CHARACTERS = 1 << 22  # held at a time, at most; a longer text is alone


class Answering(ABC):
    """A run folder opened: its ``config``, and what it learned, ready to answer."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self.folder, self.config = folder, config

    # What a kind of run writes

    @property
    @abstractmethod
    def name(self) -> str:
        """What a table calls it."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Names of its classes; empty where it has none."""

    @abstractmethod
    def answer(
        self, rows: Iterable[Row], batch_size: int = 64, accelerator: str = "cpu", seed: int = 1, prefix: str = ""
    ) -> Iterator[dict[str, Any]]:
        """An answer for each row (a dict of roles: text, text_pair, or source), in their order, with its ``status``.

        Reads so many rows at a time as make full batches of like length, and no more. ``seed``: of decoding by drawing; a
        row's text depends on it and on the row's number alone. ``prefix``: what every text that is written begins with.
        """

    @abstractmethod
    def probabilities(self, rows: Sequence[Row], accelerator: str = "cpu") -> np.ndarray:
        """Of every class (N, C) for rows of the run's data, or cleaned like these. Raises UserError without classes."""

    @abstractmethod
    def scorer(self, config: Config, source: Source) -> Scorer:
        """The run before the rows of ``source``, which ``config`` describes. Raises UserError where they do not fit."""

    # What all have

    @cached_property
    def clean(self) -> Clean | None:
        """What was done to every text before the run learned from it."""
        return clean_of(self.config)

    @property
    def reads(self) -> tuple[str, ...]:
        """The roles of the texts that it is given; those that are ``needed`` must be there."""
        return task_class(self.config).examples.reads

    @property
    def needed(self) -> tuple[str, ...]:
        """The roles that every row must have: both texts of a pair."""
        return self.reads[: 2 if self.config.data.get("text_pair") else 1]

    def row(self, raw: Mapping[str, Any]) -> Row:
        """A row (role -> text) as training saw its rows: the way in of every text that is to be answered."""
        examples = task_class(self.config).examples
        if examples.cuts_text and raw.get(self.reads[0]) is None and "text" in raw:
            row = examples.of_text(raw["text"])  # its words are cleaned, and it stays: places in it are told
            return {**row, **roles(row, {self.reads[0]: self.reads[0]}, self.clean, "the row")}
        present = [role for role in self.reads if role in self.needed or raw.get(role) is not None]
        return roles(raw, {role: role for role in present}, self.clean, "the row")

    def text(self, text: str) -> str:
        """A text cleaned as the run's texts were."""
        return roles({"text": text}, {"text": "text"}, self.clean, "the text")["text"]


def clean_of(config: Mapping[str, Any]) -> Clean | None:
    """What the configuration of a run says of cleaning."""
    settings = (config.get("data") or {}).get("clean")
    return instantiate(settings, "data.clean") if settings else None


def blocks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Lists of at most ``size`` rows and about ``CHARACTERS`` of text."""
    block, characters = [], 0
    for row in rows:
        block.append(row)
        characters += sum(map(len, row.values()))
        if len(block) == size or characters >= CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block
