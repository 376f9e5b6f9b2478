"""Questions on Python's own documentation, made by rule: synthetic, on every machine, and each answer a span of its context.

A context is a stretch of a module's documentation: a few docstrings under the headings that say what they document, or a long
one alone. A rule finds a statement in a docstring ("Return the name of the chunk.") and asks for a part of it ("What does
Chunk.getname return?"): which docstring is meant, and where in it, is for the model to find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from groundup.data.roles import Row
from groundup.data.sources.library import MANUAL, Docstring, extract
from groundup.data.sources.python_docs import PythonDocs, heading_of, held_apart
from groundup.data.sources.source import SPLITS, Generated, place
from groundup.text.clean import Clean

_CONTEXT = 700  # characters after which a context is closed: some 150 tokens
_WORDS = 25  # of an answer, at most
_SENTENCE = r"(?:^|(?<=\. )|(?<=\.\n)|(?<=\n\n))"  # where one begins


@dataclass(frozen=True)
class Rule:
    """``pattern``, with the groups that ``asks`` names and ``answer``; a name beside it in what it ``asks`` is the object's.

    heading: it reads the heading, not the docstring. most: questions of one docstring. arguments: ``argument`` is one of the heading's.
    """

    pattern: re.Pattern[str]
    asks: tuple[str, ...]
    heading: bool = False
    most: int = 3
    arguments: bool = False


def _rule(pattern: str, *asks: str, **options: Any) -> Rule:
    return Rule(re.compile(pattern, re.MULTILINE), asks, **options)


_CLAUSE = r"(?:[^.,;:\n]|\.(?=\w)){6,90}(?:\n(?:[^.,;:\n]|\.(?=\w)){3,60})?"
_REST = r"(?:[^.\n]|\.(?=\w)){3,120}(?:\n(?:[^.\n]|\.(?=\w))+)?"
_EXCEPTION = r"`*(?P<{}>[A-Za-z]\w*(?:Error|Exception|Warning|Exit|Interrupt|Iteration))`*(?: exception)?,?"
_PRONOUN = r"(?:This|It|That|They|There|These)\b"
RULES = (
    _rule(
        rf"{_SENTENCE}Returns? (?P<answer>{_REST})\.(?=\s|\Z)",
        "What does {name} return?",
        "What is returned by {name}?",
        "What do you get from {name}?",
    ),
    _rule(
        rf"\b[Rr]aises? (?:an? |the )?{_EXCEPTION.format('answer')} (?:if|when) (?P<when>{_CLAUSE})[.,;]",
        "Which exception does {name} raise if {when}?",
        "What is raised by {name} when {when}?",
    ),
    _rule(
        rf"\b[Rr]aises? (?:an? |the )?{_EXCEPTION.format('what')} (?:if|when) (?P<answer>{_CLAUSE})[.,;]",
        "When does {name} raise {what}?",
        "In which case is {what} raised by {name}?",
    ),
    _rule(
        rf"{_SENTENCE}If (?P<when>{_CLAUSE}), (?:then )?(?P<answer>{_REST})\.(?=\s|\Z)",
        "What happens in {name} if {when}?",
        "In {name}, what follows if {when}?",
    ),
    _rule(
        rf"{_SENTENCE}(?:The )?(?!{_PRONOUN})(?P<what>[\w* ]{{2,40}}?) (?P<how>must|should) be (?P<answer>{_CLAUSE})[.,;]",
        "What {how} {what} be in {name}?",
    ),
    _rule(
        r"^ *(?::param )?(?P<argument>\w+)(?:: | -- | - )(?P<answer>\S[^\n]{8,100}?)[.,;]?$",
        "What is the argument {argument} of {name}?",
        "What does {argument} mean for {name}?",
        arguments=True,
    ),
    _rule(
        r"(?P<argument>\w+)=(?P<answer>[^=,()\[\]{}]{1,40}|\(\)|\[\]|\{\})(?=[,)])",
        "What is the default of {argument} in {name}?",
        "Which value has {argument} by default in {name}?",
        heading=True,
        most=1,
        arguments=True,
    ),
    _rule(
        r"^class [\w.]+\((?P<answer>[\w., ]+)\)",
        "Which class is {name} derived from?",
        "What is the base class of {name}?",
        heading=True,
    ),
)


class PythonDocsQuestions(Generated):
    """Questions, contexts and answers out of ``python_docs``; its splits by module, so no context was read in pretraining.

    Rows follow from the version of Python alone. They are extracted once and cached.
    """

    def __init__(self, clean: Clean | None = None) -> None:
        super().__init__("python_docs_qa", clean)
        self.columns = {role: role for role in ("question", "context", "answers", "id")}

    def key(self) -> Any:
        return PythonDocs().key()

    def make(self) -> dict[str, dict[str, list[Row]]]:
        docstrings, split_of = held_apart(extract())
        rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
        for module, docs in groupby(docstrings, key=lambda doc: doc.module):
            rows[split_of[module]] += questions(module, list(docs))
        return {self.name: rows}


def questions(module: str, docs: Sequence[Docstring]) -> list[Row]:
    """Rows of the documentation of a module, in its order; none twice."""
    rows: dict[tuple[str, str], Row] = {}
    for docs_of_context in _contexts(module, docs):
        context = "\n\n\n".join(_section(module, doc) for doc in docs_of_context)
        begin = 0
        for doc in docs_of_context:
            for question, answer, at in _asked(module, doc):
                start = begin + at
                assert context[start : start + len(answer)] == answer
                row = {"answers": [{"text": answer, "answer_start": start}], "id": f"{module}.{doc.name}-{start}"}
                rows.setdefault((question, context), {"question": question, "context": context, **row})
            begin += len(_section(module, doc)) + 3
    return list(rows.values())


def _contexts(module: str, docs: Sequence[Docstring]) -> Iterator[list[Docstring]]:
    """Neighbours together until there are enough characters."""
    some: list[Docstring] = []
    size = 0
    for doc in docs:
        some.append(doc)
        size += len(_section(module, doc))
        if size >= _CONTEXT:
            yield some
            some, size = [], 0
    if some:
        yield some


def _section(module: str, doc: Docstring) -> str:
    return f"{heading_of(module, doc)}\n\n{doc.text}"


def _asked(module: str, doc: Docstring) -> Iterator[tuple[str, str, int]]:
    """Questions that the rules find, each with its answer and the character of the section where that begins."""
    heading = heading_of(module, doc)
    name = f"the section on {doc.name}" if module.startswith(MANUAL) else doc.name or module
    named = _named_in(heading)
    for rule in RULES:
        text, begin = (heading, 0) if rule.heading else (doc.text, len(heading) + 2)
        asked = 0
        for match in rule.pattern.finditer(text):
            answer, at = _trimmed(match["answer"], begin + match.start("answer"))
            words = {key: " ".join(value.split()) for key, value in match.groupdict().items() if key != "answer"}
            if not 0 < len(answer.split()) <= _WORDS or (rule.arguments and not named(words["argument"])):
                continue
            which = int(place(f"{module} {doc.name} {at}") * len(rule.asks))
            yield rule.asks[which].format(name=name, **words), answer, at
            asked += 1
            if asked == rule.most:
                break


def _named_in(heading: str) -> Callable[[str], bool]:
    """Whether a word is the name of an argument in a heading."""
    names = {*re.findall(r"[(,] ?\*{0,2}(\w+)", heading)}
    return names.__contains__


def _trimmed(answer: str, at: int) -> tuple[str, int]:
    lead = len(answer) - len(answer.lstrip())
    return answer.strip(), at + lead
