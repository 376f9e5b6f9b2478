"""A Lightning logger that writes ``metrics.csv`` of the run folder."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from groundup.runs.folder import RunFolder
from groundup.runs.history import MetricsCsv


class CsvLogger(Logger):
    """Every value reaches the disk when it is logged. Lightning's own CSVLogger buffers, and deletes the old file on resume.

    Args:
        run: its ``metrics.csv`` is continued.
        step: the optimizer step that a resumed run starts from; later rows are cut. None keeps every row.
    """

    def __init__(self, run: RunFolder, step: int | None = None) -> None:
        super().__init__()
        self.run = run
        self._start = step
        self._table: MetricsCsv | None = None

    @property
    def name(self) -> str:
        """Empty: the folder is the run's own."""
        return ""

    @property
    def version(self) -> str:
        """Empty, as ``name``."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.run.path)

    @property
    def log_dir(self) -> str:
        """The run folder: Lightning makes no ``version_0`` below it."""
        return str(self.run.path)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of ``step``. ``epoch`` is left out: training is one stream, counted in optimizer steps."""
        values = {name: _scalar(value) for name, value in metrics.items() if name not in ("epoch", "step")}
        if values:
            self.table.write(int(step or 0), values)

    def log_hyperparams(self, *args, **kwargs) -> None:
        """Nothing: config.yaml holds them."""

    @property
    def table(self) -> MetricsCsv:
        """Opened at the first use, so that only rank 0 touches the file."""
        if self._table is None:
            self._table = MetricsCsv(self.run.metrics_csv)
            if self._start is not None:
                self._table.cut(self._start)
        return self._table


def _scalar(value) -> float | int:
    return value.item() if hasattr(value, "item") else value
