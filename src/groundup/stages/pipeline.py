"""``groundup pipeline``: named stages in order, each in a folder of its own, and one table at the end."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

from groundup.cli import STAGES
from groundup.config.check import check
from groundup.config.compose import compose_with_choices
from groundup.config.job import Job, run_job
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.table import show_table
from groundup.stages.resume import resume_folder
from groundup.stages.training import was_saved

log = logging.getLogger(__name__)
REFERENCE = re.compile(r"\{(\w+)\}")  # {name} of an earlier step; {key: value} is left to Hydra


def run(cfg: Config, job: Job) -> None:
    """Runs each step that is not done yet; an interrupted training step goes on where it stopped."""
    if not cfg.steps:
        raise UserError("a pipeline needs steps. Try groundup pipeline experiment=demo")
    steps = cfg.steps
    folders = {name: RunFolder(job.folder.path / name) for name in steps}
    look_ahead(steps, folders)
    for number, (name, step) in enumerate(steps.items(), 1):
        folder, overrides = folders[name], fill(step["overrides"], folders)
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


def look_ahead(steps: Mapping[str, dict], folders: Mapping[str, RunFolder]) -> None:
    """Raises UserError for a mistake in any step, before the first one trains."""
    done: list[str] = []
    for name, step in steps.items():
        try:
            if step.get("stage") not in STAGES:
                raise UserError(f"stage={step.get('stage')} is no stage. Choose one of: {', '.join(STAGES)}")
            step.setdefault("overrides", [])
            named = {word for override in step["overrides"] for word in REFERENCE.findall(override)}
            if strange := sorted(named.difference(done)):
                names = ", ".join(f"{{{other}}}" for other in done) or "none"
                raise UserError(f"{{{strange[0]}}} is no earlier step. Earlier steps: {names}")
            overrides = fill(step["overrides"], folders)
            config, choices = compose_with_choices(step["stage"], overrides)
            check(config, step["stage"], overrides, choices)
        except UserError as error:
            raise UserError(f"step {name}: {error}") from None
        done.append(name)


def fill(overrides: Sequence[str], folders: Mapping[str, RunFolder]) -> list[str]:
    """Overrides with ``{step}`` replaced by the folder of that step."""
    return [REFERENCE.sub(lambda found: str(folders[found[1]].path), override) for override in overrides]


def conclude(cfg: Config, job: Job, steps: dict, folders: dict[str, RunFolder]) -> None:
    """One table of all steps that have results, baselines first, printed and written to the folder."""
    rows: dict[str, dict] = {}
    for name in steps:
        rows |= folders[name].read_json("baselines.json", {})
    for name, step in steps.items():
        if "label" in step:  # steps without one only prepare for others
            rows[step["label"]] = folders[name].read_json("metrics.json", {})
    job.folder.write_json("results.json", rows)
    (job.folder.path / "results.md").write_text(show_table(rows, list(cfg.metrics)), encoding="utf-8")
