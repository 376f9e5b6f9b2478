"""What stands on what: rooms on floors, no circles, and objects that nobody changes from outside."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import groundup

PACKAGE = Path(groundup.__file__).parent
# From the bottom. A room imports from rooms on lower floors, and from itself; docs/architecture.md draws them.
FLOORS = (
    ("errors", "ranges"),
    ("system",),
    ("config", "models", "text"),
    ("data", "decoding", "exchange", "metrics"),
    ("baselines", "runs"),
    ("tasks",),
    ("training",),
    ("report",),
    ("stages",),
    ("jobs", "serving"),
    ("cli", "__main__"),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# Objects that are complete when their constructor returns, by the names that the code gives them.
COMPLETE = {"task", "_task", "data", "datamodule", "batches", "source", "examples", "loaded", "run", "job"}


@cache
def modules() -> dict[str, Path]:
    """Dotted name without ``groundup.`` -> file; a package is its ``__init__``."""
    names = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of ours that a module imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "groundup":
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    names = {name.removeprefix("groundup.") for name in found if name.startswith("groundup.")}
    return frozenset(names & modules().keys() - {module, ""})


def test_every_room_has_a_floor():
    rooms = {name.split(".")[0] for name in modules() if name}
    assert rooms == LEVEL.keys()


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_imports_go_downwards(module):
    room = module.split(".")[0]
    upwards = [
        other
        for other in imports(module)
        if (below := other.split(".")[0]) != room
        and LEVEL[below] >= LEVEL[room]
        and (room, below) != ("__main__", "cli")
    ]
    assert upwards == []


def test_no_files_import_each_other_in_a_circle():
    graph = {name: {other for other in imports(name) if modules()[other].name != "__init__.py"} for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_nothing_is_put_into_a_finished_object(module):
    found = []
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        flat = [one for target in targets for one in getattr(target, "elts", [target])]
        for target in flat:
            if not isinstance(target, ast.Attribute):
                continue
            owner = target.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name in COMPLETE:
                found.append(f"line {node.lineno}: {ast.unparse(target)}")
    assert found == []


def test_constructors_speak_of_their_own_arguments():
    """Where they stand in a configuration, ``config.build`` adds (see ``errors.ArgumentError``); models know none at all."""
    found = []
    for name, file in modules().items():
        room = name.split(".")[0]
        if room not in ("models", "decoding", "tasks"):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parts = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        for raised in (node for part in ([tree] if room == "models" else parts) for node in ast.walk(part)):
            if isinstance(raised, ast.Raise):
                texts = [node.value for node in ast.walk(raised) if isinstance(node, ast.Constant)]
                found += [text for text in texts if re.search(r"\b(model|task|decoding)\.[a-z]", str(text))]
    assert [text for text in found if "groundup." not in text] == []


def test_no_constructor_takes_what_it_does_not_use():
    """A key of a configuration is an argument of a constructor: it must not be accepted in vain."""
    found = []
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__" and not node.decorator_list:
                taken = {argument.arg for argument in (*node.args.args[1:], *node.args.kwonlyargs)}
                used = {part.id for line in node.body for part in ast.walk(line) if isinstance(part, ast.Name)}
                found += [f"{name}, line {node.lineno}: {argument}" for argument in taken - used]
    assert found == []
