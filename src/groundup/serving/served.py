"""A run that is served: its name, what it reads, and the rows of a request for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from groundup.config.root import Limits
from groundup.data.roles import ROLES, Row
from groundup.data.rows import roles
from groundup.data.sources.files import FILES
from groundup.errors import UserError
from groundup.serving.explained import Kind, kind_of
from groundup.serving.request_error import RequestError
from groundup.stages.answering import Answering
from groundup.stages.build import task_class, task_word
from groundup.stages.network import NetworkRun
from groundup.stages.outputs import json_line
from groundup.stages.predict import ABOUT, set_apart


class Served:
    """``name``: what a request calls the run."""

    def __init__(self, name: str, run: Answering) -> None:
        self.name, self.run = name, run
        self.task = task_class(run.config)
        own = run.config.data if run.config.data["_target_"] == FILES else {}
        self.columns = {role: own.get(role) or role for role in run.reads}  # by their names in training
        self._taken = {*self.task.answers, *ABOUT}

    @property
    def continues(self) -> bool:
        """Whether it goes on from a prompt."""
        return isinstance(self.run, NetworkRun) and self.task.writes == "continuation"

    @property
    def explains(self) -> Kind | None:
        """What it tells of where its answers come from."""
        return kind_of(self.run)

    @property
    def scale(self) -> list[float] | None:
        """The least and the greatest number that training saw, of a run that answers with numbers."""
        known = self.run.facts.scale if isinstance(self.run, NetworkRun) else None
        return None if known is None else [known.low, known.high]

    @property
    def network(self) -> NetworkRun:
        assert isinstance(self.run, NetworkRun)
        return self.run

    def about(self) -> dict[str, Any]:
        """What the page and clients may know of it."""
        return {
            "name": self.name,
            "task": task_word(self.task),
            "model": self.run.name,
            "reads": list(self.run.reads),
            "needs": list(self.run.needed),
            "text": self.task.examples.cuts_text,
            "labels": list(self.run.labels),
            "writes": self.task.writes if self.task.writes == "answer" or self.continues else None,
            "explains": self.explains,
            "scale": self.scale,
        }

    def rows(self, asked: Any, limits: Limits) -> tuple[list[dict[str, Any]], list[Row]]:
        """What a request asks, a row or a list of them, as it came and under the names of roles.

        Raises RequestError: too many rows or characters, a role that is missing, or something else than its values.
        """
        raw = asked if isinstance(asked, list) else [asked]
        if not raw or len(raw) > limits.rows:
            raise RequestError(422, f"{len(raw)} rows: a request has 1 to {limits.rows}", "rows")
        raw = [self._named(one, place) for place, one in enumerate(raw, 1)]
        return raw, [self._row(one, place, limits) for place, one in enumerate(raw, 1)]

    def line(self, raw: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """An answer as ``predict`` writes it: the row's own values beside it."""
        return json_line({**set_apart(raw, {*self._taken, *answer}), **answer})

    def _named(self, one: Any, place: int) -> dict[str, Any]:
        """A row as an object; a text alone is its first role."""
        if isinstance(one, str):
            return {"text" if self.task.examples.cuts_text else self.run.reads[0]: one}
        if not isinstance(one, dict):
            raise RequestError(422, f"row {place}: {_kind(one)}, where an object is read, as in {self._example()}")
        for name, value in one.items():
            inner = value if isinstance(value, list) else [value]
            if any(isinstance(item, list | dict) for item in inner):
                raise RequestError(422, f"row {place}: {name[:40]!r} holds nested values", name[:40])
        return one

    def _row(self, raw: Mapping[str, Any], place: int, limits: Limits) -> Row:
        columns = {}
        for role in self.run.reads:
            column = role if role in raw else self.columns[role]
            if raw.get(column) is not None:
                columns[role] = column
        if self.task.examples.cuts_text and not columns and raw.get("text") is not None:
            columns = {"text": "text"}
        for role in self.run.needed:
            if role not in columns and "text" not in columns:
                raise RequestError(422, f"row {place}: no {role}, as in {self._example()}", role)
        characters = 0
        for role, column in columns.items():
            texts = raw[column] if ROLES[role].many and isinstance(raw[column], list) else [raw[column]]
            if ROLES[role].many is not isinstance(raw[column], list) or not all(isinstance(one, str) for one in texts):
                what = "a list of texts" if ROLES[role].many else "a text"
                raise RequestError(422, f"row {place}: {column} is {_kind(raw[column])}, where {what} is read", column)
            characters += sum(map(len, texts))
        if characters > limits.characters:
            raise RequestError(422, f"row {place}: {characters:,} characters, of {limits.characters:,} at most")
        try:
            return roles(raw, columns, None, f"row {place}")
        except UserError as error:  # a text that is none, which rules above do not know
            raise RequestError(422, str(error)) from error

    def _example(self) -> str:
        if self.task.examples.cuts_text:
            return '{"text": "..."}'
        return json.dumps(dict.fromkeys(self.run.needed, "..."))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
