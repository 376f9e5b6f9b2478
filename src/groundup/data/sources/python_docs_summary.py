"""Docstrings taken apart as PEP 257 wants them written: a summary line, an empty line, the body."""

from __future__ import annotations

import re
from collections.abc import Iterable

from groundup.data.sources.python_docs_extract import MANUAL, Docstring

_SUMMARY = range(3, 26)  # words: fewer name a thing and tell nothing, more are no summary
_BODY = 12  # words at least
_NEW = 8  # different words of the body at least that the summary does not have
_WORD = re.compile(r"\w+")
_LINE = re.compile(r"(?P<summary>[^\n]+)\n\s*\n(?P<body>.+)", re.DOTALL)
# Next best, where the empty line is missing or the sentence goes on to a second line: it ends in a full stop.
_SENTENCE = re.compile(r"(?P<summary>[^\n]+?(?:\n[^\n]+?)?\.)\n(?P<body>.+)", re.DOTALL)
_NO_SENTENCE = re.compile(r"^\W|^[\w.]+ ?\(|->|[:=]$|\S[|<>]\S|[.?!] [A-Z]")  # heading, signature, usage; or several


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


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
