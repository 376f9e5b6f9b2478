"""The steps of a pipeline: composed as data, with references to each other, and a check of them all.

A pipeline that is resumed may come from anyone. So a step has a plain name, stays below the pipeline's folder, and says
by its overrides what it does, never where or by what code (see ``inert``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundup.config.compose import compose_with_choices
from groundup.config.quoting import inert
from groundup.config.tree import Config
from groundup.errors import UserError

NAME = re.compile(r"\w[\w-]*")
LEARNERS = ("finetune", "distill", "baseline")  # stages that learn from labelled rows
BUDGET = re.compile(r"budget[.=]")
REFERENCE = re.compile(r"\{([\w-]+)\}")  # {name} of an earlier step; {key: value} is left to Hydra


@dataclass(frozen=True)
class Step:
    """One step, ready to run in ``folder``.

    ``label``: of its row in the table and of its line in the learning curve; None: it only prepares for others.
    ``labelled``: how many rows it learns from, or what it uses; None: all there are. ``uses``: folders that it refers to.
    """

    stage: str
    folder: Path
    overrides: list[str]
    config: Config
    choices: dict[str, str | None]
    label: str | None
    labelled: int | None
    uses: tuple[Path, ...]


def changed(steps: Mapping[str, Mapping], overrides: Sequence[str]) -> dict[str, dict]:
    """The steps with ``STEP.KEY=VALUE`` or, for all steps of a stage, ``STAGE.KEY=VALUE`` after their own overrides.

    ``KEY=VALUE`` alone is for all steps that read the key; data is not for those that take it from other runs.

    Raises:
        UserError: there is no such step or stage, and no step reads such a key.
    """
    from groundup.config.files import conf_dir

    new = {str(name): dict(node) for name, node in steps.items()}
    for name, node in new.items():
        if not isinstance(own := node.get("overrides") or [], list):
            raise UserError(f"step {name}: overrides is a list of texts, as in [model.dropout=0.2]")
        node["overrides"] = list(own)
    for override in overrides:
        sign, owner, rest = re.fullmatch(r"([+~]*)([^.=]*)\.?(.*)", override, re.DOTALL).groups()  # type: ignore[union-attr]
        named = "=" in rest and not rest.startswith("=")  # STEP.KEY=VALUE, and not KEY=a.b
        named = named and override.lstrip("+~").startswith(f"{owner}.")
        chosen = [new[owner]] if owner in new else [node for node in new.values() if node.get("stage") == owner]
        if not (chosen and named):
            chosen = [node for node in new.values() if reads(str(node.get("stage")), owner, conf_dir())]
            sign, rest = "", override
        if not chosen:
            names = ", ".join(dict.fromkeys([*new, *(str(node.get("stage")) for node in new.values())]))
            raise UserError(
                f"{override}: no step reads '{owner}'. A step's key is written STEP.KEY=VALUE, and STEP is one of {names}"
            )
        key = rest.lstrip("+~").partition("=")[0]
        for node in chosen:
            if BUDGET.match(rest):  # a budget has one unit
                node["overrides"] = [one for one in node["overrides"] if not BUDGET.match(one)]
            node["overrides"] = [one for one in node["overrides"] if one.lstrip("+~").partition("=")[0] != key]
            node["overrides"].append(sign + rest)
    return new


def reads(stage: str, key: str, folder: Path) -> bool:
    """Whether a stage has the root key ``key``, as a value of its own and not as that of a run that it is given."""
    from groundup.config.files import stage_keys

    known = stage_keys(folder, stage)
    return key in known and not (key == "data" and known & {"run", "members"})


def compose_steps(steps: Mapping[str, Mapping], pipeline: Path, paths: Mapping) -> dict[str, Step]:
    """Every step by its name, in their order.

    Args:
        pipeline: the folder of the whole; each step has one of its own in it.
        paths: where runs and cached data are, for all steps.

    Raises:
        UserError: there is none, or one cannot be composed.
    """
    if not steps:
        raise UserError("a pipeline needs steps. Try groundup pipeline experiment=demo")
    composed: dict[str, Step] = {}
    for name, node in steps.items():
        if not NAME.fullmatch(str(name)):
            raise UserError(f"step {name}: a step is named by letters, digits, - and _, as its folder")
        composed[name] = compose_step(str(name), node, pipeline, paths, composed)
    return composed


def at_sizes(
    steps: Mapping[str, Mapping], own: Mapping[str, Step], sizes: Sequence[int | str], pipeline: Path, paths: Mapping
) -> dict[str, Step]:
    """For each number of labelled rows, or ``all``, the steps that learn from labels and those that use them, once more.

    Named ``labelled_SIZE/STEP``, as their folders; without those that learn from so many anyway. ``own``: the ``steps``,
    composed.

    Raises UserError as ``compose_steps``, and where no step learns from labels.
    """
    if sizes and not any(step.stage in LEARNERS for step in own.values()):
        raise UserError(f"learning_curve: no step learns from labels, none is of {' or '.join(LEARNERS)}. Leave it out")
    found: dict[str, Step] = {}
    for size in sizes:
        rows = None if size == "all" else size
        known = dict(own)  # of this size, as far as there are any
        for name, node in steps.items():
            words = list(node.get("overrides") or [])
            if own[name].stage in LEARNERS and own[name].labelled != rows:
                words.append(f"data.labelled={'null' if rows is None else rows}")
            elif all(known[other] is own[other] for other in references(words)):
                continue
            there = f"labelled_{size}/{name}"
            found[there] = known[name] = compose_step(there, {**node, "overrides": words}, pipeline, paths, known)
    return found


def compose_step(name: str, node: Mapping, pipeline: Path, paths: Mapping, earlier: Mapping[str, Step]) -> Step:
    """Raises UserError, which names the step."""
    try:
        return _compose_step(name, node, pipeline, paths, earlier)
    except UserError as error:
        raise UserError(f"step {name}: {error}") from None


def _compose_step(name: str, node: Mapping, pipeline: Path, paths: Mapping, earlier: Mapping[str, Step]) -> Step:
    from groundup.config.files import STAGES

    stage, overrides, folder = node.get("stage"), node.get("overrides") or [], pipeline / name
    if stage not in STAGES or stage == "resume":
        stages = ", ".join(stage for stage in STAGES if stage != "resume")
        raise UserError(f"stage={stage} is no stage of a pipeline. Choose one of: {stages}")
    if not (isinstance(overrides, list) and all(isinstance(override, str) for override in overrides)):
        raise UserError("overrides is a list of texts, as in [model.dropout=0.2]")
    used = references(overrides)
    if strange := sorted(set(used).difference(earlier)):
        names = ", ".join(f"{{{other}}}" for other in earlier) or "none"
        raise UserError(f"{{{strange[0]}}} is no earlier step. Earlier steps: {names}")
    filled = [REFERENCE.sub(lambda found: str(earlier[found[1]].folder), override) for override in overrides]
    config, choices = compose_with_choices(stage, inert(filled))
    if config.get("output"):
        config.output = str(inside(folder, Path(config.output), pipeline))
    config.paths = paths
    rows = [config.at("data.labelled")] if stage in LEARNERS else [earlier[other].labelled for other in used]
    uses = tuple(earlier[other].folder for other in used)
    return Step(stage, folder, filled, config, choices, node.get("label"), next(iter(rows), None), uses)


def references(overrides: Sequence[str]) -> list[str]:
    """Names of the steps whose folders stand in ``overrides``."""
    return list(dict.fromkeys(name for override in overrides for name in REFERENCE.findall(override)))


def inside(step: Path, output: Path, pipeline: Path) -> Path:
    """Where a step writes ``output``: below the pipeline's folder as it says, or else below the step's own.

    Raises UserError for any other place.
    """
    whole = Path(os.path.abspath(pipeline))
    for path in (output, step / output):
        if whole in Path(os.path.abspath(path)).parents:
            return path
    raise UserError(f"output={output}: a step writes into the pipeline's folder. Try output={output.name}")
