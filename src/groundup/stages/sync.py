"""``groundup sync``: uploads to W&B what was logged offline."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.runs.reference import newest_runs
from groundup.runs.wandb_run import has_key

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> None:
    """Calls ``wandb sync`` on all offline runs that it has not marked as uploaded. Raises SystemExit as that command ends.

    Raises UserError without a key.
    """
    logs = Path(cfg.paths.logs)
    folders = waiting(logs)
    if not folders:
        print(f"nothing to upload below {logs}")
        return
    if not has_key() and not cfg.dry_run:
        raise UserError(f"{len(folders)} to upload, and there is no API key. Try wandb login, or WANDB_API_KEY in .env")
    words = ["--dry-run"] if cfg.dry_run else ["--yes"]
    command = [sys.executable, "-m", "wandb", "sync", *words, *(str(folder.absolute()) for folder in folders)]
    # Not from the current folder: W&B obeys a wandb/settings there, which may be a stranger's, and leaves a log behind.
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(command, cwd=elsewhere, stdin=subprocess.DEVNULL)
    left = 0 if cfg.dry_run else len(waiting(logs))
    print(f"{len(folders) - left} of {len(folders)} uploaded" if not cfg.dry_run else f"{len(folders)} to upload")
    if done.returncode or left:
        raise SystemExit(done.returncode or 1)


def waiting(logs: Path) -> list[Path]:
    """Folders of offline runs without W&B's mark, the oldest first; links are passed over."""
    found = []
    for run in newest_runs(logs):
        for folder in (run.path / "wandb").glob("offline-run-*"):
            records = list(folder.glob("*.wandb"))
            if records and not folder.is_symlink() and not any(folder.glob("*.synced")):
                found.append(folder)
    return sorted(found, key=lambda folder: folder.name)
