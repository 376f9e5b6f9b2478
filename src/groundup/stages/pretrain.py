"""``groundup pretrain``: a language model from text without labels."""

from __future__ import annotations

from groundup.config.tree import Config
from groundup.jobs.job import Job
from groundup.stages.training import train


def run(cfg: Config, job: Job) -> float:
    """Trains, evaluates and reports; returns the monitored metric, for sweeps."""
    return train(cfg, job)
