"""Names of Python in its own documentation: modules, classes, functions, exceptions and constants, tagged in BIO by code.

A name is what the sources of the library, or the interpreter's builtins, define. A word of a text is tagged where the text
writes it as a name: dotted, called, quoted, in a role such as :class:`list`, beside a word that says what it is ("the open
function"), or spelled as no English word is (``OSError``, ``is_dir``, ``O_RDONLY``). So ``list`` in "a list of names" is no
entity, and in "a `list`" it is one.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from groundup.data.roles import Row
from groundup.data.sources.library import MANUAL, Docstring, docstrings_of, sources
from groundup.data.sources.python_docs import PythonDocs, held_apart
from groundup.data.sources.source import SPLITS, Generated
from groundup.text.clean import Clean
from groundup.text.words import word_spans

Kinds = Mapping[str, str]  # name -> what it is
_SAID = {
    "module": "module", "package": "module", "class": "class", "object": "class", "type": "class", "function": "function",
    "method": "function", "exception": "exception", "constant": "constant", "flag": "constant",
}  # fmt: skip
_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_ENGLISH = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|I")  # how English words, names and abbreviations are written
_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]+")
_EXCEPTION = re.compile(r"\w+(?:Error|Exception|Warning|Interrupt|Exit)")
_SURE = 100  # definitions of a namesake that a module's own name outweighs
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])|\s*\n\s*\n\s*")
_LENGTHS = range(4, 61)  # words of a sentence


class PythonDocsEntities(Generated):
    """Sentences of docstrings as ``tokens`` with ``tags``. Split by module as the other sets of ``python_docs`` are; no
    sentence stands twice."""

    def __init__(self, clean: Clean | None = None) -> None:
        super().__init__("entities", clean)
        self.columns = {"tokens": "tokens", "tags": "tags"}

    def key(self) -> Any:
        return PythonDocs().key()

    def make(self) -> dict[str, dict[str, list[Row]]]:
        docstrings: list[Docstring] = []
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for module, tree in sources():
            docstrings += docstrings_of(module, tree)
            count_names(found, module, tree)
        return {"entities": make(docstrings, kinds_of(found))}


def make(docstrings: list[Docstring], names: Kinds) -> dict[str, list[Row]]:
    """Split -> rows. Every row carries its ``module``."""
    kept, split_of = held_apart(docstrings)
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    known: set[str] = set()
    for doc in kept:
        for tokens, tags in () if doc.module.startswith(MANUAL) else tagged_sentences(doc.text, names):
            if (content := " ".join(tokens)) not in known:
                known.add(content)
                rows[split_of[doc.module]].append({"tokens": tokens, "tags": tags, "module": doc.module})
    return rows


def count_names(found: defaultdict[str, Counter[str]], module: str, tree: ast.Module) -> None:
    """Counts what each name that a module defines is, with the module's name before it and without."""
    if not any(part.startswith("_") for part in module.split(".")):
        found[module]["module"] += _SURE
    for name, kind in _defined(tree, ""):
        for spelled in {
            name,
            name.rpartition(".")[2],
            f"{module.removeprefix('_py')}.{name}",
        }:  # _pydatetime is datetime
            found[spelled][kind] += 1


def kinds_of(found: Mapping[str, Counter[str]]) -> dict[str, str]:
    """Name -> module, class, function, exception or constant. Of a name that is several things the commonest counts, and
    builtins before all."""
    kinds = {name: max(counts, key=lambda kind: (counts[kind], kind)) for name, counts in found.items()}
    for name, value in vars(builtins).items():
        if isinstance(value, type):
            kinds[name] = "exception" if issubclass(value, BaseException) else "class"
        elif callable(value) and not name.startswith("_"):
            kinds[name] = "function"
    return kinds


def _defined(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            bases = [ast.unparse(base) for base in child.bases]
            failure = any(_EXCEPTION.fullmatch(base.rpartition(".")[2]) for base in bases)
            yield f"{prefix}{child.name}", "exception" if failure else "class"
            yield from _defined(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}", "function"
        elif isinstance(child, ast.Assign):
            names = [target.id for target in child.targets if isinstance(target, ast.Name)]
            yield from ((f"{prefix}{name}", "constant") for name in names if _CONSTANT.fullmatch(name))
        elif isinstance(child, ast.If | ast.Try | ast.With):  # definitions that depend on the platform
            yield from _defined(child, prefix)


def tagged_sentences(text: str, names: Kinds) -> Iterator[tuple[list[str], list[str]]]:
    """Words and tags of the sentences of a docstring; code, tables and fragments are left out."""
    for sentence in _SENTENCE.split(text):
        line = " ".join(sentence.split())
        if ">>>" in sentence or "--" in line or not line[:1].isupper() or line[-1:] not in ".!?":
            continue
        spans = word_spans(line)
        if len(spans) not in _LENGTHS:
            continue
        yield [line[begin:end] for begin, end in spans], tags_of(line, spans, names)


def tags_of(line: str, spans: list[tuple[int, int]], names: Kinds) -> list[str]:
    """The tag of each word of a line."""
    tags = ["O"] * len(spans)
    for match in _NAME.finditer(line):
        if (kind := _kind(line, match, names)) is not None:
            inside = [
                place for place, (begin, end) in enumerate(spans) if match.start() <= begin and end <= match.end()
            ]
            for place in inside:
                tags[place] = f"{'B' if place == inside[0] else 'I'}-{kind}"
    return tags


def _kind(line: str, match: re.Match[str], names: Kinds) -> str | None:
    """What a name in a line names, or None where it is an English word."""
    name = match[0]
    last = name.rpartition(".")[2]
    kind = names.get(name) or (names.get(last) if "." in name else None)
    if kind is None:
        return None
    before, after = line[: match.start()], line[match.end() :]
    called, quoted = after.startswith("("), before[-1:] in "`'\"" and after[:1] in "`'\"" and before[-1:] != ""
    if called:
        return kind if kind in ("function", "class", "exception") else None
    if quoted or not _ENGLISH.fullmatch(name):
        return kind
    beside = [_SAID.get(word.lower()) for word in (*re.findall(r"(\w+) $", before), *re.findall(r"^ (\w+)", after))]
    return kind if kind in beside else None
