"""Hydra, as far as we use it from code: composing, its global state put aside, and the words of ``${...}``.

There is no ``eval`` among these words: a configuration is data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from groundup.config.files import conf_dir, extra_config_dirs
from groundup.config.quoting import quoted
from groundup.errors import UserError
from groundup.system.files import read_json


def compose_raw(stage: str, overrides: Sequence[str]) -> DictConfig:
    """The unresolved configuration with its ``hydra`` node; Hydra's own exceptions."""
    import hydra

    register()
    extra = extra_config_dirs()
    with suspended_hydra(), hydra.initialize_config_dir(str(conf_dir()), job_name=stage, version_base="1.3"):
        search = [f"hydra.searchpath=[{','.join(extra)}]"] if extra else []
        return hydra.compose(stage, [*search, *quoted(overrides)], return_hydra_config=True)


@contextmanager
def suspended_hydra() -> Iterator[None]:
    """Hydra keeps one application in global variables; put it aside, and back again."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime

    running, name = GlobalHydra.instance().hydra, JobRuntime.instance().get("name")
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = running
        JobRuntime.instance().set("name", name)


@contextmanager
def hydra_config(cfg: DictConfig) -> Iterator[None]:
    """``${hydra:...}`` reads from ``cfg`` while the block runs."""
    from hydra.core.hydra_config import HydraConfig

    holder = HydraConfig.instance()
    running = holder.cfg
    holder.set_config(cfg)
    try:
        yield
    finally:
        holder.cfg = running


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
    """``${run_name:}``: the folder of similar runs: the experiment, else data and what learns from it, else the stage itself."""
    named = OmegaConf.select(_root_, "run_name", throw_on_missing=False)
    choices = dict(_root_.hydra.runtime.choices)
    if (began := OmegaConf.select(_root_, "init_from", throw_on_missing=False)) and not _typed(_root_, "model"):
        choices["model"] = _model_of(str(began))
    chosen = [choices.get(group) for group in ("data", "model", "baseline")]
    name = named or choices.get("experiment") or "_".join(str(word) for word in chosen if word) or "run"
    return str(name).replace("/", "-").lstrip("_")  # evaluate's data=_same_as_run


def _typed(root: DictConfig, group: str) -> bool:
    return any(str(word).partition("=")[0] == group for word in root.hydra.overrides.task)


def _model_of(run: str) -> str | None:
    """The model that a run has been made with, by the run folder or a checkpoint in it; None where that is not known."""
    path = Path(run)
    file = (path.parent.parent if path.suffix == ".ckpt" else path) / "status.json"
    try:
        return str(read_json(file)["choices"]["model"]) if file.is_file() else None
    except (UserError, OSError, KeyError, TypeError):  # which is said once the run is opened
        return None


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
