"""A job as a trial of a study: what it reports while it trains, and whether it may end early. ``study.json`` says which study."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from groundup.errors import UserError
from groundup.ranges import Count
from groundup.system.files import damaged, read_text, write_text
from groundup.system.secrets import mask_text

FILE = "study.json"
DATABASE = "study.db"
JOB = "job"  # attribute of a trial: which job it is
log = logging.getLogger(__name__)


Pruner = Literal["median", "third", "halving", "none"]


@dataclass(frozen=True)
class StudyFile:
    """What ``study.json`` holds.

    ``words``: of the command, without what is swept; ``space``: key -> what may be proposed, in Hydra's words.
    ``storage``: a URL; None: ``study.db`` beside this file, which may be moved with it. ``sweep``: name of its folder at the beginning.
    """

    stage: str
    name: str
    words: list[str]
    space: dict[str, str]
    monitor: str
    better: Literal["min", "max"]
    trials: Count = 20
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Pruner = "median"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    storage: str | None = None
    sweep: str = ""

    def save(self, sweep: Path) -> None:
        write_text(sweep / FILE, TypeAdapter(StudyFile).dump_json(self, indent=2).decode() + "\n")

    @classmethod
    def read(cls, sweep: Path) -> StudyFile:
        """Raises UserError for a file that ``save`` did not write."""
        try:
            return TypeAdapter(cls).validate_json(read_text(sweep / FILE), strict=True)
        except ValidationError as error:
            raise damaged(sweep / FILE, f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from None

    def job(self, number: int) -> str:
        """Tells the jobs of sweeps apart that share a study, wherever their folders are by now."""
        return f"{self.sweep}/{number}"

    def open(self, sweep: Path) -> Any:
        """The study, an ``optuna.Study``; made if it is not there.

        Raises UserError where Optuna is not installed, and where the database cannot be used.
        """
        try:
            import optuna
        except ImportError:
            raise UserError("sweep=optuna needs Optuna. Run: pip install 'groundup[sweep]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = optuna.samplers
        seed = self.seed  # and what was proposed before: else a resumed study would propose the same again
        with self.answering(sweep):
            storage = optuna.storages.RDBStorage(self.storage or address(sweep / DATABASE))
            with suppress(KeyError):
                seed += len(optuna.load_study(study_name=self.name, storage=storage).trials)
            return optuna.create_study(
                storage=storage,
                study_name=self.name,
                load_if_exists=True,
                direction="minimize" if self.better == "min" else "maximize",
                sampler={"tpe": samplers.TPESampler, "random": samplers.RandomSampler}[self.sampler](seed=seed),
                pruner=pruner_of(self.pruner),
            )

    @contextmanager
    def answering(self, sweep: Path) -> Iterator[None]:
        """Raises UserError where the database fails while the block runs: the disk is full, the file damaged, the server away."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (OptunaError, SQLAlchemyError, ImportError) as error:  # ImportError: of its driver
            cause = error if error.__cause__ is None else error.__cause__
            said = " ".join(str(getattr(cause, "orig", None) or cause).split())[:160].rstrip(". ")
            place = mask_text(self.storage) if self.storage else sweep / DATABASE
            raise UserError(
                f"the study in {place} does not answer: {said}. The jobs are kept; when it does, groundup resume sweep={sweep}"
            ) from error


def address(database: Path) -> str:
    """A file as a URL of SQLAlchemy's, in which % and ? stand for something else."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(database.absolute())).render_as_string()


def pruner_of(name: Pruner) -> Any:
    """What ends a trial early: one that validates worse than half, or than the best third, of those that ran to their end, as
    soon as there are three of these; or than the best third at each rung of steps."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=3)
    if name == "third":
        return pruners.PercentilePruner(100 / 3, n_startup_trials=3)
    if name == "halving":
        return pruners.SuccessiveHalvingPruner(reduction_factor=3)
    if name == "none":
        return pruners.NopPruner()
    raise ValueError(f"no pruner is called {name!r}. There are {get_args(Pruner)}")


class Trial:
    """The trial that a job of a sweep is; ``hopeless`` tells the study what was validated."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def hopeless(self, step: int, value: float) -> bool:
        """Whether others were better at this optimizer step. A storage that does not answer ends no training."""
        try:
            self._trial.report(value, step)
            return bool(self._trial.should_prune())
        except Exception as error:
            log.warning("the study does not answer (%s); the trial goes on", " ".join(str(error).split())[:160])
            return False


def trial_of(sweep: Path | None, job_num: int | None) -> Trial | None:
    """The trial of a job; None where its sweep is no study, or one that ends no trial early."""
    if sweep is None or job_num is None or not (sweep / FILE).is_file():
        return None
    file = StudyFile.read(sweep)
    if file.pruner == "none":
        return None
    import optuna

    study = file.open(sweep)
    found = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get(JOB) == file.job(job_num)]
    return Trial(optuna.trial.Trial(study, found[0]._trial_id)) if found else None
