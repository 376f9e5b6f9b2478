"""Words of a command line that are not KEY=VALUE: how each verb turns them into keys of its configuration."""

from __future__ import annotations

import re
from pathlib import Path

from groundup.config.files import CHANGEABLE
from groundup.config.quoting import OVERRIDE, TAKE_A_WORD, literal, parted

FLAGS = {
    "--remove-failed": "remove_failed=true",
    "--yes": "ask=false",
    "--inside": "inside=true",
    "--serve": "serve=true",
    "--figures": "figures=true",
}
WITH_A_WORD = (*TAKE_A_WORD, "-c", "--cfg", "-i", "--info", "--experimental-rerun")  # of Hydra's flags


def for_steps(arguments: list[str]) -> list[str]:
    """What is meant for steps as an item of a pipeline's list ``overrides``: Hydra knows no key of a step.

    That is ``pretrain.budget.steps=100``, and ``data=files`` or ``seed=2``, which other stages have and a pipeline has not.
    They follow what the experiment has in that list.
    """
    from groundup.config.files import STAGES, conf_dir, stage_keys

    if {"-m", "--multirun"} & set(arguments):
        return arguments
    own = {"hydra", "overrides", *stage_keys(conf_dir(), "pipeline")}
    others = {key for stage in STAGES for key in stage_keys(conf_dir(), stage)}

    def is_theirs(word: str) -> bool:
        match = OVERRIDE.fullmatch(word)
        first, dot, _ = match[1].lstrip("+~").partition(".") if match else ("", "", "")
        return bool(match) and first.partition("/")[0].partition("@")[0] not in own and (bool(dot) or first in others)

    theirs = [word for word in arguments if is_theirs(word)]
    if not theirs:
        return arguments
    rest = [word for word in arguments if word not in theirs]
    return [*rest, f"overrides=[{','.join(literal(str(word)) for word in [*listed_before(rest), *theirs])}]"]


def listed_before(arguments: list[str]) -> list[str]:
    """The list ``overrides`` of a pipeline's experiment; empty for a command that does not compose, which the launch tells."""
    from groundup.config.composable import composed, searched

    words = [word for word in arguments if word.startswith(("experiment=", "overrides=", "hydra.searchpath="))]
    words += searched(arguments)
    return (composed("pipeline", tuple(words)) or {}).get("overrides") or []


def for_compare(arguments: list[str]) -> list[str]:
    """``compare RUN RUN --format latex`` as keys: Hydra knows no word without one."""
    return with_list("runs", with_format(arguments))


def for_report(arguments: list[str]) -> list[str]:
    """``report RUN --format csv`` and ``report --serve`` as keys."""
    return with_list("folders", [FLAGS.get(word, word) for word in with_format(arguments)])


def with_format(arguments: list[str]) -> list[str]:
    """``--format latex`` and ``--format=latex`` as a key."""
    return re.sub(r"--format[\0=]", "format=", "\0".join(arguments)).split("\0")


def with_list(key: str, words: list[str]) -> list[str]:
    """Words without a key, which name folders, as the list ``key``."""
    named = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if word
        and word[0] != "-"
        and before not in WITH_A_WORD
        and (not OVERRIDE.fullmatch(word) or Path(word).is_dir())
    ]
    listed = [f"{key}=[{','.join(literal(word) for word in named)}]"] if named else []
    return [word for word in words if word and word not in named] + listed


def for_runs(arguments: list[str]) -> list[str]:
    """``runs data=trec6 --remove-failed`` as keys of the verb: what is none of them says which runs are shown."""
    from groundup.config.files import conf_dir, stage_keys

    own = {"hydra", *stage_keys(conf_dir(), "runs")}
    words = [FLAGS.get(word, word) for word in arguments]
    match = {word: OVERRIDE.fullmatch(word) for word in words}
    conditions = [word for word in words if (found := match[word]) and found[1].partition(".")[0] not in own]
    listed = [f"where=[{','.join(literal(word) for word in conditions)}]"] if conditions else []
    return [word for word in words if word not in conditions] + listed


def for_plan(arguments: list[str]) -> list[str]:
    """``plan pretrain size=base`` as keys: the verb, and the list of what stands after it."""
    if not arguments or arguments[0][:1] == "-" or "=" in arguments[0]:
        return arguments
    own = ("paths.", "hydra.", "hydra/")
    theirs = [word for word in arguments[1:] if word[:1] != "-" and not word.startswith(own)]
    rest = [word for word in arguments[1:] if word not in theirs]
    return [f"verb={arguments[0]}", f"overrides=[{','.join(literal(word) for word in theirs)}]", *rest]


def for_resume(arguments: list[str]) -> list[str]:
    """``resume run=RUN budget=2000steps`` as keys of the verb, and the list of what is changed where the run goes on."""
    theirs = [word for word in arguments if word.partition("=")[0].lstrip("+~").partition(".")[0] in CHANGEABLE]
    listed = [f"overrides=[{','.join(literal(word) for word in theirs)}]"] if theirs else []
    return [word for word in arguments if word not in theirs] + listed


def for_serve(arguments: list[str]) -> list[str]:
    """``serve run=RUN run=RUN`` as one list: of a key that stands twice Hydra takes the last."""
    named = [word for word in arguments if word.startswith("run=")]
    if len(named) < 2:
        return arguments
    runs = [parted(word.removeprefix("run=").removeprefix("[").removesuffix("]")) for word in named]
    return [
        *(word for word in arguments if word not in named),
        f"run=[{','.join(one for part in runs for one in part)}]",
    ]


def for_several_sets(arguments: list[str]) -> list[str]:
    """``evaluate data=one,other`` as a multirun: a folder and a row of the table for each set."""
    several = any(word.startswith("data=") and len(parted(word)) > 1 and "'" not in word for word in arguments)
    return arguments if not several or {"-m", "--multirun"} & set(arguments) else ["-m", *arguments]


# How the words of a verb that are no keys of its configuration become keys.
AS_KEYS = {
    "pipeline": for_steps,
    "compare": for_compare,
    "report": for_report,
    "evaluate": for_several_sets,
    "runs": for_runs,
    "plan": for_plan,
    "resume": for_resume,
    "serve": for_serve,
}


def flags_last(arguments: list[str]) -> list[str]:
    """Argparse reads no words on both sides of a flag: ``data=trec6 --cfg job seed=2``. What a flag takes stays behind it."""
    words: list[str] = []
    flags: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        taken = before in WITH_A_WORD or (before[:1] == "-" and "=" not in word)  # an unknown one's too: --lr 0.1
        (flags if word[:1] == "-" or taken else words).append(word)
    return words + flags
