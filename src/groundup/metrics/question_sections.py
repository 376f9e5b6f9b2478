"""What a report shows of answers: the most confident mistakes in their contexts, and F1 of kinds of questions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from groundup.metrics.overlap import tokens
from groundup.metrics.sections import Cell, Content, Section, Table

# Longest first, so that "how many" is not taken for "how".
_WORDS = (
    "how many", "how much", "how long", "how old", "how", "what", "which", "who", "whom", "whose", "when", "where", "why",
    "什么时候", "什么", "谁", "哪", "多少", "几", "为什么", "怎", "何",
)  # fmt: skip
_WORD = re.compile("|".join(rf"\b{word}\b" if word.isascii() else word for word in _WORDS))
_LENGTHS = ((1, "1 word"), (2, "2"), (4, "3 to 4"), (8, "5 to 8"), (10**9, "9 or more"))
_SHOWN, _AROUND = 15, 70  # rows of a table; characters of the context on each side of an answer
_HEADS: dict[str, Content] = {"question": "text", "in the context": "text", "predicted": "text", "F1": "number"}
_FIGURES: dict[str, Content] = {"F1": "number", "exact match": "number", "questions": "number"}


def question_sections(rows: Sequence[Mapping]) -> list[Section]:
    """Right and wrong answers, marked in their contexts; F1 by question word, length of the answer, and windows.

    Args:
        rows: as in ``predictions.jsonl``, with ``question``, ``context``, ``answers`` and the fields of an answer.
    """
    if not rows:
        return []
    wrong = [row for row in rows if not row["f1"]]
    right = [row for row in rows if row["exact_match"]]
    worst, best = (sorted(some, key=lambda row: -row["probability"])[:_SHOWN] for some in (wrong, right))
    note = "The most probable ones. Answers stand between « and » in their context; of the data there may be several."
    shown = [Table(_HEADS, [*map(_line, some)], title) for some, title in ((worst, "Wrong"), (best, "Right")) if some]
    kinds = {
        "question word": question_word,
        "length of the answer": answer_length,
        "context": lambda row: "one window" if row["windows"] == 1 else "several windows",
    }
    tables = [_by(rows, name, kind) for name, kind in kinds.items()]
    return [Section("Answers", note, shown), Section("F1 by kind of question", "", tables)]


def question_word(row: Mapping) -> str:
    """``what``, ``how many``, ``谁``: the first of them in the question; ``other`` without one."""
    found = _WORD.search(row["question"].lower())
    return found.group() if found else "other"


def answer_length(row: Mapping) -> str:
    """Of the first right answer, in words or Chinese characters."""
    if not row["answers"]:
        return "no answer"
    words = len(tokens(row["answers"][0]["text"]))
    return next(name for most, name in _LENGTHS if words <= most)


def marked(context: str, start: int, end: int) -> str:
    """``... appeared to «Saint Bernadette» in 1858 ...``"""
    before, after = context[max(0, start - _AROUND) : start], context[end : end + _AROUND]
    left, right = "… " if start > _AROUND else "", " …" if len(context) > end + _AROUND else ""
    return f"{left}{before}«{context[start:end]}»{after}{right}"


def _line(row: Mapping) -> list[Cell | str]:
    places = {(one["answer_start"], one["answer_start"] + len(one["text"])) for one in row["answers"]}
    first, *more = [marked(row["context"], *place) for place in sorted(places)] or ["no answer"]
    said = marked(row["context"], row["start"], row["end"]) if row["answer"] else "no answer"
    flag = f"p {row['probability']:.2f}"
    return [row["question"], Cell(first, below=more), Cell(said, flag=flag), f"{row['f1']:.2f}"]


def _by(rows: Sequence[Mapping], name: str, kind: Callable[[Mapping], str]) -> Table:
    groups: defaultdict[str, list[Mapping]] = defaultdict(list)
    for row in rows:
        groups[kind(row)].append(row)
    lines: list[list[Cell | str]] = [
        [
            label,
            *(f"{sum(row[key] for row in some) / len(some):.3f}" for key in ("f1", "exact_match")),
            f"{len(some):,}",
        ]
        for label, some in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    return Table({name: "word", **_FIGURES}, lines)
