"""From a verb and its overrides to jobs, through Hydra; and from whatever goes wrong to one line and an exit code."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig

from groundup.config.compose import resolved
from groundup.config.mistakes import check_groups, dashed
from groundup.errors import UserError
from groundup.jobs import gate, sweep
from groundup.jobs.failure import report_failure
from groundup.jobs.logs import log_to_run
from groundup.jobs.ranks import is_spawned_rank
from groundup.jobs.sweep_plan import Plan
from groundup.jobs.words import AS_KEYS, flags_last
from groundup.system.secrets import mask_text
from groundup.system.signals import Interrupted, ending_in_order
from groundup.system.streams import visible

FULL_ERROR = "HYDRA_FULL_ERROR"


@dataclass
class Task:
    """What Hydra is given to run, once or for each job of a sweep."""

    stage: str
    full_error: bool
    failure: Exception | None = None
    log: Path | None = None

    def __call__(self, cfg: DictConfig) -> float | None:
        """A single run. It never raises an Exception, which Hydra would print in its own way."""
        from hydra.core.hydra_config import HydraConfig

        from groundup.config.files import WITHOUT_FOLDER
        from groundup.jobs.job import call_without_folder, run_job

        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        plain, told = gate.passed.pop() if gate.passed else (cfg, None)
        overrides, choices = list(hydra.overrides.task), resolved(hydra.runtime.choices)
        try:
            if self.stage in WITHOUT_FOLDER:
                return call_without_folder(self.stage, plain, overrides, choices, told=told)
            return run_job(self.stage, plain, folder, overrides=overrides, choices=choices, told=told)
        except Exception as error:
            self.failure, self.log = error, folder / "run.log" if (folder / "run.log").is_file() else None
            return None

    def carry_out(self, plan: Plan, number: int) -> None:
        """A job of a sweep."""
        from groundup.jobs.resume import carry_out

        carry_out(plan, number, self.full_error)


def launch(stage: str, arguments: list[str]) -> int:
    """Run ``groundup STAGE ARGUMENTS`` and return its exit code: 0 done, 1 failed, 2 a user's mistake, 130 Ctrl-C.

    Raises:
        SystemExit: as the stage raised it (75: saved on a signal, resume later).
    """
    if is_spawned_rank():
        from groundup.jobs.job import run_rank

        return run_rank()
    full_error = os.environ.get(FULL_ERROR) == "1"
    arguments = flags_last(AS_KEYS.get(stage, list)(arguments))
    task = Task(stage, full_error)
    sweep.current.clear()
    gate.passed.clear()
    code = 0
    try:
        with ending_in_order(), hydra_environment(arguments):
            check_flags(arguments, stage)
            check_groups(stage, arguments)
            run_hydra(task, stage)
        if task.failure is not None:
            code = report_failure(task.failure, stage, task.log, full_error, overrides=arguments)
    except (KeyboardInterrupt, SystemExit) as stop:
        early = "" if isinstance(stop, SystemExit) and not isinstance(stop, Interrupted) else starting(stop)
        line = [early, *getattr(stop, "__notes__", [])][-1]  # of the outermost run: a step of a pipeline ends with it
        if line:
            print(visible(mask_text(line)), file=sys.stderr)
        if not isinstance(stop, KeyboardInterrupt):
            raise
        code = 130
    except gate.Refused as refused:
        code = report_failure(refused.error, stage, None, full_error, overrides=arguments)
    except Exception as error:
        code = report_failure(error, stage, None, full_error, overrides=arguments)
    finally:
        failed = sum_up(stage, full_error)
    return code or failed


def sum_up(stage: str, full_error: bool) -> int:
    """The table of a sweep, which must not hide how its jobs have ended. Returns the exit code."""
    try:
        with log_to_run(None):
            return sweep.finish()
    except Exception as error:
        report_failure(error, stage, None, full_error, "no table of the sweep: ")
        return 1


def starting(stop: KeyboardInterrupt | Interrupted) -> str:
    """What is said of a signal that came before there was a run."""
    name = "Ctrl-C" if isinstance(stop, KeyboardInterrupt) else str(stop)
    return f"interrupted ({name}) before anything was written"


def run_hydra(task: Task, stage: str) -> None:
    import hydra

    from groundup.config.files import conf_dir
    from groundup.config.hydra import register

    register()
    folder = conf_dir()
    if not (folder / f"{stage}.yaml").is_file():
        raise UserError(f"{folder} has no {stage}.yaml. Set GROUNDUP_CONF to the folder of configurations")
    hydra.main(version_base="1.3", config_path=str(folder), config_name=stage)(task)()


@contextmanager
def hydra_environment(arguments: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv, replaces the root logger's handlers, and lets exceptions through only with HYDRA_FULL_ERROR=1."""
    argv, full_error = sys.argv, os.environ.get(FULL_ERROR)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    sys.argv = [argv[0], *arguments]
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        sys.argv, root.handlers[:], root.level = argv, handlers, level
        if full_error is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = full_error


def check_flags(arguments: list[str], stage: str) -> None:
    """Refuse unknown flags in one line; argparse would print its whole usage.

    Raises:
        UserError: a flag that Hydra does not know, or two that exclude each other.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(in_our_words(message, stage))

    parser.error = refuse  # type: ignore[method-assign]
    flags = parser._option_string_actions
    for word in arguments:
        name = word.partition("=")[0]
        if (
            re.match(r"--?[A-Za-z]", word)
            and not any(flag.startswith(name) for flag in flags)
            and word[:2] not in flags
        ):
            raise UserError(dashed(word, arguments, stage))
    known = parser.parse_args(arguments)
    modes = {"-m": known.multirun, "--cfg": known.cfg is not None, "--info": known.info is not None}
    if sum(modes.values()) > 1:
        raise UserError(f"{' and '.join(flag for flag, given in modes.items() if given)} cannot be combined")
    for flag, value in (("-cn", known.config_name), ("-cp", known.config_path)):
        if value is not None:
            raise UserError(
                f"{flag} {value}: the verb names the file that is read. Keys of your own go into "
                "conf/experiment/NAME.yaml, chosen by experiment=NAME; GROUNDUP_CONF=FOLDER is another conf/"
            )
    if known.experimental_rerun:  # unpickles a file
        raise UserError("--experimental-rerun is not supported. Try groundup resume run=RUN")


def in_our_words(message: str, stage: str) -> str:
    """What argparse says of a flag of Hydra's."""
    if match := re.match(r"ambiguous option: (--config)\b", message):
        return (
            f"{match[1]}: no file is read this way. Keys of your own go into conf/experiment/NAME.yaml, chosen by "
            f"experiment=NAME; `groundup {stage} --cfg job` shows what is set"
        )
    if match := re.match(r"argument (\S+?)/\S+: invalid choice: '?(.+?)'? \(choose from (.+)\)", message):
        known = match[3].replace("'", "")
        return f"{match[1]} {match[2]}: it shows one of {known}, and reads no file. Try {match[1]} {known.partition(',')[0]}"
    if match := re.match(r"argument (\S+): expected one argument", message):
        return f"{match[1]}: a value is missing after it"
    return f"{message}. `--hydra-help` lists the flags"
