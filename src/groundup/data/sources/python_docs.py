"""Embedded data sets: English technical prose that is on every machine, with no download."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from groundup.data.sources import python_docs_extract, python_docs_summary
from groundup.data.sources.python_docs_extract import Docstring, extract
from groundup.data.sources.python_docs_summary import summaries
from groundup.data.sources.source import SPLITS, Row, Source, roles
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.clean import Clean

_ROLES = {"text": ("text",), "topic": ("text", "label"), "summary": ("source", "target")}
_SHORTEST = 60  # characters: fewer seldom tell what a module is about
_SHARES = {"test": 0.16, "validation": 0.10}  # of a topic's docstrings; the rest is train
_WINDOW = 6  # words in a row that make a passage
_OVERLAP = 1 / 3  # of a docstring's passages: with more of them in train, it is not held out any more
_WORD = re.compile(r"\w+")


class PythonDocs(Source):
    """Docstrings of the standard library and the language reference of the Python that runs this.

    name: ``text`` has a document per module (or page of the reference), for language models; ``topic`` has a docstring
    and the subject area of its module; ``summary`` has the body of a docstring as source and its first line as target.
    All are split by module, with one split for all, so nothing that they test on was read in pretraining; docstrings
    that repeat the training split's passages are dropped from the others.
    Rows depend on the Python version alone. They are extracted once and cached.
    """

    streaming = False

    def __init__(self, name: Literal["text", "topic", "summary"] = "text", clean: Clean | None = None):
        self.name, self.clean = name, clean
        self.columns = {role: role for role in _ROLES[name]}
        self.labels = sorted(TOPICS) if name == "topic" else None
        self._rows: dict[str, list[Row]] = {}

    def splits(self) -> list[str]:
        return list(SPLITS)

    def rows(self, split: str) -> Iterable[Row]:
        if split not in SPLITS:
            raise UserError(f"python_docs has no {split} split; it has {', '.join(SPLITS)}")
        if split not in self._rows:
            folder = Cache().get(_key(), _build)
            with open(folder / f"{self.name}.{split}.jsonl", encoding="utf-8") as file:
                raw = [json.loads(line) for line in file]
            where = f"python_docs {self.name} {split}"
            self._rows[split] = [roles(row, self.columns, self.clean, where) for row in raw]
        return self._rows[split]

    def fingerprint(self, split: str) -> str:
        content = [list(row.values()) for row in self.rows(split)]
        return Cache.key("python_docs", self.name, split, self.clean.as_dict() if self.clean else None, content)


def _key() -> str:
    """Python's version and build, and the code that makes the rows."""
    modules = (python_docs_extract, python_docs_summary, sys.modules[__name__])
    code = [hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest() for module in modules]
    return Cache.key("python_docs", sys.version, platform.system(), sysconfig.get_path("stdlib"), code)


def _build(folder: Path) -> None:
    for name, rows_of in make(extract()).items():
        for split, rows in rows_of.items():
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            (folder / f"{name}.{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def make(docstrings: list[Docstring]) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Set name -> split -> rows. Every row carries its ``module`` beside its texts and label."""
    docstrings = _without_repeats(docstrings)
    split_of = assign(docstrings)
    train = [doc for doc in docstrings if split_of[doc.module] == "train"]
    known = {passage for doc in train for passage in _passages(doc.text)}
    kept = train + [
        doc for doc in docstrings if split_of[doc.module] != "train" and _overlap(_passages(doc.text), known) < _OVERLAP
    ]
    text: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
    topic: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
    summary: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
    documents: dict[str, list[Docstring]] = defaultdict(list)
    for doc in kept:
        documents[doc.module].append(doc)
        label = topic_of(doc.module)
        if label and len(doc.text) >= _SHORTEST:
            topic[split_of[doc.module]].append({"text": doc.text, "label": label, "module": doc.module})
    for module, docs in documents.items():
        text[split_of[module]].append({"text": _document(module, docs), "module": module})
    for doc, body, line in summaries(kept):
        summary[split_of[doc.module]].append({"source": body, "target": line, "module": doc.module})
    return {"text": text, "topic": topic, "summary": summary}


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
    parts = []
    for doc in docs:
        heading = doc.signature or (f"module {module}" if not doc.name else doc.name)
        parts.append(f"{heading}\n\n{doc.text}")
    return "\n\n\n".join(parts) + "\n"


# A package stands for all that is in it; the longest name that fits decides. Modules of older Pythons are listed too:
# what a version lacks is left out. Modules that fit no area, or several, are left out on purpose.
TOPICS: dict[str, str] = {
    "internet": """http urllib socket ssl socketserver ftplib telnetlib xmlrpc wsgiref ipaddress cgi webbrowser asyncore
        asynchat netrc imaplib poplib smtplib smtpd nntplib email mailbox mimetypes mailcap""",
    "concurrency": """asyncio threading _threading_local multiprocessing concurrent queue sched subprocess selectors
        contextvars""",
    "files": """pathlib os shutil tempfile glob fnmatch ntpath posixpath genericpath tarfile zipfile gzip bz2 lzma
        _compression compression _pyio io fileinput stat filecmp dbm shelve linecache zipapp""",
    "numbers": "_pydecimal decimal fractions statistics random numbers colorsys",
    "testing": """unittest doctest pdb bdb trace timeit profile profiling cProfile pstats tracemalloc traceback logging
        warnings cgitb faulthandler""",
    "graphics": "tkinter turtle turtledemo curses idlelib",
    "packaging": """importlib distutils pkgutil zipimport runpy modulefinder venv ensurepip site sysconfig imp
        compileall py_compile""",
    "language": """inspect ast _ast_unparse annotationlib dis tokenize token symtable pyclbr pydoc code codeop keyword
        pickletools opcode lib2to3 enum typing types dataclasses abc functools contextlib""",
    "text": """re sre_compile sre_parse string textwrap difflib codecs locale gettext shlex pprint argparse optparse cmd
        getopt stringprep xml html json csv plistlib configparser tomllib _markupbase""",
}
_AREA = {module: topic for topic, modules in TOPICS.items() for module in modules.split()}


def topic_of(module: str) -> str | None:
    """``asyncio.streams`` -> ``concurrency``; None where the table has no area for it."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if topic := _AREA.get(".".join(parts[:end])):
            return topic
    return None
