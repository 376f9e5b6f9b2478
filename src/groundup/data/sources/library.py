"""The documentation in the library of the Python that runs this: docstrings with their modules, and what area these are of."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from groundup.errors import UserError

# Folders that are no part of the documented library; site-packages is left out as its name is no identifier.
_NOT_LIBRARY = {"test", "tests", "idle_test", "__pycache__", "__phello__", "_vendor"}
MANUAL = "pydoc_data.topics"  # the language reference, page by page

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


@dataclass(frozen=True)
class Docstring:
    """One documented object, or one page of the language reference (``name`` is then its title).

    name: qualified name within the module, empty for the module itself. signature: as in ``def read(self, n=-1)``.
    """

    module: str
    name: str
    signature: str
    text: str


def extract() -> list[Docstring]:
    """All docstrings in the order of files and lines. Raises UserError when this Python came without its sources."""
    return [doc for module, tree in sources() for doc in docstrings_of(module, tree)]


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the library by their names, in order: parsed, never imported.

    Raises UserError when this Python came without the sources of its library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name.isidentifier() and name not in _NOT_LIBRARY]
        for name in files:
            path = Path(folder, name)
            if path.suffix == ".py" and path.stem.isidentifier():
                paths.append(path)
    if not paths:
        raise UserError(f"no Python sources in {root}: data=python_docs needs them; try data=files data.train=FILE")
    for path in sorted(paths, key=lambda path: path.relative_to(root).parts):
        parts = path.relative_to(root).with_suffix("").parts
        with contextlib.suppress(SyntaxError, ValueError, OSError):  # a template, or a file in an older Python
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in other people's docstrings
                tree = ast.parse(path.read_bytes())
            yield ".".join(parts).removesuffix(".__init__"), tree


def docstrings_of(module: str, tree: ast.Module) -> Iterator[Docstring]:
    """The docstrings of a module, or the pages of the reference."""
    yield from _pages(tree) if module == MANUAL else _walk(tree, module, "")


def _walk(node: ast.AST, module: str, prefix: str) -> Iterator[Docstring]:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and (text := ast.get_docstring(node)):  # type: ignore[arg-type]
        yield Docstring(module, prefix, _signature(node, prefix), text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _walk(child, module, f"{prefix}.{child.name}" if prefix else child.name)
        elif isinstance(child, (ast.If, ast.Try, ast.With)):  # definitions that depend on the platform
            yield from _walk(child, module, prefix)


def _signature(node: ast.AST, name: str) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {name}({bases})" if bases else f"class {name}"
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return f"def {name}({ast.unparse(node.args)})"
    return ""


def _pages(tree: ast.Module) -> Iterator[Docstring]:
    """The dict literal ``topics = {title: text}``."""
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            for title, text in ast.literal_eval(node.value).items():
                yield Docstring(f"{MANUAL}.{title}", title, "", inspect.cleandoc(text))
