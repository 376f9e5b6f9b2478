"""``groundup runs``: all runs, the newest first, and the removal of those that failed."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from groundup.config.quoting import is_quoted
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.report.listing import HEAD, Listed, as_size, without_inner
from groundup.runs.job import Job
from groundup.runs.reference import newest_runs
from groundup.system.streams import padded, visible, width_of

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> None:
    """Prints the rows; with ``remove_failed`` deletes those that failed, after a question."""
    logs = Path(cfg.paths.logs)
    found = [Listed(folder) for folder in newest_runs(logs)]
    if not found:
        raise UserError(f"there is no run below {logs} yet. Try groundup pretrain")
    if not cfg.inside:
        found = without_inner(found)
    if wanted := [pair(word) for word in cfg.where]:
        known = found
        for key, pattern in wanted:
            found = [one for one in found if fnmatchcase(one.said(key) or "", pattern)]
            if not found:
                raise UserError(none_left(known, key, pattern))
            known = found
    if cfg.remove_failed:
        remove([one for one in found if one.status.get("state") == "failed"], logs, cfg.ask)
        return
    shown = found[: cfg.most]
    print(aligned([HEAD, *(one.cells() for one in shown)]))
    more = f" ({len(shown)} are shown; most=null shows all)" if len(shown) < len(found) else ""
    print(f"\n{len(found):,} run{'s' * (len(found) != 1)}, {as_size(sum(one.size for one in found))}{more}")


def pair(word: object) -> tuple[str, str]:
    """``data=trec6`` as key and pattern. Raises UserError for a word without either."""
    key, _, value = str(word).partition("=")
    value = value[1:-1].replace("\\'", "'") if is_quoted(value) else value
    if not (key and value):
        raise UserError(f"where={word}: KEY=VALUE is asked for. Try groundup runs state=done")
    return key, value


def none_left(known: Sequence[Listed], key: str, pattern: str) -> str:
    """The line for a condition that no run fulfils, with what there is."""
    values = sorted({one.said(key) or "" for one in known} - {""})
    there = f"there {'are' if len(values) > 1 else 'is'} {', '.join(values[:8])}{', ...' * (len(values) > 8)}"
    return f"no run has {key}={pattern}; {there if values else f'none says {key}'}"


def remove(failed: Sequence[Listed], logs: Path, ask: bool) -> None:
    """Deletes the folders, after a question if ``ask``. Raises UserError where nobody can be asked."""
    if not failed:
        print("no run has failed")
        return
    print(aligned([HEAD, *(one.cells() for one in failed)]))
    if ask:
        question = f"\ndelete {'this' if len(failed) == 1 else f'these {len(failed)}'}, {as_size(sum(one.size for one in failed))}? [y/N] "
        if not sys.stdin.isatty():
            raise UserError("nothing was deleted: nobody can be asked here. Try groundup runs --remove-failed --yes")
        if input(question).strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return
    for one in failed:
        folder = one.folder.path
        if folder.is_symlink():  # rmtree refuses links, and what one points to is not ours
            log.warning("%s is a link, and was left", folder)
            continue
        shutil.rmtree(folder)
        for above in folder.parents:
            if above == logs or logs not in above.parents or any(above.iterdir()):
                break
            above.rmdir()
    print(f"deleted {len(failed)}")


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns side by side; the last one, which may be long, as it is. What is not needed to read them is left out."""
    cells = [[visible(cell) for cell in line] for line in lines]
    widths = [max(width_of(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join([*(padded(cell, width) for cell, width in zip(line[:-1], widths, strict=False)), line[-1]])
        for line in cells
    )
