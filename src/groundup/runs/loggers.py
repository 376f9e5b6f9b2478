"""Where figures go while a run is going: ``metrics.csv`` always, W&B and TensorBoard by choice."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from groundup.errors import UserError
from groundup.metrics.sections import Curves, Matrix, Scatter, Table
from groundup.runs.about import all_choices, facts_of, judged, name_of
from groundup.runs.checkpoints import BEST
from groundup.runs.csv_logger import CsvLogger
from groundup.runs.folder import RunFolder
from groundup.system.files import write_text

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


def was_logged(run: RunFolder) -> bool:
    """Whether W&B knows the run, here or on its server."""
    return _saved_id(run) is not None


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


ID = "wandb_id"  # file of a run folder
_INIT_TIMEOUT = 15.0  # seconds for an answer of the server; W&B's own 90 s stall every run without a network


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
                log.warning("W&B: cannot go online (%s), so this run is logged offline", _line(error))
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
    parents = _parents(run)
    config = {
        **run.read_config(),
        **facts_of(run),
        "began_with_id": [known for one in parents if (known := _saved_id(one))],
    }
    experiment = wandb.init(
        dir=str(run.path), id=_run_id(run), resume="allow", config=config, settings=settings, **about
    )
    experiment.define_metric("trainer/global_step")
    experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    experiment.define_metric("tokens")  # the other x axis: runs with batches of unequal size compare by it
    logger = _Logger(run=run, experiment=experiment, checkpoints=checkpoints)
    if mode == "online":
        logger.attempt(lambda: _use_parents(parents, experiment))
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
                self.attempt(lambda: _log_results(self.run_folder, self._experiment))
                if self._checkpoints:
                    self.attempt(lambda: _log_checkpoint(self.run_folder, self._experiment))
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
            log.warning("W&B: stopped logging (%s); metrics.csv goes on", _line(error))


def _log_results(run: RunFolder, experiment) -> None:
    """Final metrics, what the task shows of its predictions, and the samples, from the files of the run folder."""
    import wandb

    for system, figures in [("", run.read_json("metrics.json", {})), *run.read_json("baselines.json", {}).items()]:
        for name, estimate in figures.items():
            key = f"baseline/{system}/{name}" if system else name
            experiment.summary[key] = estimate["value"]
            for end, value in zip(("low", "high"), estimate.get("ci95") or (), strict=False):
                if value is not None:
                    experiment.summary[f"{key}_ci95_{end}"] = value
    for section in run.read_sections():
        for part in section.parts:
            names = [section.title, part.title] if isinstance(part, Table | Curves) and part.title else [section.title]
            key = "/".join(["test", *(re.sub(r"\W+", "_", name.lower()) for name in names)])
            if isinstance(part, Matrix):
                pairs = [(i, j) for i, row in enumerate(part.counts) for j, n in enumerate(row) for _ in range(n)]
                true, predicted = zip(*pairs, strict=True)
                chart = wandb.plot.confusion_matrix(y_true=true, preds=predicted, class_names=list(part.labels))
                experiment.log({key: chart})
            elif isinstance(part, Scatter):
                points = wandb.Table(columns=[part.x, part.y], data=[list(point) for point in part.points])
                experiment.log({key: wandb.plot.scatter(points, part.x, part.y)})
            elif isinstance(part, Curves):
                dots = [[name, *point] for name, line in part.lines.items() for point in line]
                experiment.log({key: wandb.Table(columns=["line", part.x, part.y], data=dots)})
            elif isinstance(part, Table):
                texts = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in part.rows]
                experiment.log({key: wandb.Table(columns=list(part.columns), data=texts)})
    samples = sorted(run.samples.glob("*.txt")) if run.samples.is_dir() else []
    if samples:
        data = [[file.stem, file.read_text(encoding="utf-8")] for file in samples]
        experiment.log({"samples": wandb.Table(columns=["file", "text"], data=data)})


def _log_checkpoint(run: RunFolder, experiment) -> None:
    """What is needed to use the run, as an artifact of type ``model``."""
    import wandb

    artifact = wandb.Artifact(_artifact_name(_run_id(run)), type="model", metadata=facts_of(run))
    for name in ("config.yaml", "status.json", "tokenizer.json", "target_tokenizer.json", "facts.json", "labels.json"):
        if (run.path / name).is_file():
            artifact.add_file(str(run.path / name), name=name)
    if (run.checkpoints / BEST).is_file():
        artifact.add_file(str(run.checkpoints / BEST), name=f"checkpoints/{BEST}")
    experiment.log_artifact(artifact, aliases=["best"])


def _parents(run: RunFolder) -> list[RunFolder]:
    """The runs that this one began with, judges or joins."""
    if model := judged(run):
        return [model]
    config = run.read_config()
    named = config.get("init_from")
    paths = [*(named.values() if isinstance(named, Mapping) else [named]), *(config.get("members") or [])]
    return [RunFolder(path) for path in paths if isinstance(path, str)]


def _use_parents(parents: Sequence[RunFolder], experiment) -> None:
    """Says online which runs' artifacts this one began with, of those that were kept as such."""
    for folder in parents:
        if known := _saved_id(folder):
            try:
                experiment.use_artifact(f"{_artifact_name(known)}:best")
            except Exception as error:
                log.info("W&B: no artifact of %s to begin with (%s)", folder.path, _line(error))


def _artifact_name(run_id: str) -> str:
    return f"run-{run_id}"


def _run_id(run: RunFolder) -> str:
    """The id in ``<run>/wandb_id``; made at the first start."""
    saved = _saved_id(run) or f"{int(time.time()):x}{os.urandom(3).hex()}"
    write_text(run.path / ID, saved)
    return saved


def _saved_id(run: RunFolder) -> str | None:
    file = run.path / ID
    saved = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return saved if re.fullmatch(r"[\w-]{1,64}", saved, re.ASCII) else None  # W&B makes the name of a folder of it


def has_key() -> bool:
    """Whether a key is at hand without asking: WANDB_API_KEY, or the netrc entry that ``wandb login`` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(server) is not None
    except (OSError, NetrcParseError):
        return False


def _give_up(error: Exception) -> None:
    log.warning("W&B: off for this run (%s); metrics.csv has everything", _line(error))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
