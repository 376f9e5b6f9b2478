"""The command ``groundup VERB [KEY=VALUE ...]``: one Hydra application per verb, and nothing heavy before it is needed.

Hydra itself reads everything after the verb, so sweeps (``-m``), ``--cfg job``, ``--info``, launchers and tab completion
work as its own documentation says. Torch and Lightning are imported inside the job.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from groundup.config.files import STAGES, checkout, conf_dir
from groundup.errors import UserError
from groundup.system import streams

# What decides which code is run.
SHELL_ONLY = re.compile(
    r"(GROUNDUP_(ALLOW|CONF|RANK_JOB)|PATH|HOME|HYDRA_\w+|PYTHON\w*|LD_\w+|DYLD_\w+)$", re.IGNORECASE
)

# What other programs call our verbs.
VERBS = {
    "train fit": "Two verbs train: groundup pretrain (a text) and groundup finetune (labels or pairs)",
    "eval test validate": "Did you mean 'groundup evaluate'?",
    "infer inference classify translate summarize": "Did you mean 'groundup predict'?",
    "sample complete": "Did you mean 'groundup generate'?",
    "continue restart": "Did you mean 'groundup resume'?",
}


def usage() -> str:
    """The page of ``groundup --help``."""
    lines = ["Language models from the ground up.", "", "usage: groundup VERB [KEY=VALUE ...]", ""]
    lines += [f"  {verb:<10}{what}" for verb, (_, what) in STAGES.items()]
    lines += [
        "",
        "groundup VERB --help        the choices and keys of a verb",
        "groundup VERB --cfg job     the whole configuration, without running it",
        "groundup VERB -m KEY=A,B    one run for each value, and a table of them; launcher=pool launcher.jobs=2: two at a time",
        'eval "$(groundup -sc install=bash)"    tab completion for this shell',
    ]
    return "\n".join(lines)


def prepare_environment() -> None:
    """Settings that must stand before torch is imported; what the user has set is left alone.

    They come from the file that ``GROUNDUP_ENV`` names, or from the ``.env`` of the checkout; never from the folder where
    the command is typed, which may be a run of a stranger's. What code is run, such a file cannot say.

    Raises:
        UserError: it tries to.
    """
    file = Path(os.environ.get("GROUNDUP_ENV") or checkout() / ".env").expanduser()
    if file.is_file():
        from dotenv import dotenv_values

        for name, value in dotenv_values(file).items():
            if SHELL_ONLY.match(name):
                raise UserError(f"{file} sets {name}, which only the shell can. Try export {name}=...")
            if value is not None:
                os.environ.setdefault(name, value)
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        # GNU OpenMP spins for long by default: a step is 5 to 27 times slower once another process wants a core.
        os.environ["GOMP_SPINCOUNT"] = "10000"


def fail(line: str) -> int:
    """Print a mistake of the user's and return its exit code."""
    print(f"error: {line}", file=sys.stderr)
    return 2


def unknown_verb(word: str) -> str:
    from difflib import get_close_matches

    if word.startswith("-"):
        return f"the verb comes first: groundup VERB {word}. Verbs: {', '.join(STAGES)}"
    if "=" in word:
        return f"{word} needs a verb before it. Try groundup pretrain {word}"
    if hint := next((said for names, said in VERBS.items() if word.lower() in names.split()), None):
        return f"unknown verb '{word}'. {hint}"
    begun = [verb for verb in STAGES if verb.startswith(word.lower())]
    near = begun if len(begun) == 1 else get_close_matches(word.lower(), STAGES, n=1, cutoff=0.7)
    hint = f"Did you mean 'groundup {near[0]}'?" if near else f"Verbs: {', '.join(STAGES)}"
    return f"unknown verb '{word}'. {hint}"


def complete(arguments: list[str]) -> int:
    """Tab completion: verbs are ours; for the rest Hydra is shown the line as if the verb were not there."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if arguments[1:] and arguments[1].startswith("query") and (len(words) < 2 or words[1] not in STAGES):
        start = words[1] if len(words) > 1 else ""
        print("\n".join(verb for verb in STAGES if verb.startswith(start)))
        return 0
    from groundup.jobs.launch import launch

    stage = words[1] if len(words) > 1 else "pretrain"
    if len(words) > 1:
        cut = line.index(words[1]) + len(words[1]) + 1
        os.environ["COMP_LINE"] = words[0] + " " + line[cut:]
        os.environ["COMP_POINT"] = str(len(os.environ["COMP_LINE"]))
    return launch(stage, arguments)


def run(arguments: list[str]) -> int:
    """Carry out one command line (without the program's name) and return the exit code: 0, 1 failed, 2 a user's mistake."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        from groundup import __version__

        print(f"groundup {__version__}")
        return 0
    if arguments[0] in ("-sc", "--shell-completion", "--shell_completion"):
        return complete(arguments)
    stage, rest = arguments[0], arguments[1:]
    if stage not in STAGES:
        return fail(unknown_verb(stage))
    if rest in (["--help"], ["-h"]):
        from groundup.config.help import manual

        print(manual(stage, STAGES[stage][1], conf_dir()))
        return 0
    try:
        prepare_environment()
    except UserError as error:
        return fail(str(error))
    from groundup.config.quoting import quoted
    from groundup.jobs.launch import launch

    return launch(stage, quoted(rest, sweep=bool({"-m", "--multirun"} & set(rest))))


def main() -> None:
    """Entry point of the console script."""
    streams.prepare()
    sys.exit(streams.finish(run(sys.argv[1:])))
