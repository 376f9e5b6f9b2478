"""A look at the files that a user names, before anything heavy is imported: are they there, what is in which column?"""

from __future__ import annotations

import ast
import filecmp
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup.config.signatures import options_of
from groundup.data.reading import FOLDER, Reading, format_of, read
from groundup.data.roles import ROLES, check_columns, kind_of, other_tasks, plain_name
from groundup.data.rows import in_row, second_column, usual_column
from groundup.data.sources.few_labels import FewLabels
from groundup.data.sources.files import FILES, UNLABELLED, Files, with_other_files
from groundup.data.sources.source import SPLITS
from groundup.errors import UserError

READING = ("encoding", "delimiter", "columns")
_PACKAGE = Path(__file__).parents[1]
_HEADING = re.compile(r"[^\W\d]\w*([ _-]\w+){0,2}")  # what a column may be called: three words at most
_LONG = 32  # characters of a name that is none, but a text
_NAMED = 6  # names in a hint, at most
_SECONDS = 0.7  # for reading rows: small files to their end
_COMPARED = 1 << 26  # bytes of files that are compared, at most


def check_data(plain: Mapping[str, Any], stage: str, run: Mapping[str, Any] | None = None) -> list[str]:
    """What to tell of the files that a configuration names; columns that were left open are filled in (in ``plain``).

    run: the configuration of the run that is to be used.

    Raises:
        UserError: a file that is missing, in another encoding or broken, a column that is not there, as far as rows can
            be read in less than a second.
    """
    run = run or {}
    if stage == "predict":
        return _check_input(plain, run)
    data = plain.get("data") or {}
    of_run = run.get("data") or {}
    of_run = of_run if of_run.get("_target_") == FILES else {}
    node = data
    if "_target_" not in data:  # of the run, but for what is named
        given = {name: value for name, value in data.items() if value is not None}
        node = with_other_files(of_run, given) if of_run and given.keys() & {*SPLITS} else {}
    if node.get("_target_") != FILES:
        return []
    source = _opened(node)
    for path in source.paths(UNLABELLED) if node is data else ():
        next(read(path, replace(source.reading, txt="line")))
    if not source.files:
        return []
    wanted = columns_of_task(((plain if "task" in plain else run).get("task") or {}).get("_target_", ""))
    named = [role for role in ROLES if node.get(role) is not None]
    if (kind := kind_of(named)) and wanted[0] not in kind:  # else what is missing may yet be found
        check_columns(wanted, named)
    first = next(iter(source.files))
    path = source.paths(first)[0]
    _, row = next(read(path, replace(source.reading, txt="line")))
    if source.reading.is_document(path) and (node.get("label") == FOLDER or _in_folders(source.paths(first))):
        row = {**row, FOLDER: path.parent.name}
    found = _find(node, wanted, row, path, of_run)
    told = [f"{path}: " + ", ".join(f"{role} from column '{column}'" for role, column in found.items())]
    if node is data and found:
        data.update(found)
        source = _opened(node)
    until = time.monotonic() + _SECONDS
    held_out = ["validation"] if source.validation_share and {*source.files} == {"train"} and not source.hub else []
    for split in [*source.files, *held_out]:
        _look(source, split, until)
    return (told if found not in ({}, {"text": "text"}) else []) + list(_shared(source))


def _in_folders(paths: Iterable[Path]) -> bool:
    return len({path.parent for path in paths}) > 1


def columns_of_task(target: str) -> tuple[str, ...]:
    """The roles that a task learns from: ``columns`` of its class or of the nearest class above it, by default a text.

    Files of ``groundup.tasks`` are parsed, never imported: they import torch.
    """
    module, _, name = target.rpartition(".")
    file = _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    if not re.fullmatch(r"groundup\.tasks\.\w+", module) or not file.is_file():
        return ("text",)
    body = ast.parse(file.read_bytes()).body
    found = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)
    for line in found.body if found else ():
        if isinstance(line, ast.Assign | ast.AnnAssign) and line.value:
            names = line.targets if isinstance(line, ast.Assign) else [line.target]
            if [ast.unparse(one) for one in names] == ["columns"]:
                return tuple(ast.literal_eval(line.value))
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    homes = {alias.asname or alias.name: str(node.module) for node in imports for alias in node.names}
    bases = [ast.unparse(base) for base in found.bases] if found else []
    return next((columns_of_task(f"{homes.get(base, module)}.{base}") for base in bases), ("text",))


def _opened(node: Mapping[str, Any]) -> Files:
    """The source, which keeps to itself what the run will tell."""
    apart = {"_target_", "clean", *options_of(FewLabels, Files)}
    source = Files(**{name: value for name, value in node.items() if name not in apart})
    source.told.update(("share", *SPLITS))
    return source


def _check_input(plain: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    own = run.get("data") or {}
    path = Path(plain["input"])
    try:
        Reading("line", *(plain[name] for name in READING)).refuse_idle([plain["input"]])
        next(read(path, Reading("line", *(plain[name] or own.get(name) for name in READING))))
    except UserError as error:
        raise for_predict(error) from error
    return []


def for_predict(error: UserError) -> UserError:
    """The error with options as ``groundup predict`` has them: ``encoding=`` for ``data.encoding=``."""
    return UserError(re.sub(rf"\bdata\.(?=({'|'.join((*ROLES, *READING))})\b)", "", str(error)))


def _find(
    node: Mapping[str, Any], wanted: Sequence[str], row: Mapping[str, Any], path: Path, of_run: Mapping[str, Any]
) -> dict[str, str]:
    """Role -> column, for those of the ``wanted`` roles that were left open.

    Raises UserError: a column that was named is not there; no column, or several, could be meant.
    """
    named = {role: str(node[role]) for role in ROLES if node.get(role) is not None}
    found: dict[str, str] = {}
    try:
        for role, column in named.items():
            if role != "references":
                in_row(row, role, column, str(path), named.values())
        for role in wanted:
            if role in named or (role == "text" and named.keys() & {"source", "tokens", "context"}):
                continue  # a language model also reads both sides of pairs, tokens, and what is asked about
            if [*wanted] == ["text"] and format_of(path).COLUMNS[:1] == ("tokens",):
                role = "tokens"
            taken = [*named.values(), *found.values()]
            found[role] = usual_column(role, row, str(path), str(of_run.get(role) or role), taken)
            second = second_column(found[role], row) if role == "text" and len(wanted) > 1 else None
            if second is not None and second not in taken:
                found["text_pair"] = second
    except UserError as error:
        strange = sorted(role for role in named.keys() - wanted if ROLES[role].task)
        roles = [name for name in format_of(path).COLUMNS if name in row and name in ROLES]
        if not named and (other := other_tasks(wanted, roles)):
            said = str(error).partition("; try ")[0]
            raise UserError(f"{said}. Try {other.removeprefix(', or ')}") from error
        if not strange and "columns" in format_of(path).OPTIONS and not node.get("columns"):
            usual = {name for role in wanted for name in ROLES[role].usual.split()}
            known = [name for name in row if name in named.values() or plain_name(name) in usual]
            raise _without_header(error, wanted, row, known) from error
        told = "".join(f". data.{role} is for task={ROLES[role].task}" for role in strange)
        if len(strange) == 1 and ROLES[wanted[-1]].task and wanted[-1] not in named:
            told += f". Try data.{wanted[-1]}={named[strange[0]]}"
        raise UserError(f"{error}{told}") from error
    return found


def _without_header(
    error: UserError, wanted: Sequence[str], row: Mapping[str, Any], known: Collection[str]
) -> UserError:
    """The error, with a hint where the first row of a table may be no header: none of its names is known, or fit to be one."""
    odd = not all(_HEADING.fullmatch(name) for name in row)
    if len(row) < len(wanted) or (known and not odd) or any(ROLES[role].many for role in wanted):
        return error
    names = [*wanted, *(f"column{number}" for number in range(len(wanted) + 1, len(row) + 1))]
    said = str(error).partition("; try ")[0] if any(len(name) > _LONG for name in row) else str(error)
    return UserError(
        f"{said}. No header? data.columns=[{','.join(names[:_NAMED])}{',...' if len(names) > _NAMED else ''}]"
    )


def _look(source: Files, split: str, until: float) -> None:
    """Reads rows of a split as training will, until the time is over. A document is looked at line by line."""
    files = source.paths(split if split in source.files else "train")
    lines = replace(source.reading, txt="line")
    for path in files if len(files) > 1 else ():  # the head of each before the rest of the first
        next(read(path, lines))
        if time.monotonic() > until:
            return
    rows: Iterable[Any] = source.read(split)
    if not source.streaming and any(map(source.reading.is_document, files)):
        rows = (row for path in files for row in read(path, lines))
    for _ in rows:
        if time.monotonic() > until:
            return


def _shared(source: Files) -> Iterator[str]:
    """Files of train that stand in another split, too, by name or by content."""
    train = source.paths("train") if "train" in source.files else []
    for split in source.files:
        for path in source.paths(split) if split != "train" else ():
            if any(_are_same(path, other) for other in train):
                yield f"{path} is {split} and train: figures will be better than they are for other texts"


def _are_same(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    size = one.stat().st_size
    return size == other.stat().st_size and size <= _COMPARED and filecmp.cmp(one, other, shallow=False)
