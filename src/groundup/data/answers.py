"""Answers to a question: texts, and the character of the context at which each begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundup.errors import UserError
from groundup.text.clean import Clean, valid_unicode

Answer = dict[str, Any]  # {"text": str, "answer_start": int}, SQuAD's names
FORM = '{"text": ["..."], "answer_start": [0]}'
_SHOWN = 40  # characters of a text in a message


def answers_of(value: Any, column: str, where: str) -> list[Answer]:
    """``[{"text": "Paris", "answer_start": 12}, ...]`` from this, SQuAD's own form, or from the hub's, ``FORM``.

    No value and an empty list stand for a question that the context does not answer.
    Raises UserError for anything else, as for texts and offsets of different number.
    """
    told = f"{where}: column '{column}' (data.answers)"
    if value is None or value != value:  # NaN
        return []
    if isinstance(value, Mapping):
        texts, starts = (_listed(value.get(name)) for name in ("text", "answer_start"))
        if len(texts) != len(starts):
            raise UserError(
                f"{told} has {len(texts)} text{'s' * (len(texts) != 1)}, but {len(starts)} answer_start: "
                "write one for each, or remove the row"
            )
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        kind = "a text" if isinstance(value, str) else "a list of texts" if isinstance(value, list) else "a number"
        raise UserError(f"{told} holds {kind}; write answers with their places in the context, as in {FORM}")
    return [_answer(one, told) for one in value]


def check_answers(row: Mapping[str, Any], where: str) -> None:
    """Raises UserError for a row of questions and answers that cannot be right: it is learned from, or measured on."""
    if "answers" not in row or "context" not in row:
        return
    context: str = row["context"]
    if not row.get("question", "").strip():
        raise UserError(f"{where}: the question is empty (data.question): write one, or remove the row")
    if not context.strip():
        raise UserError(f"{where}: the context is empty (data.context): fill it in, or remove the row")
    for answer in row["answers"]:
        text, start = answer["text"], answer["answer_start"]
        if not text.strip():
            raise UserError(f"{where}: an answer is empty (data.answers): remove it; no answer at all is an empty list")
        if start < 0 or context[start : start + len(text)] != text:
            raise UserError(f"{where}: {_misplaced(context, text, start)}")


def check_clean(columns: Mapping[str, str], clean: Clean | None) -> None:
    """Raises UserError for cleaning that would move answers away from their offsets."""
    steps = [name for name, value in clean.as_dict().items() if value] if clean and "context" in columns else []
    if steps:
        advice = ". Try tokenizer.lowercase=true" if steps == ["lowercase"] else ""
        raise UserError(
            f"data.clean.{steps[0]} changes the context, and answers are places in it: leave it out{advice}"
        )


def _misplaced(context: str, text: str, start: int) -> str:
    found = context[max(start, 0) : max(start, 0) + len(text)]
    said = f"the answer '{_short(text)}' is not at character {start:,} of the context (data.answers)"
    said += f", where '{_short(found)}' stands" if start >= 0 and found else f", which has {len(context):,}"
    place = context.find(text)
    if place < 0:
        return f"{said}; it is nowhere in it: mend the answer, or remove the row"
    only = "it begins at" if context.find(text, place + 1) < 0 else "it first begins at"
    return f"{said}; {only} {place:,}: mend answer_start"


def _answer(value: Mapping[str, Any], told: str) -> Answer:
    text, start = value.get("text"), value.get("answer_start")
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
        raise UserError(f"{told} has an answer without a text, or without a whole number as answer_start: see {FORM}")
    return {"text": valid_unicode(text), "answer_start": start}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
