"""The plan of a sweep: ``sweep.json`` names every job before the first one begins, so that none is lost.

A job is its run folder, with a status.json; ``refused.jsonl`` holds those that were refused before they had one. Each runs
with the configuration that was composed when the sweep began, whatever has become of ``conf/`` since.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from groundup.config.files import STAGES, WITHOUT_FOLDER
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.system.files import damaged, full_disk, read_json, read_text, remove_empty, write_text
from groundup.system.secrets import mask, mask_text

log = logging.getLogger(__name__)
FILE = "sweep.json"
REFUSED = "refused.jsonl"  # one job a line
FORMAT = 1
State = Literal["done", "pruned", "failed", "died", "interrupted", "running", "waiting"]
FINISHED = ("done", "pruned")


@dataclass(frozen=True)
class PlannedJob:
    """One job. ``folder``: of its run, below that of the sweep; ``choices``, ``config``: as composed."""

    number: int
    folder: str
    overrides: list[str]
    choices: dict[str, str | None]
    config: dict[str, Any]

    @property
    def is_inside(self) -> bool:
        """Whether ``folder`` is below that of the sweep."""
        path = PurePath(self.folder)
        return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


@dataclass(frozen=True)
class Outcome:
    """Where a job is. ``pruned``: a study has ended it early. ``died``: its process ended without a word, as by SIGKILL.
    ``waiting``: it has not begun."""

    state: State
    why: str | None = None
    exit_code: int | None = None


@dataclass
class Plan:
    """All jobs of a sweep, by number, and who runs them: ``launcher`` is its node of the configuration."""

    folder: Path
    stage: str
    launcher: dict[str, Any]
    jobs: dict[int, PlannedJob] = field(default_factory=dict)

    @property
    def leaves_folders(self) -> bool:
        return self.stage not in WITHOUT_FOLDER

    def run(self, number: int) -> RunFolder:
        return RunFolder(self.folder / self.jobs[number].folder)

    def remove_empty(self, number: int) -> None:
        """Remove the folder of a job that never began."""
        remove_empty(self.run(number).path, self.folder)

    def add(self, job: PlannedJob) -> None:
        self.jobs[job.number] = job

    # ---------------------------------------------------------------- the file

    def save(self) -> None:
        """Write ``sweep.json``, secrets masked."""
        jobs = [mask(asdict(job)) for job in self.jobs.values()]
        plan = {"format": FORMAT, "stage": self.stage, "launcher": self.launcher, "jobs": jobs}
        write_text(self.folder / FILE, json.dumps(plan, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of the sweep in ``folder``.

        Raises:
            UserError: it is of another version, or none that ``save`` wrote.
        """
        file = folder / FILE
        saved = read_json(file)
        told = saved.get("format") if isinstance(saved, dict) else None
        if told != FORMAT:
            raise UserError(f"{file} has the format {told}, and this groundup reads {FORMAT}. Start the sweep anew")
        try:
            jobs = [PlannedJob(**job) for job in saved["jobs"]]
            plan = cls(folder, saved["stage"], saved["launcher"], {job.number: job for job in jobs})
            sound = isinstance(plan.launcher, dict) and plan.stage in STAGES and plan.leaves_folders
            sound = sound and bool(jobs) and all(map(_is_sound, jobs)) and len(plan.jobs) == len(jobs)
        except (KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise damaged(file, "it is no plan of a sweep")
        return plan

    def move(self, paths: Mapping[str, Any]) -> None:
        """Jobs that go on read and write where ``paths`` say today; the plan may be of another machine."""
        self.jobs = {
            number: replace(job, config={**job.config, "paths": dict(paths)}) for number, job in self.jobs.items()
        }

    # ---------------------------------------------------------------- what has become of the jobs

    def outcome(self, number: int) -> Outcome:
        run = self.run(number)
        if run.status_file.exists():
            status = run.status()
            state, code = status.get("state", "interrupted"), status.get("exit_code")
            if state == "interrupted" and (code is None or code < 0):
                state = "died"
            if state == "done" and status.get("pruned"):
                state = "pruned"
            return Outcome(state, status.get("why"), code)
        if refusal := self.refusals().get(number):
            return Outcome("failed", refusal["why"], refusal["exit_code"])
        return Outcome("waiting")

    def unfinished(self) -> list[int]:
        return [number for number in self.jobs if self.outcome(number).state not in FINISHED]

    def refusals(self) -> dict[int, dict]:
        """Jobs without a folder: number -> why and exit_code."""
        if not (self.folder / REFUSED).is_file():
            return {}
        rows: dict[int, dict] = {}
        for line in read_text(self.folder / REFUSED).split("\n"):
            with suppress(ValueError, KeyError, TypeError):  # torn, by a kill or a full disk
                row = json.loads(line)
                rows[row["job_num"]] = {**row, "why": str(row["why"]), "exit_code": int(row["exit_code"])}
        return rows

    def refuse(self, number: int, why: str, exit_code: int) -> None:
        """Remember a job without a folder. Jobs may be processes: one write, at the end of the file."""
        overrides = mask(self.jobs[number].overrides)
        row = {"job_num": number, "overrides": overrides, "why": mask_text(why), "exit_code": exit_code}
        file = self.folder / REFUSED
        try:
            with open(file, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise full_disk(error, file) or error from error

    def forget_refusals(self, numbers: Collection[int]) -> None:
        """These are about to run again."""
        file = self.folder / REFUSED
        kept = [row for number, row in self.refusals().items() if number not in numbers]
        if kept:
            write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
        else:
            file.unlink(missing_ok=True)


def find_sweep(ref: str, logs: Path) -> Path:
    """The folder that ``sweep=`` names: as it is, or below ``logs``; ``last``: of the newest sweep there.

    Raises:
        UserError: there is no such sweep.
    """
    plans = sorted(logs.glob(f"*/multirun/*/{FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    if ref == "last" and plans:
        log.info("sweep=last is %s", plans[0].parent)
        return plans[0].parent.absolute()
    for path in (Path(ref).expanduser(), logs / ref):
        if (path / FILE).is_file():
            return path.absolute()
        if (path / "config.yaml").is_file():
            raise UserError(f"sweep={ref} is one run. Try run={ref}")
    known = f"The newest sweeps: {', '.join(str(file.parent) for file in plans[:3])}" if plans else "There is none yet"
    raise UserError(f"sweep={ref}: there is no {FILE}, so it is no sweep. {known}")


def _is_sound(job: PlannedJob) -> bool:
    """Whether a job of a file has the types of one, and a folder inside that of the sweep."""
    return (
        job.is_inside
        and type(job.number) is int
        and isinstance(job.overrides, list)
        and all(isinstance(word, str) for word in job.overrides)
        and isinstance(job.choices, dict)
        and isinstance(job.config, dict)
    )
