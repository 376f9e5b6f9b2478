"""``groundup report``: pages of runs and sweeps written again, their tables and pictures for a paper, or all runs on a local page."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs import sweep
from groundup.jobs.sweep_plan import FILE, Plan, find_sweep
from groundup.report.comparison import Comparison, Format, in_format
from groundup.report.figures import write_figures
from groundup.report.live import Live
from groundup.report.page import write_report
from groundup.report.results import figures_of
from groundup.runs.job import Job
from groundup.runs.reference import open_run, unfit
from groundup.system.signals import Interrupted

log = logging.getLogger(__name__)


def sweep_of(name: str, logs: Path) -> Plan | None:
    """The plan of a sweep; None for what is no sweep."""
    if any((path / FILE).is_file() for path in (Path(name).expanduser(), logs / name)):
        return Plan.read(find_sweep(name, logs))
    return None


def written(name: str, logs: Path) -> Path:
    """The report of a run, or of a sweep."""
    if plan := sweep_of(name, logs):
        return sweep.write_page(plan, *sweep.read(plan))
    return write_report(open_run(name, logs, "read"))


def as_table(name: str, logs: Path, form: Format) -> str:
    """The figures of a run beside its baselines, the rows of a pipeline, or the jobs of a sweep."""
    if plan := sweep_of(name, logs):
        rows, ranking = sweep.read(plan)
        if not rows:
            raise UserError(f"{plan.folder} has no job. Try groundup resume sweep={plan.folder}")
        write = {"csv": lambda: sweep.as_csv(rows).rstrip(), "latex": lambda: sweep.as_latex(rows, ranking)}
        return write.get(form, lambda: sweep.as_text(rows, ranking))()
    run = open_run(name, logs, "read")
    if (found := figures_of(run)) is None:
        verb = "evaluate" if unfit(run, "resume") else "resume"
        raise UserError(f"{run.path} has no figures yet. Try groundup {verb} run={run.path}")
    split, known = found
    return in_format(Comparison(split, known, next(iter(known))), form)


def run(cfg: Config, job: Job) -> None:
    """Writes the reports of ``folders``, or prints their tables; with ``serve`` shows the runs below the one folder until
    it is stopped."""
    logs = Path(cfg.paths.logs)
    if not cfg.serve:
        if not cfg.folders:
            raise UserError("which run? Try groundup report last, or groundup report --serve")
        for number, name in enumerate(cfg.folders):
            if cfg.format != "html":
                print(("\n" if number else "") + as_table(name, logs, cfg.format))
                continue
            report = written(name, logs)
            print(os.path.relpath(report))
            for file in write_figures(report, report.parent / "figures") if cfg.figures else ():
                print(os.path.relpath(file))
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
