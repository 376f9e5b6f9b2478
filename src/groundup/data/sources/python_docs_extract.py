"""The documentation that every Python carries: docstrings of the standard library, and the pages of ``help()``."""

from __future__ import annotations

import ast
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
    """All docstrings in the order of files and lines. Sources are parsed, never imported.

    Raises UserError when this Python came without the sources of its library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found: list[Docstring] = []
    paths: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name.isidentifier() and name not in _NOT_LIBRARY]
        for name in files:
            path = Path(folder, name)
            if path.suffix == ".py" and path.stem.isidentifier():
                paths.append(path)
    for path in sorted(paths, key=lambda path: path.relative_to(root).parts):
        parts = path.relative_to(root).with_suffix("").parts
        found += _of_file(path, ".".join(parts).removesuffix(".__init__"))
    if not found:
        raise UserError(f"no Python sources in {root}: data=python_docs needs them; try data=files data.train=FILE")
    return found


def _of_file(path: Path, module: str) -> Iterator[Docstring]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's docstrings
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # a template, or a file in an older Python
        return
    if module == MANUAL:
        yield from _pages(tree)
    else:
        yield from _walk(tree, module, "")


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
