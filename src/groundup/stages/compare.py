"""``groundup compare``: the metrics of several runs, paired tests against the first, and what they differ in."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate, base_name
from groundup.report.comparison import FORMATS, Comparison, in_format, write_page
from groundup.report.table import estimates
from groundup.runs.differences import differences
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.systems import Answered, System, answers, find_systems
from groundup.stages.build import task_class
from groundup.stages.duel import duel
from groundup.system.files import write_text
from groundup.tasks.base import Task

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> None:
    """Prints the comparison in ``format``, and writes it to ``output`` in that of its suffix. No model is loaded."""
    if cfg.format == "html":
        raise UserError("format=html is written to a file. Try output=compare.html")
    systems = find_systems(cfg.runs, Path(cfg.paths.logs))
    kinds = {system.name: task_of(system.runs[0]) for system in systems}
    first = systems[0].name
    for name, kind in kinds.items():
        if kind is not kinds[first]:
            raise UserError(
                f"{name} is of {kind.__name__}, {first} of {kinds[first].__name__}: compare runs of one task"
            )
    split = shared_split(systems, cfg.split)
    without = not_comparable(systems, kinds[first])
    known = {
        system.name: {
            name: one for name, one in mean_estimates(system, split).items() if base_name(name) not in without
        }
        for system in systems
    }
    baselines = systems[0].runs[0].read_json("baselines.json", {})
    below = {name: _of_split(estimates(found), split) for name, found in baselines.items() if name not in known}
    comparison = Comparison(
        split,
        {**{name: one for name, one in below.items() if one}, **known},
        first,
        kinds[first].columns,
        differs=differences(systems, Path(cfg.paths.logs)),
    )
    if any(run.predictions.is_file() for system in systems for run in system.runs):
        parts, rows = answers(systems, split, kinds[first].columns)
        comparison.rows = rows
        for system in systems[1:]:
            comparison.duels[system.name] = duel(kinds[first], parts[system.name], parts[first], rows, without)
        tell_unknown(parts)
    else:
        log.info("no tests: these runs of %s keep no predictions", kinds[first].__name__)
    if without:
        left = ", ".join(str(metric) for metric in kinds[first].reports if metric.name not in without)
        log.info("the runs have different tokenizers: they are compared in %s alone", left)
    print(in_format(comparison, cfg.format, cfg.metrics))
    if cfg.output:
        output = Path(cfg.output)
        if output.suffix == ".html":
            write_page(
                output,
                comparison,
                {system.name: [os.path.relpath(run.path) for run in system.runs] for system in systems},
            )
        else:
            write_text(output, in_format(comparison, FORMATS[output.suffix], cfg.metrics) + "\n")
        log.info("%s", output)


def task_of(folder: RunFolder) -> type[Task]:
    """The class of the task that wrote the folder's predictions. Raises UserError where nothing says it."""
    named = folder.status().get("task") or (folder.read_config().get("task") or {}).get("_target_")
    if named is None:
        raise UserError(
            f"{folder.path} does not say which task it is of. Try groundup evaluate run=RUN, and compare its folder"
        )
    return task_class(Config({"task": {"_target_": named}}))


def not_comparable(systems: Sequence[System], kind: type[Task]) -> set[str]:
    """Names of the figures that depend on the tokenizer, where the runs have different ones.

    Raises UserError where no figure is left.
    """
    runs = [run for system in systems for run in system.runs]
    tokenizers = {str(told) for run in runs if (told := run.read_json("provenance.json", {}).get("tokenizer"))}
    if len(tokenizers) < 2 or not kind.per_token:
        return set()
    if {*kind.reports} <= {*kind.per_token}:
        raise UserError(
            f"the runs have different tokenizers, and all figures of {kind.__name__} are per token. "
            "Train them with one: tokenizer.path=RUN/tokenizer.json"
        )
    return {metric.name for metric in kind.per_token}


def tell_unknown(parts: Mapping[str, Sequence[Answered]]) -> None:
    """Warns of language models that read a part of the text as <unk>, which is cheap to predict and says less."""
    for name, answered in parts.items():
        told = [row.get("unknown") for one in answered for row in one.rows]
        if strange := sum(count for count in told if isinstance(count, int)):
            log.warning("%s reads %s of its tokens as <unk>, so its figures are too good", name, f"{strange:,}")


def shared_split(systems: Sequence[System], wanted: str | None) -> str:
    """The split that all runs have figures of: ``wanted``, or test before validation. Raises UserError for none."""
    runs = [run for system in systems for run in system.runs]
    there = [{name.partition("/")[0] for name in run.read_json("metrics.json", {})} for run in runs]
    for split in [wanted] if wanted else ["test", "validation"]:
        if all(split in splits for splits in there):
            return split
    split = wanted or "test"
    lacking = next(run for run, splits in zip(runs, there, strict=True) if split not in splits)
    raise UserError(
        f"{lacking.path} has no figures of {split}. Try groundup evaluate run={lacking.path} split={split}, and compare its folder"
    )


def mean_estimates(system: System, split: str) -> dict[str, Estimate]:
    """Figures of a run, or the means of several with their sample standard deviation."""
    found = [_of_split(estimates(run.read_json("metrics.json", {})), split) for run in system.runs]
    if len(found) == 1:
        return found[0]
    return {
        name: replace(one, value=fmean(values), low=None, high=None, deviation=stdev(values))
        for name, one in found[0].items()
        if len(values := [other[name].value for other in found if name in other]) == len(found)
    }


def _of_split(found: dict[str, Estimate], split: str) -> dict[str, Estimate]:
    return {name: one for name, one in found.items() if name.startswith(f"{split}/")}
