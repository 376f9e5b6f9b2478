"""``groundup pipeline``: named stages in order, each in a folder of its own, and one table at the end."""

from __future__ import annotations

import logging
import time

from groundup.config.tree import Config
from groundup.jobs.resume import complete
from groundup.jobs.steps import changed, compose_steps
from groundup.report.table import show_table
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.system.files import write_text

log = logging.getLogger(__name__)
SPENT = 0.8  # share of the time left that is trained; the rest is for loading, scoring and what comes after


def run(cfg: Config, job: Job) -> None:
    """Runs each step that is not done yet; an interrupted training step goes on where it stopped."""
    steps = compose_steps(changed(cfg.steps, cfg.get("overrides") or []), job.folder.path, cfg.paths)
    minutes = (cfg.get("budget") or {}).get("minutes")
    begun = time.monotonic() - (job.folder.status().get("seconds") or 0)
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
    conclude(cfg, job, {name: RunFolder(step.folder) for name, step in steps.items()})


def conclude(cfg: Config, job: Job, folders: dict[str, RunFolder]) -> None:
    """One table of all steps that have results, baselines first, printed and written to the folder."""
    rows: dict[str, dict] = {}
    for folder in folders.values():
        rows |= folder.read_json("baselines.json", {})
    for name, step in cfg.steps.items():
        if "label" in step:  # steps without one only prepare for others
            rows[step["label"]] = folders[name].read_json("metrics.json", {})
    job.folder.write_json("results.json", rows)
    write_text(job.folder.path / "results.md", show_table(rows, list(cfg.metrics)))
