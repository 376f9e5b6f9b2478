"""``groundup report``: ``report.html`` of runs written again, or all runs on a local page."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs.sweep import read, write_page
from groundup.jobs.sweep_plan import FILE, Plan, find_sweep
from groundup.report.live import Live
from groundup.report.page import write_report
from groundup.runs.job import Job
from groundup.runs.reference import open_run
from groundup.system.signals import Interrupted

log = logging.getLogger(__name__)


def written(name: str, logs: Path) -> Path:
    """The report of a run, or of a sweep."""
    if any((path / FILE).is_file() for path in (Path(name).expanduser(), logs / name)):
        plan = Plan.read(find_sweep(name, logs))
        return write_page(plan, *read(plan))
    return write_report(open_run(name, logs, "read"))


def run(cfg: Config, job: Job) -> None:
    """Writes the reports of ``folders``; with ``serve`` shows the runs below the one folder until it is stopped."""
    logs = Path(cfg.paths.logs)
    if not cfg.serve:
        if not cfg.folders:
            raise UserError("which run? Try groundup report last, or groundup report --serve")
        for name in cfg.folders:
            print(os.path.relpath(written(name, logs)))
        return
    if len(cfg.folders) > 1:
        raise UserError(f"one page shows one folder. Try groundup report {cfg.folders[0]} --serve")
    folder = Path(cfg.folders[0]).expanduser() if cfg.folders else logs
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. Try groundup report logs --serve")
    with Live(folder, cfg.port) as page:
        print(f"{page.address} shows the runs below {folder}; Ctrl-C ends it", flush=True)
        try:
            page.serve_forever()
        except (KeyboardInterrupt, Interrupted):
            print("ended")
