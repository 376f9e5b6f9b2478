"""Where a stage's figures go beside its folder: the loggers that its configuration names."""

from __future__ import annotations

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.loggers import close_loggers, was_logged


def wanted_loggers(cfg: Config, job: Job, of: RunFolder | None = None) -> dict:
    """Loggers by name, as functions of the run folder.

    The runs of a sweep share its group in W&B; an evaluation that of the run it is ``of``.
    """
    wanted = {}
    chosen = {name: node for name, node in (cfg.logger or {}).items() if node}  # logger.wandb=null: none
    group = job.group or (group_of(of) if of is not None else None)
    for name, node in chosen.items():
        grouped = {"group": group} if name == "wandb" and group and node.get("group") is None else {}
        wanted[name] = instantiate(node, f"logger.{name}", **grouped)
    return wanted


def log_evaluation(cfg: Config, job: Job, of: RunFolder) -> None:
    """The finished evaluation of a run, to W&B: where that run was logged, too, or where it was typed.

    W&B has it as a run of its own, of job type ``evaluate``, with the figures as its summary. Never raises.
    """
    typed = any(word.lstrip("+").startswith(("logger=", "logger.", "wandb.")) for word in job.overrides)
    if typed or was_logged(of):
        made = [make(job.folder) for make in wanted_loggers(cfg, job, of).values()]
        close_loggers([logger for logger in made if logger is not None])


def group_of(run: RunFolder) -> str | None:
    """The W&B group of a run: the one it named, or its sweep."""
    named = (run.read_config().get("wandb") or {}).get("group")
    return named or (run.path.resolve().parent.name if "job_num" in run.status() else None)
