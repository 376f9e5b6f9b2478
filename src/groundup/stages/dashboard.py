"""``groundup dashboard``: workspaces and a report of Weights & Biases, made from ``conf/dashboard/*.yaml``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.dashboard import REPORT, Server, View, as_json, workspace
from groundup.runs.job import Job
from groundup.runs.wandb_run import has_key
from groundup.system.files import write_text


def run(cfg: Config, job: Job) -> None:
    """Writes each view as JSON and, with a key, sends all of them; prints where they are.

    Raises UserError without the package that makes them.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("groundup dashboard needs wandb-workspaces. Run: pip install 'groundup[dashboard]'")
    views: dict[str, View] = {
        name: instantiate(node, f"dashboard.{name}") for name, node in (cfg.get("dashboard") or {}).items() if node
    }
    if not views:
        raise UserError("there is nothing to show. Try groundup dashboard 'dashboard=[finetuning]'")
    folder = Path(cfg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, view in views.items():
        write_text(folder / f"{name}.json", as_json(workspace(view, cfg.entity or "", cfg.project)))
    if has_key():
        server = Server(folder, cfg.entity, cfg.project)
        for name, view in views.items():
            print(f"{view.title}: {server.send(name, view)}")
        print(f"{REPORT}: {server.send_report(list(views.values()))}")
        return
    for name, view in views.items():
        print(f"{view.title}: {os.path.relpath(folder / name)}.json")
    print(
        "no API key, so nothing was sent: wandb login; groundup dashboard. The same curves now: groundup report --serve"
    )
