"""Data sets out of the documentation that every Python carries: English technical prose on every machine, no download."""

from __future__ import annotations

import hashlib
import platform
import random
import re
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from groundup.data.roles import Row
from groundup.data.sources.library import MANUAL, TOPICS, Docstring, extract, topic_of
from groundup.data.sources.source import SPLITS, Generated
from groundup.text.clean import Clean

_ROLES = {
    "text": ("text",),
    "topic": ("text", "label"),
    "summary": ("source", "target"),
    "related": ("text", "text_pair", "score"),
}
_SHORTEST = 60  # characters: fewer seldom tell what a module is about
_SHARES = {"test": 0.16, "validation": 0.10}  # of a topic's docstrings; the rest is train
_WINDOW = 6  # words in a row that make a passage
_OVERLAP = 1 / 3  # of a docstring's passages: with more of them in train, it is not held out any more
_WORD = re.compile(r"\w+")
_SUMMARY = range(3, 26)  # words: fewer name a thing and tell nothing, more are no summary
_BODY = 12  # words at least
_NEW = 8  # different words of the body at least that the summary does not have
_LINE = re.compile(r"(?P<summary>[^\n]+)\n\s*\n(?P<body>.+)", re.DOTALL)
# Next best, where the empty line is missing or the sentence goes on to a second line: it ends in a full stop.
_SENTENCE = re.compile(r"(?P<summary>[^\n]+?(?:\n[^\n]+?)?\.)\n(?P<body>.+)", re.DOTALL)
_DEPTHS = range(6)  # common parts of two names: the scores of ``related``
_PAIRS = {"train": 700, "validation": 100, "test": 300}  # of each score, at most
_TELLING = 20  # characters of a docstring in a pair, at least
_ROUNDS = 50  # in which each docstring is offered a partner
_NO_SENTENCE = re.compile(r"^\W|^[\w.]+ ?\(|->|[:=]$|\S[|<>]\S|[.?!] [A-Z]")  # heading, signature, usage; or several


class PythonDocs(Generated):
    """Docstrings of the standard library and the language reference of the Python that runs this.

    name: ``text`` has a document per module (or page of the reference), for language models; ``topic`` has a docstring
    and the subject area of its module; ``summary`` has the body of a docstring as source and its first line as target;
    ``related`` has two docstrings, and how many parts of their qualified names are common (0 to 5), the area first.
    All are split by module, with one split for all, so nothing that they test on was read in pretraining; docstrings
    that repeat the training split's passages are dropped from the others.
    Rows depend on the Python version alone. They are extracted once and cached.
    """

    def __init__(
        self, name: Literal["text", "topic", "summary", "related"] = "text", clean: Clean | None = None
    ) -> None:
        super().__init__(name, clean)
        self.columns = {role: role for role in _ROLES[name]}
        self.labels = sorted(TOPICS) if name == "topic" else None

    def key(self) -> Any:
        return [sys.version, platform.system(), sysconfig.get_path("stdlib")]

    def make(self) -> dict[str, dict[str, list[Row]]]:
        return make(extract())


def held_apart(docstrings: list[Docstring]) -> tuple[list[Docstring], dict[str, str]]:
    """The docstrings that are kept, those of train first, and module -> split: what all sets are made of."""
    docstrings = _without_repeats(docstrings)
    split_of = assign(docstrings)
    train = [doc for doc in docstrings if split_of[doc.module] == "train"]
    known = {passage for doc in train for passage in _passages(doc.text)}
    kept = train + [
        doc for doc in docstrings if split_of[doc.module] != "train" and _overlap(_passages(doc.text), known) < _OVERLAP
    ]
    return kept, split_of


def make(docstrings: list[Docstring]) -> dict[str, dict[str, list[Row]]]:
    """Set name -> split -> rows. Every row carries its ``module`` beside its texts and label."""
    kept, split_of = held_apart(docstrings)
    sets: dict[str, dict[str, list[Row]]] = {name: {split: [] for split in SPLITS} for name in _ROLES}

    def add(name: str, module: str, **row: str | float) -> None:
        sets[name][split_of[module]].append({**row, "module": module})

    documents: dict[str, list[Docstring]] = defaultdict(list)
    for doc in kept:
        documents[doc.module].append(doc)
        label = topic_of(doc.module)
        if label and len(doc.text) >= _SHORTEST:
            add("topic", doc.module, text=doc.text, label=label)
    for module, docs in documents.items():
        add("text", module, text=_document(module, docs))
    for doc, body, line in summaries(kept):
        add("summary", doc.module, source=body, target=line)
    for split, most in _PAIRS.items():
        for one, other, depth in related([doc for doc in kept if split_of[doc.module] == split], most):
            texts = {"text": one.text, "text_pair": other.text, "module_pair": other.module}
            add("related", one.module, **texts, score=float(depth))
    return sets


def assign(docstrings: list[Docstring]) -> dict[str, str]:
    """Module -> split, by the hash of its name, so that each topic has its share in each split.

    A module that would overfill a split goes on to the next one: large modules end in train.
    """
    sizes: dict[str | None, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for doc in docstrings:
        sizes[topic_of(doc.module)][doc.module] += len(doc.text) >= _SHORTEST
    split_of: dict[str, str] = {}
    for modules in sizes.values():
        total = sum(modules.values())
        filled = dict.fromkeys(_SHARES, 0)
        for module in sorted(modules, key=lambda name: hashlib.sha256(name.encode()).digest()):
            room = (s for s, share in _SHARES.items() if filled[s] + modules[module] <= share * total)
            split_of[module] = next(room, "train")
            if split_of[module] in filled:
                filled[split_of[module]] += modules[module]
    return split_of


def _without_repeats(docstrings: list[Docstring]) -> list[Docstring]:
    """The first of each text (letters and digits alone count); one that stands for two topics is dropped altogether."""
    topics: dict[str, set[str | None]] = defaultdict(set)
    first: dict[str, Docstring] = {}
    for doc in docstrings:
        content = " ".join(_words(doc.text))
        topics[content].add(topic_of(doc.module))
        first.setdefault(content, doc)
    return [doc for content, doc in first.items() if len(topics[content]) == 1]


def _passages(text: str) -> set[str]:
    """Every run of six words; a shorter text as a whole."""
    words = _words(text)
    return {" ".join(words[i : i + _WINDOW]) for i in range(max(1, len(words) - _WINDOW + 1))}


def _overlap(passages: set[str], known: set[str]) -> float:
    return sum(passage in known for passage in passages) / len(passages)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _document(module: str, docs: list[Docstring]) -> str:
    """Docstrings under headings that say what they document."""
    return "\n\n\n".join(f"{heading_of(module, doc)}\n\n{doc.text}" for doc in docs) + "\n"


def heading_of(module: str, doc: Docstring) -> str:
    """What a docstring documents: ``def read(self, n=-1)``, or its name, or ``module os``."""
    return doc.signature or (f"module {module}" if not doc.name else doc.name)


def summaries(docstrings: Iterable[Docstring]) -> list[tuple[Docstring, str, str]]:
    """(docstring, body, summary) of those that have both; no body twice, and none that says the summary again."""
    found, known = [], set()
    for doc in docstrings:
        parts = _LINE.match(doc.text) or _SENTENCE.match(doc.text)
        if parts is None or doc.module.startswith(MANUAL):  # pages of the reference have titles
            continue
        summary, body = " ".join(parts["summary"].split()), parts["body"].strip("\n")
        short, long = _words(summary), _words(body)
        if _NO_SENTENCE.search(summary) or len(short) not in _SUMMARY:
            continue
        if len(long) < _BODY or len(set(long) - set(short)) < _NEW:
            continue
        content = " ".join(long)
        if f" {' '.join(short)} " not in f" {content} " and content not in known:
            known.add(content)
            found.append((doc, body, summary))
    return found


def related(docstrings: Sequence[Docstring], most: int) -> list[tuple[Docstring, Docstring, int]]:
    """(one, other, depth): at most ``most`` pairs of each depth, the number of first parts that their names share.

    Partners are drawn, in rounds in which each docstring is offered one, so that few appear again and again. No pair
    comes twice.
    """
    named = [(qualified_name(doc), doc) for doc in docstrings if topic_of(doc.module) and len(doc.text) >= _TELLING]
    found: list[tuple[Docstring, Docstring, int]] = []
    for depth in _DEPTHS:
        draw, pairs = random.Random(depth), dict[tuple[int, int], None]()
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, (name, _) in enumerate(named):
            if len(name) >= depth:
                groups[name[:depth]].append(place)
        offered = sorted(place for group in groups.values() for place in group)
        for _ in range(_ROUNDS):
            for one in draw.sample(offered, len(offered)) if len(pairs) < most else ():
                other = draw.choice(groups[named[one][0][:depth]])
                if one != other and common(named[one][0], named[other][0]) == depth:
                    pairs[min(one, other), max(one, other)] = None
        found += [(named[one][1], named[other][1], depth) for one, other in list(pairs)[:most]]
    return found


def qualified_name(doc: Docstring) -> tuple[str, ...]:
    """``("internet", "http", "client", "HTTPConnection", "request")``: the area of the library, then the name of Python."""
    return (str(topic_of(doc.module)), *(part for part in f"{doc.module}.{doc.name}".split(".") if part))


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many first items two sequences share."""
    return next((place for place, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
