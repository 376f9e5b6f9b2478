"""A finished run as an object again: ``load_run(folder)`` is all that a notebook, an evaluation or a server needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.reference import MEMBERS, Use, open_run
from groundup.stages.answering import Answering
from groundup.stages.classifier import BaselineRun
from groundup.stages.members import RunOfMembers
from groundup.stages.network import NetworkRun


def load_run(
    reference: str | os.PathLike[str],
    logs: str | os.PathLike[str] = "logs",
    use: Use = "evaluate",
    decoding: Mapping[str, Any] | None = None,
    scheme: str | None = None,
) -> Answering:
    """Opens a run folder, a checkpoint in one, or ``last``: the newest that can serve ``use``.

    ``decoding``: how the task writes, instead of its own way; ``scheme``: how tags spell entities.

    Raises UserError when there is no such run, when it has nothing to answer with, or when that is damaged; when
    ``decoding`` is given for a task that answers with no text, or ``scheme`` for one without tags.
    """
    return open_folder(open_run(reference, Path(logs), use), logs, decoding, scheme)


def open_folder(
    folder: RunFolder,
    logs: str | os.PathLike[str],
    decoding: Mapping[str, Any] | None = None,
    scheme: str | None = None,
    depth: int = 0,
) -> Answering:
    """The run in ``folder``, by what lies there; ``depth``: of how many runs it is a member."""
    config = config_of(folder, logs)
    as_it_is = not (decoding or scheme)
    if (folder.path / MEMBERS).exists() and folder.checkpoint is None and as_it_is:
        return RunOfMembers.open(
            folder, config, lambda path: open_folder(RunFolder(path), logs, depth=depth + 1), depth
        )
    if "baseline" in config and as_it_is:
        return BaselineRun.open(folder, config)
    return NetworkRun.open(folder, config, decoding, scheme)


def load_network(
    reference: str | os.PathLike[str], logs: str | os.PathLike[str] = "logs", use: Use = "generate"
) -> NetworkRun:
    """As ``load_run``, for what only a network can do."""
    folder = open_run(reference, Path(logs), use)
    return NetworkRun.open(folder, config_of(folder, logs))


def config_of(folder: RunFolder, logs: str | os.PathLike[str]) -> Config:
    """The run's configuration; where it wrote, and in how many processes, is its own business."""
    config = Config({**folder.read_config(), "paths": {"logs": str(logs), "cache": None}, "num_workers": 0})
    if not {"model", "baseline"} & {*config} and not (folder.path / MEMBERS).exists():
        raise UserError(f"{folder.path} is a run of `groundup {folder.status().get('stage')}` and holds no model")
    return config
