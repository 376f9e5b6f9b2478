"""``groundup pipeline``: named stages in order, each in a folder of its own, and one table at the end."""

from __future__ import annotations

import logging

from groundup.config.compose import compose_with_choices
from groundup.config.job import Job, run_job
from groundup.config.steps import fill
from groundup.config.tree import Config
from groundup.runs.atomic import write_text
from groundup.runs.folder import RunFolder
from groundup.runs.table import show_table
from groundup.stages.resume import resume_folder
from groundup.stages.training import was_saved

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> None:
    """Runs each step that is not done yet; an interrupted training step goes on where it stopped."""
    steps = cfg.steps
    folders = {name: RunFolder(job.folder.path / name) for name in steps}
    paths = {name: folder.path for name, folder in folders.items()}
    for number, (name, step) in enumerate(steps.items(), 1):
        folder, overrides = folders[name], fill(step.get("overrides") or [], paths)
        state = folder.status().get("state") if folder.status_file.exists() else None
        log.info(
            "step %d of %d, %s: %s", number, len(steps), name, "done already" if state == "done" else step["stage"]
        )
        if state == "done":
            continue
        if was_saved(folder):
            resume_folder(folder, step["stage"])
        else:
            step_config, choices = compose_with_choices(step["stage"], overrides)
            run_job(step["stage"], step_config, folder.path, overrides, choices=choices, group=job.folder.path.name)
    conclude(cfg, job, steps, folders)


def conclude(cfg: Config, job: Job, steps: dict, folders: dict[str, RunFolder]) -> None:
    """One table of all steps that have results, baselines first, printed and written to the folder."""
    rows: dict[str, dict] = {}
    for name in steps:
        rows |= folders[name].read_json("baselines.json", {})
    for name, step in steps.items():
        if "label" in step:  # steps without one only prepare for others
            rows[step["label"]] = folders[name].read_json("metrics.json", {})
    job.folder.write_json("results.json", rows)
    write_text(job.folder.path / "results.md", show_table(rows, list(cfg.metrics)))
