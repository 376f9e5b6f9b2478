"""``groundup resume``: goes on with an interrupted run as if it had never stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from groundup.config.compose import compose
from groundup.config.quoting import inert
from groundup.config.tree import Config, leaves
from groundup.data.roles import ROLES
from groundup.errors import UserError
from groundup.jobs.job import run_job
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.lock import check_unlocked
from groundup.runs.reference import RESUMABLE, open_run, unfit
from groundup.stages.train import was_saved
from groundup.system.files import damaged, require_own_files

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> float | None:
    """Runs the stage of the folder again, in the folder, with the config that was saved there."""
    folder = open_run(cfg.run, Path(cfg.paths.logs), "resume")
    status = folder.status()
    stage = status.get("stage")
    if stage not in RESUMABLE:
        raise UserError(f"{folder.path} {unfit(folder, 'resume')}")
    if status["state"] == "done":
        log.info("%s is done already; nothing to resume. See %s", folder.path, folder.report)
        return None
    check_unlocked(folder.path)
    return resume_folder(folder, stage, cfg.paths)


def complete(
    stage: str,
    cfg: Mapping,
    folder: RunFolder,
    overrides: Sequence[str] = (),
    group: str | None = None,
    choices: Mapping[str, str | None] | None = None,
    quiet: bool = False,
    told: Sequence[str] | None = None,
) -> None:
    """Runs a stage that is a part of another job: not at all where it is done, to its end where it was interrupted.

    ``quiet``: as for ``resume_folder``. ``told``: as for ``run_job``.
    """
    if folder.status_file.exists() and folder.status().get("state") == "done":
        return
    if stage in RESUMABLE and (was_saved(folder) or (folder.path / "fold_1").exists()):
        resume_folder(folder, stage, cfg["paths"], quiet)
    else:
        run_job(stage, cfg, folder.path, overrides, choices=choices, group=group, told=told)


def resume_folder(folder: RunFolder, stage: str, paths: Config, quiet: bool = False) -> float | None:
    """Resumes one folder; says which keys of today's configuration differ from the saved ones, unless ``quiet``.

    Args:
        paths: where logs and cached data are today; those of the folder may be of another machine.

    Raises:
        UserError: the folder holds links or anything but files, which would be written through.
    """
    require_own_files(folder.path)
    for inner in (folder.checkpoints, folder.samples):
        if inner.is_file():
            raise damaged(inner, "a file where a folder belongs")
    saved = folder.read_config() | {"paths": paths}
    overrides = [word for word in folder.status().get("overrides") or [] if isinstance(word, str)]
    for line in () if quiet else drift(saved, stage, overrides):
        log.warning("%s (the saved value is used)", line)
    return run_job(stage, saved, folder.path, overrides, resuming=True)


def drift(saved: Mapping, stage: str, overrides: list[str]) -> list[str]:
    """What the same command would set otherwise today: one line a key."""
    try:
        today = compose(stage, inert(overrides))
    except UserError as error:
        return [f"today's configuration no longer takes this command: {error}"]
    then, now = leaves(saved), leaves(today)
    settled: tuple[str, ...] = ("budget", "threads", "paths.")  # the run counted or chose these itself
    if stage == "evaluate":  # and took these from the run that it is of
        settled += ("data.", "run")
    if saved.get("init_from"):  # and took these from the run it began with
        settled += ("model.", "size.", "tokenizer.", "lora.train")
    if (saved.get("model") or {}).get("vectors"):  # and these from the vectors
        settled += ("model.vectors", "model.embedding_width")
    if stage == "finetune":  # and made these
        settled += ("self_training.labels", *(("init_from",) if saved.get("task_adaptive") else ()))
    return [
        f"{key}: saved {then.get(key, 'nothing')}, today {now.get(key, 'nothing')}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(settled) and not found_in_files(key, now)
    ]


def found_in_files(key: str, now: Mapping[str, object]) -> bool:
    """Whether a column was left open, then as today: its name came from the files."""
    return key.removeprefix("data.") in ROLES and key in now and now[key] is None
