"""What W&B knows of a run besides its curves: an id, the runs that it began with, and at its end results and the checkpoint."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from typing import Any
from urllib.parse import urlsplit

from groundup.metrics.sections import Curves, Matrix, Scatter, Table
from groundup.runs.about import facts_of, judged
from groundup.runs.checkpoints import BEST
from groundup.runs.folder import RunFolder
from groundup.system.files import write_text

log = logging.getLogger(__name__)
ID = "wandb_id"  # file of a run folder


def has_key() -> bool:
    """Whether a key is at hand without asking: WANDB_API_KEY, or the netrc entry that ``wandb login`` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(server) is not None
    except (OSError, NetrcParseError):
        return False


# Ids


def saved_id(run: RunFolder) -> str | None:
    """The id in ``<run>/wandb_id``; None where W&B never knew the run, here or on its server."""
    file = run.path / ID
    saved = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return saved if re.fullmatch(r"[\w-]{1,64}", saved, re.ASCII) else None  # W&B makes the name of a folder of it


def run_id(run: RunFolder) -> str:
    """The id in ``<run>/wandb_id``; made at the first start."""
    saved = saved_id(run) or f"{int(time.time()):x}{os.urandom(3).hex()}"
    write_text(run.path / ID, saved)
    return saved


def artifact_name(id_of_run: str) -> str:
    return f"run-{id_of_run}"


# The runs before it


def parents_of(run: RunFolder) -> list[RunFolder]:
    """The runs that this one began with, judges or joins."""
    if model := judged(run):
        return [model]
    config = run.read_config()
    named = config.get("init_from")
    paths = [*(named.values() if isinstance(named, Mapping) else [named]), *(config.get("members") or [])]
    return [RunFolder(path) for path in paths if isinstance(path, str)]


def use_parents(parents: Sequence[RunFolder], experiment: Any) -> None:
    """Says online which runs' artifacts this one began with, of those that were kept as such."""
    for folder in parents:
        if known := saved_id(folder):
            try:
                experiment.use_artifact(f"{artifact_name(known)}:best")
            except Exception as error:
                log.info("W&B: no artifact of %s to begin with (%s)", folder.path, one_line(error))


# Its end


def log_results(run: RunFolder, experiment: Any) -> None:
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
            if (shown := _as_chart(part)) is not None:
                experiment.log({key: shown})
    samples = sorted(run.samples.glob("*.txt")) if run.samples.is_dir() else []
    if samples:
        data = [[file.stem, file.read_text(encoding="utf-8")] for file in samples]
        experiment.log({"samples": wandb.Table(columns=["file", "text"], data=data)})


def _as_chart(part: Any) -> Any:
    """A part of a section as a chart or table of W&B's; None where there is none for its kind."""
    import wandb

    if isinstance(part, Matrix):
        pairs = [(i, j) for i, row in enumerate(part.counts) for j, n in enumerate(row) for _ in range(n)]
        true, predicted = zip(*pairs, strict=True)
        return wandb.plot.confusion_matrix(y_true=true, preds=predicted, class_names=list(part.labels))
    if isinstance(part, Scatter):
        points = wandb.Table(columns=[part.x, part.y], data=[list(point) for point in part.points])
        return wandb.plot.scatter(points, part.x, part.y)
    if isinstance(part, Curves):
        dots = [[name, *point] for name, line in part.lines.items() for point in line]
        return wandb.Table(columns=["line", part.x, part.y], data=dots)
    if isinstance(part, Table):
        texts = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in part.rows]
        return wandb.Table(columns=list(part.columns), data=texts)
    return None


def log_checkpoint(run: RunFolder, experiment: Any) -> None:
    """What is needed to use the run, as an artifact of type ``model``."""
    import wandb

    artifact = wandb.Artifact(artifact_name(run_id(run)), type="model", metadata=facts_of(run))
    for name in ("config.yaml", "status.json", "tokenizer.json", "target_tokenizer.json", "facts.json", "labels.json"):
        if (run.path / name).is_file():
            artifact.add_file(str(run.path / name), name=name)
    if (run.checkpoints / BEST).is_file():
        artifact.add_file(str(run.checkpoints / BEST), name=f"checkpoints/{BEST}")
    experiment.log_artifact(artifact, aliases=["best"])


def one_line(error: Exception) -> str:
    """What went wrong, short enough for a line of the log."""
    return " ".join(str(error).split())[:160] or type(error).__name__
