"""``groundup pretrain``: a language model from text without labels."""

from __future__ import annotations

from omegaconf import DictConfig

from groundup.config.job import Job
from groundup.stages.training import train


def run(cfg: DictConfig, job: Job) -> float:
    """Trains, evaluates and reports; returns the monitored metric, for sweeps."""
    return train(cfg, job)
