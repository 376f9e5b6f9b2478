"""Where a stage's figures go beside its folder: the loggers that its configuration names."""

from __future__ import annotations

from collections.abc import Sequence

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.loggers import close_loggers
from groundup.runs.wandb_run import saved_id


def wanted_loggers(cfg: Config, job: Job, of: RunFolder | None = None) -> dict:
    """Loggers by name, as functions of the run folder.

    The runs of a sweep share its group in W&B; what judges or joins others has that of the run it is ``of``.
    """
    wanted = {}
    chosen = {name: node for name, node in (cfg.logger or {}).items() if node}  # logger.wandb=null: none
    group = job.group or (group_of(of) if of is not None else None)
    for name, node in chosen.items():
        grouped = {"group": group} if name == "wandb" and group and node.get("group") is None else {}
        wanted[name] = instantiate(node, f"logger.{name}", **grouped)
    return wanted


def log_finished(cfg: Config, job: Job, of: Sequence[RunFolder] = ()) -> None:
    """Logs a stage that has just finished as a W&B run of its own, of the stage's job type, with its figures as summary.

    ``of``: the runs that it judges or joins. It is told where one of them was, too, or where it was typed. Never raises.
    """
    typed = any(word.lstrip("+").startswith(("logger=", "logger.", "wandb.")) for word in job.overrides)
    known = [run for run in of if saved_id(run)]
    if typed or known or not of:
        made = [make(job.folder) for make in wanted_loggers(cfg, job, next(iter([*known, *of]), None)).values()]
        close_loggers([logger for logger in made if logger is not None])


def group_of(run: RunFolder) -> str | None:
    """The W&B group of a run: the one it named, or its sweep."""
    named = (run.read_config().get("wandb") or {}).get("group")
    return named or (run.path.resolve().parent.name if "job_num" in run.status() else None)
