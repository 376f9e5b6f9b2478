"""``groundup pipeline``: named stages in order, each in a folder of its own, and one table at the end."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from omegaconf import DictConfig

from groundup.config.compose import compose_with_choices
from groundup.config.job import Job, run_job
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.table import show_table
from groundup.stages.loading import plain
from groundup.stages.resume import resume_folder

log = logging.getLogger(__name__)


def run(cfg: DictConfig, job: Job) -> None:
    """Runs each step that is not done yet; an interrupted training step goes on where it stopped."""
    if not cfg.steps:
        raise UserError("a pipeline needs steps. Try groundup pipeline experiment=demo")
    steps = plain(cfg.steps)
    folders = {name: RunFolder(job.folder.path / name) for name in steps}
    for name, step in steps.items():  # every mistake in any step shows before the first one trains
        compose_with_choices(step["stage"], fill(name, step["overrides"], folders))
    for number, (name, step) in enumerate(steps.items(), 1):
        folder, overrides = folders[name], fill(name, step["overrides"], folders)
        state = folder.status().get("state") if folder.status_file.exists() else None
        log.info("step %d of %d, %s: %s", number, len(steps), name, "done already" if state == "done" else step["stage"])
        if state == "done":
            continue
        if state and (folder.checkpoints / "last.ckpt").exists():
            resume_folder(folder, step["stage"])
        else:
            step_config, choices = compose_with_choices(step["stage"], overrides)
            run_job(step["stage"], step_config, folder.path, overrides, choices=choices, group=job.folder.path.name)
    conclude(cfg, job, steps, folders)


def fill(name: str, overrides: list[str], folders: Mapping[str, RunFolder]) -> list[str]:
    """Overrides with ``{step}`` replaced by the folder of that step."""
    earlier = {other: str(folder.path) for other, folder in folders.items() if other != name}
    filled = []
    for override in overrides:
        for other, path in earlier.items():
            override = override.replace("{" + other + "}", path)
        filled.append(override)
    return filled


def conclude(cfg: DictConfig, job: Job, steps: dict, folders: dict[str, RunFolder]) -> None:
    """One table of all steps that have results, baselines first, printed and written to the folder."""
    rows: dict[str, dict] = {}
    for name in steps:
        for baseline, metrics in (folders[name].read_json("baselines.json", {}) or {}).items():
            rows.setdefault(baseline, metrics)
    for name, step in steps.items():
        metrics = folders[name].read_json("metrics.json", {})
        if any(metric in metrics for metric in cfg.metrics):
            rows[step.get("label", name)] = metrics
    job.folder.write_json("results.json", rows)
    (job.folder.path / "results.md").write_text(show_table(rows, list(cfg.metrics)), encoding="utf-8")
