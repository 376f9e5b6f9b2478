"""``groundup VERB --help``: the verb's own YAML with its comments, and the choices, without importing Hydra."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

from groundup.config.files import WITHOUT_FOLDER, bases, experiment_stage, groups, left_empty

HIDDEN = ("hydra", "paths")


def manual(stage: str, what: str, folder: Path) -> str:
    """The help page of a verb."""
    file = folder / f"{stage}.yaml"
    if not file.is_file():
        return f"groundup {stage}: {what}\n{folder} has no {stage}.yaml"
    text = file.read_text(encoding="utf-8")
    parts = [f"groundup {stage}: {what}", *header(text)]
    if chosen := choices(text, folder, stage):
        parts += ["", "Choices, GROUP=NAME, the default first:", *chosen]
    shared = [line for base in bases(file) for line in body(base.read_text(encoding="utf-8"))]
    own = body(text)
    if shared:
        parts += ["", "Keys, KEY=VALUE (budget.steps=100):", *shared]
    if own:
        parts += ["", "Of these, set for this verb:" if shared else "Keys, KEY=VALUE:", *own]
    parts += [""]
    if stage not in WITHOUT_FOLDER and (launchers := groups(folder).get("hydra/launcher")):
        parts += [
            f"groundup {stage} -m KEY=A,B    a run for each value; launcher={'|'.join(launchers)} says who runs them"
        ]
    parts += [
        f"groundup {stage} --cfg job    shows every key, those of the choices too; --hydra-help lists the flags.",
    ]
    return "\n".join(parts)


def header(text: str) -> list[str]:
    """The comment that a file opens with."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").removeprefix(" "))
    return lines


def choices(text: str, folder: Path, stage: str) -> list[str]:
    """One entry for each group in the defaults list."""
    options = {group: names for group, names in groups(folder).items() if group not in left_empty(folder, stage)}
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    found = re.findall(r"^\s*-\s+(?:optional\s+)?([\w/]+)\s*:\s*\[?([\w/]+)", text, re.MULTILINE)
    found = [(group, default) for group, default in found if group.split("/")[0] not in HIDDEN and options.get(group)]
    column = 3 + max((len(group) for group, _ in found), default=0)  # where the names begin
    lines = []
    for group, default in found:
        first = f"({default[1:].replace('_', ' ')})" if default.startswith("_") else default
        names = [first, *(name for name in options[group] if name != default)]
        if group == "experiment":
            names = [name for name in names if experiment_stage(folder, name) in (None, stage)]
        head = f"  {group}".ljust(column)
        lines.append(textwrap.fill(", ".join(names), width, initial_indent=head, subsequent_indent=" " * column))
    return lines


def body(text: str) -> list[str]:
    """The keys of a file as they stand there, with their comments; not its defaults list."""
    text = re.sub(r"^defaults:\n(?:[ \t]+.*\n|-.*\n)*", "", text, flags=re.MULTILINE)
    return [f"  {line}" for line in text.splitlines() if line.strip() and not line.startswith("#")]
