"""``groundup distill``: a training with a teacher, and the student beside it."""

from __future__ import annotations

import logging

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.stages import train
from groundup.stages.beside import put_beside
from groundup.stages.loading import load_run

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> float:
    """Trains the student, then writes into its report what both reach, weigh and take. Returns the monitored metric."""
    value = train.run(cfg, job)
    if job.is_main and job.folder.metrics_json.exists():
        try:
            teacher = load_run(cfg.teacher, cfg.paths.logs, use="predict")
        except UserError as error:  # a training that goes on has its answers, and does not need it
            log.warning("nothing stands beside the student: %s", error)
        else:
            put_beside(job.folder, teacher, cfg, "the teacher", "the student")
    return value
