"""Words that YAML may use in ``${...}``. There is no ``eval``: a configuration is data."""

from __future__ import annotations

import os
from datetime import datetime

from omegaconf import DictConfig, OmegaConf


def register() -> None:
    """Make the resolvers known; may be called more than once."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("run_time", run_time, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("choice", choice, replace=True)


def choice(group: str) -> str | None:
    """``${choice:data}``: the name chosen in a group."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().runtime.choices.get(group)


def run_name(*, _root_: DictConfig) -> str:
    """``${run_name:}``: the folder of similar runs: the experiment, else data and model, else the stage itself."""
    named = OmegaConf.select(_root_, "run_name", throw_on_missing=False)
    choices = _root_.hydra.runtime.choices
    chosen = [choices.get(group) for group in ("data", "model")]
    name = named or choices.get("experiment") or "_".join(str(word) for word in chosen if word) or "run"
    return str(name).replace("/", "-").lstrip("_")  # evaluate's data=_of_run


def run_time() -> str:
    """``${run_time:}``: date and time with microseconds, so that runs started together do not share a folder.

    The processes of one torchrun have to agree, so there it is the name that torchrun has given the launch.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        launch = os.environ["TORCHELASTIC_RUN_ID"]
        return "torchrun_" + (launch if launch not in ("", "none") else str(os.getppid()))
    if os.environ.get("SLURM_NTASKS", "1") != "1" and "SLURM_STEP_ID" in os.environ:
        return f"slurm_{os.environ.get('SLURM_JOB_ID')}_{os.environ['SLURM_STEP_ID']}"
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
