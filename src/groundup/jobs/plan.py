"""``groundup plan VERB ...``: the command of a training, and what it would take instead of the training."""

from __future__ import annotations

import logging

from groundup.config.compose import compose_with_choices
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs.preflight import preflight
from groundup.runs.job import Job

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> None:
    """Checks the command as the verb does, and prints the plan. Raises UserError as the verb would."""
    words = list(cfg.overrides)
    config, choices = compose_with_choices(cfg.verb, words)
    for line in preflight(cfg.verb, config, words, choices):
        log.info("%s", line)
    from groundup.stages.plan import plan

    if config.get("folds") or config.get("task_adaptive"):
        raise UserError("plan is for one training. Leave out folds and task_adaptive")
    print(plan(config, tuple(words)))
