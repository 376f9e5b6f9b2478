"""Where figures go while a run is going: ``metrics.csv`` always, W&B and TensorBoard by choice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightning.pytorch.loggers import Logger

from groundup.errors import UserError
from groundup.runs.csv_logger import CsvLogger
from groundup.runs.folder import RunFolder
from groundup.runs.wandb_logger import Wandb

log = logging.getLogger(__name__)
__all__ = ["CsvLogger", "TensorBoard", "Wandb", "close_loggers", "open_loggers"]


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
