"""Where figures go while a run is going: ``metrics.csv`` always, W&B and TensorBoard by choice."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from groundup.errors import UserError
from groundup.runs.about import all_choices, facts_of, name_of
from groundup.runs.csv_logger import CsvLogger
from groundup.runs.folder import RunFolder
from groundup.runs.wandb_run import (
    has_key,
    log_checkpoint,
    log_results,
    one_line,
    parents_of,
    run_id,
    saved_id,
    use_parents,
)

log = logging.getLogger(__name__)
_INIT_TIMEOUT = 15.0  # seconds for an answer of the server; W&B's own 90 s stall every run without a network


def open_loggers(
    run: RunFolder, wanted: Mapping[str, Callable[[RunFolder], Logger | None]] | None = None, step: int | None = None
) -> list[Logger]:
    """The loggers of a run. The run's config.yaml must be written already: W&B takes its configuration from there.

    Args:
        wanted: name -> function of the run, such as ``conf/logger/*.yaml`` describe.
        step: the optimizer step a resumed run starts from; None for a new run.
    """
    made = [make(run) for make in (wanted or {}).values() if make is not None]
    return [CsvLogger(run, step), *(logger for logger in made if logger is not None)]


def close_loggers(loggers: list[Logger], exit_code: int = 0) -> None:
    """End of the job, after the result files are written: W&B gets them, and its exit code. Never raises."""
    for logger in loggers:
        try:
            if hasattr(logger, "finish"):
                logger.finish(exit_code)
            else:
                logger.finalize("success" if exit_code == 0 else "failed")
        except Exception as error:
            log.warning("%s did not close (%s)", type(logger).__name__, error)


@dataclass(frozen=True)
class TensorBoard:
    """Event files in ``<run>/tensorboard``; look at them with ``tensorboard --logdir logs``."""

    def __call__(self, run: RunFolder) -> Logger:
        """Raises UserError when TensorBoard is not installed."""
        from lightning.pytorch.loggers import TensorBoardLogger

        try:
            return TensorBoardLogger(save_dir=str(run.path), name="", version="tensorboard")
        except ModuleNotFoundError:
            raise UserError("logger=tensorboard needs TensorBoard. Run: pip install tensorboard") from None


@dataclass(frozen=True)
class Wandb:
    """The W&B logger of a run; called with the run's folder.

    Files go to ``<run>/wandb``; the id is kept in ``<run>/wandb_id``, so that a resumed run continues the same W&B run. The
    configuration is that of ``config.yaml``. ``online`` without a key or without a network becomes ``offline``; ``wandb sync``
    uploads later.

    Args:
        group: the W&B group; runs of a sweep share one.
        name: shown name; None: what was chosen and typed, and the seed (``runs/about.py``).
        tags: besides those that every run has: its stage and its choices.
        checkpoints: keep what is needed to use the run as an artifact, too; a run that begins with it says so, online.
    """

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str = "groundup"
    group: str | None = None
    name: str | None = None
    tags: Sequence[str] = ()
    notes: str | None = None
    entity: str | None = None
    checkpoints: bool = False

    def __call__(self, run: RunFolder) -> WandbLogger | None:
        """The logger, or None (``disabled``, not installed, or it failed to start, with one warning)."""
        if self.mode == "disabled":
            return None
        is_main = getattr(rank_zero_only, "rank", 0) == 0
        try:
            import wandb

            if not hasattr(wandb, "init"):  # a folder named wandb in the working directory imports as an empty package
                raise ImportError("wandb is not installed")
        except ImportError as error:
            if is_main:
                _give_up(error)
            return None
        if not is_main:
            return _Logger(run=run, experiment=None)  # its experiment is Lightning's dummy on other ranks

        os.environ["WANDB_SILENT"] = "true"
        if wandb.run is not None:  # a job in the same process died without closing its run
            wandb.finish(exit_code=1)
        status = run.status()
        stage = status.get("stage")
        named = [stage] if isinstance(stage, str) else []
        tags = dict.fromkeys([*self.tags, *named, *all_choices(run).values()])
        about = {
            **asdict(self),
            "name": self.name or name_of(run),
            "tags": [tag[:64] for tag in tags],
            "job_type": stage,
        }
        mode, checkpoints = about.pop("mode"), about.pop("checkpoints")
        if mode == "online" and not has_key():
            log.warning("W&B: no API key, so this run is logged offline. Run `wandb login`, or set WANDB_API_KEY")
            mode = "offline"
        if mode == "online":
            try:
                return _start(wandb, run, "online", about, checkpoints)
            except Exception as error:  # no network, a wrong key, ...: W&B has many kinds, and none may stop a run
                log.warning("W&B: cannot go online (%s), so this run is logged offline", one_line(error))
                wandb.teardown()
        try:
            return _start(wandb, run, "offline", about, checkpoints)
        except Exception as error:
            _give_up(error)
            return None


def _start(wandb, run: RunFolder, mode: str, about: dict, checkpoints: bool) -> WandbLogger:
    settings = wandb.Settings(
        mode=mode, silent=True, quiet=True, console="off", init_timeout=_INIT_TIMEOUT, root_dir=str(run.path)
    )
    # W&B obeys a wandb/settings in the current folder, which may be a stranger's run: another server, say.
    with contextlib.chdir(Path(__file__).parent):
        wandb.setup()
    parents = parents_of(run)
    config = {
        **run.read_config(),
        **facts_of(run),
        "began_with_id": [known for one in parents if (known := saved_id(one))],
    }
    experiment = wandb.init(
        dir=str(run.path), id=run_id(run), resume="allow", config=config, settings=settings, **about
    )
    experiment.define_metric("trainer/global_step")
    experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    experiment.define_metric("tokens")  # the other x axis: runs with batches of unequal size compare by it
    logger = _Logger(run=run, experiment=experiment, checkpoints=checkpoints)
    if mode == "online":
        logger.attempt(lambda: use_parents(parents, experiment))
    return logger


class _Logger(WandbLogger):
    """Lightning's logger on an open run. The first failure is reported, later values are dropped."""

    def __init__(self, run: RunFolder, experiment, checkpoints: bool = False) -> None:
        super().__init__(experiment=experiment, save_dir=str(run.path))
        self._checkpoints = checkpoints
        self.run_folder = run
        self._broken = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        self.attempt(lambda: WandbLogger.log_metrics(self, values, step))

    @rank_zero_only
    def log_table(
        self, key: str, columns: Sequence[str], data: Sequence[Sequence[str]], step: int | None = None
    ) -> None:
        """A table of plain values; ``step`` is that of the x axis."""
        self.attempt(lambda: WandbLogger.log_table(self, key, list(columns), [list(row) for row in data], step=step))

    def log_hyperparams(self, *args, **kwargs) -> None:
        """Nothing: the run got the whole configuration at its start."""

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Close the W&B run: "finished" for 0, else "failed"."""
        if self._experiment is not None:
            if exit_code == 0:
                self.attempt(lambda: log_results(self.run_folder, self._experiment))
                if self._checkpoints:
                    self.attempt(lambda: log_checkpoint(self.run_folder, self._experiment))
            self._broken = False
            self.attempt(lambda: self._experiment.finish(exit_code=exit_code))
            self._experiment = None

    def attempt(self, action) -> None:
        """Run ``action``; on its first failure warn and stop logging."""
        if self._broken:
            return
        try:
            action()
        except Exception as error:
            self._broken = True
            log.warning("W&B: stopped logging (%s); metrics.csv goes on", one_line(error))


def _give_up(error: Exception) -> None:
    log.warning("W&B: off for this run (%s); metrics.csv has everything", one_line(error))
