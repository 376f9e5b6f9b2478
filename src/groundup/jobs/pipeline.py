"""``groundup pipeline``: named stages in order, each in a folder of its own, and one table at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.precheck import check_data
from groundup.data.sources.few_labels import FewLabels
from groundup.jobs.resume import complete
from groundup.jobs.steps import LEARNERS, Step, at_sizes, changed, compose_steps
from groundup.report.learning_curve import show_learning_curve
from groundup.report.pipeline_page import note
from groundup.report.table import estimates, main_metrics, results_as_markdown, show_table
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.system.files import write_text

log = logging.getLogger(__name__)
SPENT = 0.8  # share of the time left that is trained; the rest is for loading, scoring and what comes after


def run(cfg: Config, job: Job) -> None:
    """Runs each step that is not done yet; an interrupted training step goes on where it stopped."""
    nodes = changed(cfg.steps, cfg.get("overrides") or [])
    own = compose_steps(nodes, job.folder.path, cfg.paths)
    rows, sizes = sizes_there_are(cfg.get("learning_curve") or [], own)
    again = at_sizes(nodes, own, sizes, job.folder.path, cfg.paths)
    steps = own | again
    note(job.folder, {name: step.folder for name, step in steps.items()})
    minutes = (cfg.get("budget") or {}).get("minutes")
    begun = time.monotonic() - (job.folder.status().get("seconds") or 0)
    ran = set()
    for number, (name, step) in enumerate(steps.items(), 1):
        folder = RunFolder(step.folder)
        state = folder.status().get("state") if folder.status_file.exists() else None
        log.info("step %d of %d, %s: %s", number, len(steps), name, "done already" if state == "done" else step.stage)
        if state == "done":
            continue
        if minutes and "minutes_at_most" in step.config:  # what is left, shared by the steps that can be bounded
            left = minutes - (time.monotonic() - begun) / 60
            after = [other for other in list(steps.values())[number - 1 :] if "minutes_at_most" in other.config]
            step.config.minutes_at_most = max(left * SPENT / len(after), 0.1)
        complete(step.stage, step.config, folder, step.overrides, job.folder.path.name, step.choices)
        ran.add(name)
    labelled = [name for name, step in own.items() if step.label is not None]
    printed = len(labelled) == 1 and labelled[0] in ran and not (cfg.metrics or sizes)  # by that step itself, just now
    told = conclude(cfg, job, [*own.values()], quiet=printed)
    if sizes:
        told += "\n" + conclude_curve(cfg, job, [*own.values(), *again.values()], rows)
    write_text(job.folder.path / "results.md", told)


def sizes_there_are(sizes: Sequence[int | str], steps: Mapping[str, Step]) -> tuple[int, list[int | str]]:
    """How many labelled rows there are to learn from, and the sizes of the learning curve without those beyond it.

    Raises UserError where a step wants more rows than there are, or a size is less than a row for each class.
    """
    learners = {name: step for name, step in steps.items() if step.stage in LEARNERS}
    if not sizes or not learners:
        return 0, []
    first = next(iter(learners.values()))
    plain = {**first.config, "data": {**first.config.data, "labelled": None}}
    check_data(plain, first.stage)  # finds the columns with usual names
    source = instantiate(plain["data"], "data")
    rows = sum(1 for _ in source.rows("train"))
    small = [size for size in sizes if size == "all" or int(size) <= rows]
    if large := [str(size) for size in sizes if size not in small]:
        log.warning("learning_curve: there are only %s labelled rows, so %s is left out", f"{rows:,}", ", ".join(large))
    wanted = [step.labelled for step in learners.values()] + [size for size in small if size != "all"]
    for size in {min(numbers), max(numbers)} if (numbers := [int(size) for size in wanted if size]) else ():
        FewLabels(source, labelled=size).rows("train")
    return rows, small


def conclude(cfg: Config, job: Job, steps: Sequence[Step], quiet: bool = False) -> str:
    """One table of all steps that have results, baselines first, written to the folder and, unless ``quiet``, printed."""
    rows: dict[str, dict] = {}
    for step in steps:
        rows |= RunFolder(step.folder).read_json("baselines.json", {})
    for step in steps:
        if step.label is not None:
            rows[step.label] = RunFolder(step.folder).read_json("metrics.json", {})
    job.folder.write_json("results.json", rows)
    known = {label: estimates(results) for label, results in rows.items()}
    metrics = list(cfg.metrics) or main_metrics(known)
    if not quiet:
        show_table(known, metrics)
    return results_as_markdown(known, metrics)


def conclude_curve(cfg: Config, job: Job, steps: Sequence[Step], rows: int) -> str:
    """The first metric over the number of labelled rows, a line for each label, printed and written to the folder."""
    systems: dict[str, dict[int, dict]] = {}
    for step in steps:
        if step.label is not None:
            figures = RunFolder(step.folder).read_json("metrics.json", {})
            systems.setdefault(step.label, {})[step.labelled or rows] = figures
    section, told = show_learning_curve(systems, next(iter(cfg.metrics), None))
    job.folder.write_json("sections.json", [section])
    return told
