"""Hydra's and OmegaConf's refusals in one line that says what to type."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from groundup.config.composable import all_names, composed, forget, groups, searched, sound, takes
from groundup.config.files import conf_dir, experiment_stage, for_another_verb, left_empty
from groundup.config.foreign import normalised
from groundup.config.quoting import typed
from groundup.config.suggest import instead_of_choice, instead_of_key, read_by, spelled, try_line
from groundup.errors import UserError

# What the system says of a file that the user may see and mend; as `cat` says it.
ENVIRONMENT = {
    getattr(errno, name)
    for name in "EACCES EPERM EROFS ENOTDIR EISDIR ENAMETOOLONG ELOOP ENOSPC EDQUOT EFBIG EIO EMFILE ENFILE".split()
    if hasattr(errno, name)
}
NO_NAME = re.compile(r"(?<=[\[,])\s*([\d.+-][^\s,\]]*|null|true|false)\b")  # in a list of choices
STAGES_WITH_EXPERIMENTS = ("pretrain", "finetune", "distill", "pipeline")


def explain(error: BaseException, stage: str, overrides: Sequence[str]) -> str | None:
    """One line for a mistake of the user's; None for everything else, which deserves its traceback."""
    import yaml
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    forget()
    if isinstance(error, UserError):
        return one_line(error)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, stage, overrides)
    if isinstance(error, yaml.MarkedYAMLError):
        return broken_yaml(error)
    if isinstance(error, HydraException):
        return composition(error, stage, overrides)
    if isinstance(error, OmegaConfBaseException):
        return omegaconf(error, stage, overrides)
    if isinstance(error, OSError) and error.errno in ENVIRONMENT and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, FileExistsError) and error.filename is not None and Path(error.filename).is_file():
        return f"{error.filename} is a file where a folder is due. Move it, or name another folder"
    if isinstance(error, ValueError) and "Config group override must be a string" in str(error):
        return number_as_choice(stage, overrides)
    return None


def unreadable(override: str, stage: str, overrides: Sequence[str]) -> str:
    name, equals, value = override.partition("=")
    if not equals and not override.startswith("~"):
        return bare_word(override, stage, without(override, overrides))
    if not re.fullmatch(r"[+~]{0,2}[\w/@:$-]+(\.[\w/@:$-]+)*", name, re.ASCII):
        return f"{override}: cannot be read as KEY=VALUE: '{name}' is not the name of a key"
    if value.startswith("{"):
        return f"{override}: cannot be read as KEY=VALUE. Keys inside {{ }} are written with a-z, 0-9, _ and -"
    quoted = value.replace("'", r"\'")
    return (
        f"{override}: cannot be read as KEY=VALUE. If it is text, it needs two pairs of quotes: \"{name}='{quoted}'\""
    )


def bare_word(word: str, stage: str, others: Sequence[str]) -> str:
    """A word without ``=``: the key that it surely belongs to, or how words are written."""
    if word.lstrip("+") in all_names(stage, others):
        return f"{word}: a value is missing. Write {word}=VALUE"
    path = Path(word).expanduser()
    meant: list[list[str]] = []
    if word == "last" or (path / "config.yaml").is_file() or path.suffix == ".ckpt":
        meant = [[f"run={word}"], [f"init_from={word}"]]
    elif path.is_file():
        meant = [
            [f"input={word}"],
            [f"data.test={word}"] if stage == "evaluate" else ["data=files", f"data.train={word}"],
        ]
    elif stage == "generate" and " " in word:
        meant = [[f"prompt={word}"]]
    elif stage in STAGES_WITH_EXPERIMENTS and (line := experiment_of_another_verb(stage, [f"experiment={word}"])):
        return line
    elif len(chosen := [group for group, names in groups().items() if word in names and "/" not in group]) == 1:
        meant = [[f"{chosen[0]}={word}"]]
    for words in meant:
        if takes(stage, others, words):
            return f"{word}: a key is missing. {try_line(words)}"
    return f"{word}: words are written KEY=VALUE. `groundup {stage} --help` lists the keys"


def dashed(word: str, words: Sequence[str], stage: str) -> str:
    """``--lr 0.1`` or ``--lr=0.1``, as other programs have it."""
    name, _, value = word.lstrip("-").partition("=")
    after = words[words.index(word) + 1] if word in words[:-1] else ""
    if not value:
        value = after if after and "=" not in after and not re.match(r"-\D", after) else "true"
    others = [other for other in without("", words) if other != word]
    key = normalised(name)
    if key in all_names(stage, others) and takes(stage, others, [f"{key}={value}"]):
        return f"{word}: words are written KEY=VALUE, without dashes. {try_line([f'{key}={value}'])}"
    if key in groups() and key in all_names(stage, others):
        return f"{word}: words are written KEY=VALUE, without dashes. {unknown_choice(f'{key}/{value}', '', None, stage, others)}"
    advice = instead_of_key(key, value, stage, others)
    return f"{word}: words are written KEY=VALUE, without dashes, and there is no key '{key}'{advice}"


def without(override: str, overrides: Sequence[str]) -> list[str]:
    """The other words of a command line; its flags are no overrides."""
    return [word for word in overrides if word != override and not word.startswith("-") and "=" in word]


def number_as_choice(stage: str, overrides: Sequence[str]) -> str:
    """``model=3``, ``debug=true``: Hydra reads a number (or null, nan, true) where a name is due."""
    known = groups()
    for override in overrides:
        group, _, value = override.lstrip("+").partition("=")
        options = known.get(group.partition("@")[0])  # tokenizer@target_tokenizer=null
        if options and value not in options and not value.startswith("["):
            return unknown_choice(f"{group.partition('@')[0]}/{value}", "", None, stage, overrides)
    return "a group is chosen by name: GROUP=NAME"


def broken_yaml(error) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{mark.name.removeprefix('file://')}, line {mark.line + 1}: " if mark else ""
    return f"{where}not valid YAML: {one_line(error.problem or error.context or 'broken')}"


def composition(error: BaseException, stage: str, overrides: Sequence[str]) -> str:
    text, cause = str(error), error.__cause__
    if line := experiment_of_another_verb(stage, overrides):
        return line
    if match := re.search(r"Could not override 'hydra\.(launcher\.\w+)'", text):
        return launcher_key(match[1], overrides)
    if match := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(match[1], text, stage, overrides)
    if match := re.search(r"Could not (?:find|load) '([^']+)'", text):
        return unknown_choice(match[1], text, getattr(error, "options", None), stage, overrides)
    if match := re.search(r"You must specify '([^']+)'", text):
        options = re.findall(r"^\t(\S+)", text, re.MULTILINE)
        return f"{match[1]}: no choice made. It can be: {', '.join(options)}. Try {match[1]}={options[0] if options else '...'}"
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        override = next((item for item in overrides if item.startswith(f"+{match[1]}=")), f"+{match[1]}=...")
        return f"{override}: the key exists already. Try {override.lstrip('+')}"
    if match := re.search(r"Multiple values for ([\w/@]+)", text):
        return f"{match[1]} is chosen more than once. Write it once, without +: {match[1]}=..."
    if match := re.search(r"Could not delete .*?'?([\w/.]+)'?(?: does not exist|\. No match)", text):
        near = spelled(match[1], all_names(stage, without(f"~{match[1]}", overrides)))
        if near == match[1]:  # it is null
            return f"~{near}: nothing is set there. Leave it out"
        return f"~{match[1]}: nothing there to delete" + (f"; did you mean '{near}'? Try ~{near}" if near else "")
    if match := re.search(r"Ambiguous value for argument '(([^=]+)=(.*))'|Sweep parameters '(([^=]+)=(.*))'", text):
        override, key, value = [item for item in match.groups() if item is not None]
        as_list = f"; for a list write '{key}=[{value}]'" if may_be_list(key, stage) else ""
        return f"{override}: several values. For one run each add -m{as_list}"
    if match := re.search(r"Override (\S+) looks like a config group", text):
        near = spelled(match[1].lstrip("+~").split("@")[0], list(groups()))
        return f"{match[1]}: there is no such group" + (f"; did you mean '{near}'?" if near else "")
    if match := re.search(r"Error merging override (.+)", text):
        detail = one_line(str(cause).splitlines()[0]) if cause else "it does not fit"
        return f"{match[1]}: {detail}"
    if cause is not None and not text.strip():
        return explain(cause, stage, overrides) or one_line(cause)
    return one_line(text)


def experiment_of_another_verb(stage: str, overrides: Sequence[str]) -> str | None:
    name = next((word.partition("=")[2] for word in overrides if word.lstrip("+").startswith("experiment=")), "")
    wanted = experiment_stage(conf_dir(), name) if name else None
    return None if wanted in (None, stage) else for_another_verb(name, wanted)


def unknown_key(key: str, text: str, stage: str, overrides: Sequence[str]) -> str:
    """A misspelt key or group, on the command line or in a file's defaults list."""
    from groundup.config.budget import UNITS, in_minutes_only  # needs pydantic

    overrides = [typed(item) for item in overrides]
    override = next((item for item in overrides if item.lstrip("+~").partition("=")[0] == key), None)
    value = override.partition("=")[2] if override else "..."
    where = match[1] + ".yaml: " if (match := re.search(r"In '([^']+)'", text)) else ""
    if key in groups() and key not in all_names(stage, ()):
        choice = where.removesuffix(".yaml: ").replace("/", "=")
        return f"{f'{choice} sets its {key}' if where and not override else override or key}: {no_group(key, stage)}"
    section = key.partition(".")[0]
    whole = next((word for word in overrides if section != key and word.startswith(f"{section}=")), None)
    if whole and section not in groups() and key in all_names(stage, ()):  # `budget=20` leaves no budget.steps
        return f"{whole}: {section} has keys of its own, such as {key}. Leave out {whole}"
    others = without(override or "", overrides)
    unit = key.removeprefix("budget.")
    if stage == "pipeline" and override and key != unit and unit in UNITS:
        steps = (composed(stage, tuple(sound(stage, [*others, *searched(overrides)]))) or {}).get("steps") or {}
        return in_minutes_only(unit, value, steps)
    advice = instead_of_key(key, value, stage, others)
    return f"{where}{override or key}: no key or group '{key}'{advice}"


def launcher_key(key: str, overrides: Sequence[str]) -> str:
    """A key that the chosen launcher has not: which one has it."""
    value = next((word.partition("=")[2] for word in overrides if word.startswith(f"hydra.{key}=")), "...")
    name = key.rpartition(".")[2]
    ours = "jobs" if name in ("n_jobs", "num_jobs", "workers", "max_workers", "processes") else name
    files = sorted((conf_dir() / "hydra" / "launcher").glob("*.yaml"))
    known = {file.stem: re.findall(r"^([a-z]\w*):", file.read_text(encoding="utf-8"), re.MULTILINE) for file in files}
    if home := next((choice for choice, keys in known.items() if ours in keys), None):
        return (
            f"{key}={value}: the launcher has no such key. {try_line([f'launcher={home}', f'launcher.{ours}={value}'])}"
        )
    keys = ", ".join(f"launcher={choice} has {', '.join(keys)}" for choice, keys in known.items() if keys)
    return f"{key}={value}: the launcher has no such key. {keys}"


def unknown_choice(path: str, text: str, options: Sequence[str] | None, stage: str, overrides: Sequence[str]) -> str:
    group = next((group for group in sorted(groups(), key=len, reverse=True) if path.startswith(f"{group}/")), "")
    group, name = (group, path.removeprefix(f"{group}/")) if group else path.rpartition("/")[::2]
    if group == "hydra/launcher":  # written launcher=
        options = groups()[group]
        advice = instead_of_choice("launcher", name, options, stage, ())
        return f"launcher={name}: no such choice. launcher can be: {', '.join(options)}{advice}"
    where = (
        match[1] + ".yaml: "
        if (match := re.search(r"In '([^']+)'", text)) and not asked_for(group, name, overrides)
        else ""
    )
    if group in groups() and group not in all_names(stage, ()):
        return f"{where}{group}={name}: {no_group(group, stage)}"
    options = groups().get(group) or list(options or ())
    if not options:
        return f"{where}there is no configuration '{path}'"
    others = [word for word in without("", overrides) if word.lstrip("+").partition("=")[0] != group]
    advice = instead_of_choice(group, name, options, stage, others)
    return f"{where}{group}={name}: no such choice. {group} can be: {', '.join(options)}{advice}"


def check_groups(stage: str, overrides: Sequence[str]) -> None:
    """Raises UserError for a choice in a group that Hydra knows for the sake of tasks alone (see ``files.left_empty``), and
    for a number among several choices, at which Hydra breaks."""
    empty = left_empty(conf_dir(), stage)
    for word in overrides:
        group, equals, value = word.lstrip("+").partition("=")
        if equals and group in empty:
            raise UserError(f"{word}: {no_group(group, stage)}")
        no_names = NO_NAME.findall(value) if value.startswith("[") and group in groups() else []
        if no_names:
            raise UserError(unknown_choice(f"{group}/{no_names[0]}", "", None, stage, overrides))


def no_group(group: str, stage: str) -> str:
    return f"groundup {stage} has no group '{group}'. " + (
        read_by(group, stage) or f"`groundup {stage} --help` lists what it has"
    )


def may_be_list(key: str, stage: str) -> bool:
    """Whether a key holds a list, or nothing that says what it is."""
    value = composed(stage, ())
    for part in key.lstrip("+").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value is None or isinstance(value, list)


def asked_for(group: str, name: str, overrides: Sequence[str]) -> bool:
    return any(item.lstrip("+").startswith(f"{group}=") and name in item for item in overrides)


def omegaconf(error, stage: str, overrides: Sequence[str]) -> str:
    """A value that is missing, points nowhere or has the wrong type."""
    kind, key = type(error).__name__, getattr(error, "full_key", None)
    text = one_line(str(error).splitlines()[0])
    if kind == "MissingMandatoryValue":
        return f"{key}: no value. Try {key}=..."
    if match := re.search(r"Interpolation key '([^']+)' not found", text):
        key = key or next(
            (item.lstrip("+").partition("=")[0] for item in overrides if "${" + match[1] + "}" in item), ""
        )
        return f"{key} = ${{{match[1]}}}: there is no key '{match[1]}' to take the value from"
    if match := re.search(r"node `(\w+)` is not a container and thus cannot contain `(\w+)`", str(error)):
        word = typed(next((word for word in overrides if word.startswith(f"{match[1]}=")), match[1]))
        ours = instead_of_key(match[1], word.partition("=")[2], stage, without(word, overrides))
        if ours.startswith(". Try "):  # `wandb=false`, say
            return f"{word}: it has keys of its own{ours}"
        return f"{match[1]}: it has keys of its own, such as {match[1]}.{match[2]}"
    if match := re.search(r"Environment variable '([^']+)' not found", text):
        return f"{key}: the environment variable {match[1]} is not set. Try export {match[1]}=..."
    return f"{key}: {text}" if key else text


def one_line(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).strip()
