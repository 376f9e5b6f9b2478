"""Hydra's and OmegaConf's refusals in one line that says what to type."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from groundup.config import files
from groundup.errors import UserError

# What the system says of a file that the user may see and mend; as `cat` says it.
ENVIRONMENT = {
    getattr(errno, name)
    for name in "EACCES EPERM EROFS ENOTDIR EISDIR ENAMETOOLONG ELOOP ENOSPC EDQUOT EFBIG EIO EMFILE ENFILE".split()
    if hasattr(errno, name)
}


def explain(error: BaseException, stage: str, overrides: Sequence[str]) -> str | None:
    """One line for a mistake of the user's; None for everything else, which deserves its traceback."""
    import yaml
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, UserError):
        return one_line(error)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override)
    if isinstance(error, yaml.MarkedYAMLError):
        return broken_yaml(error)
    if isinstance(error, HydraException):
        return composition(error, stage, overrides)
    if isinstance(error, OmegaConfBaseException):
        return omegaconf(error, overrides)
    if isinstance(error, OSError) and error.errno in ENVIRONMENT and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError) and "Config group override must be a string" in str(error):
        return number_as_choice(overrides)
    return None


def unreadable(override: str) -> str:
    name, equals, value = override.partition("=")
    if not equals and not override.startswith("~"):
        return f"{override}: a value is missing. Write {override}=VALUE"
    if not re.fullmatch(r"[+~]{0,2}[\w./@:$-]+", name, re.ASCII):
        return f"{override}: cannot be read as KEY=VALUE: '{name}' is not the name of a key"
    if value.startswith("{"):
        return f"{override}: cannot be read as KEY=VALUE. Keys inside {{ }} are written with a-z, 0-9, _ and -"
    quoted = value.replace("'", r"\'")
    return (
        f"{override}: cannot be read as KEY=VALUE. If it is text, it needs two pairs of quotes: \"{name}='{quoted}'\""
    )


def number_as_choice(overrides: Sequence[str]) -> str:
    """``model=3``: Hydra reads a number (or null, nan, true) where a name is due."""
    known = groups()
    for override in overrides:
        group, _, value = override.lstrip("+").partition("=")
        if group in known and value not in known[group]:
            return unknown_choice(f"{group}/{value}", "", None, overrides)
    return "a group is chosen by name: GROUP=NAME"


def broken_yaml(error) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{mark.name.removeprefix('file://')}, line {mark.line + 1}: " if mark else ""
    return f"{where}not valid YAML: {one_line(error.problem or error.context or 'broken')}"


def composition(error: BaseException, stage: str, overrides: Sequence[str]) -> str:
    text, cause = str(error), error.__cause__
    if match := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(match[1], text, stage, overrides)
    if match := re.search(r"Could not find '([^']+)'", text):
        return unknown_choice(match[1], text, getattr(error, "options", None), overrides)
    if match := re.search(r"You must specify '([^']+)'", text):
        options = re.findall(r"^\t(\S+)", text, re.MULTILINE)
        return f"{match[1]}: no choice made. It can be: {', '.join(options)}. Try {match[1]}={options[0] if options else '...'}"
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        override = next((item for item in overrides if item.startswith(f"+{match[1]}=")), f"+{match[1]}=...")
        return f"{override}: the key exists already. Try {override.lstrip('+')}"
    if match := re.search(r"Multiple values for ([\w/@]+)", text):
        return f"{match[1]} is chosen more than once. Write it once, without +: {match[1]}=..."
    if match := re.search(r"Could not delete .*?'?([\w/.]+)'?(?: does not exist|\. No match)", text):
        return f"~{match[1]}: nothing there to delete{did_you_mean(match[1], all_names(stage, overrides), '~{}')}"
    if match := re.search(r"Ambiguous value for argument '(([^=]+)=(.*))'|Sweep parameters '(([^=]+)=(.*))'", text):
        override, key, value = [item for item in match.groups() if item is not None]
        return f"{override}: several values. For one run each add -m; for a list write '{key}=[{value}]'"
    if match := re.search(r"Override (\S+) looks like a config group", text):
        return f"{match[1]}: there is no such group{did_you_mean(match[1].lstrip('+~').split('@')[0], list(groups()))}"
    if match := re.search(r"Error merging override (.+)", text):
        detail = one_line(str(cause).splitlines()[0]) if cause else "it does not fit"
        return f"{match[1]}: {detail}"
    if cause is not None and not text.strip():
        return explain(cause, stage, overrides) or one_line(cause)
    return one_line(text)


def unknown_key(key: str, text: str, stage: str, overrides: Sequence[str]) -> str:
    """A misspelt key or group, on the command line or in a file's defaults list."""
    override = next((item for item in overrides if item.lstrip("+~").partition("=")[0] == key), None)
    value = override.partition("=")[2] if override else "..."
    where = match[1] + ".yaml: " if (match := re.search(r"In '([^']+)'", text)) else ""
    kept = [item for item in overrides if item != override and not item.startswith("-")]
    known = all_names(stage, kept)
    if key in groups() and key not in known:
        return f"{where}{override or key}: groundup {stage} has no group '{key}'. `groundup {stage} --help` lists what it has"
    return f"{where}{override or key}: no key or group '{key}'{did_you_mean(key, known, f'{{}}={value}')}"


def did_you_mean(word: str, known: Sequence[str], typed: str = "{}=...") -> str:
    near = nearest_key(word, known)
    return f"; did you mean '{near}'? Try {typed.format(near)}" if near else ". `groundup VERB --help` lists the keys"


def nearest_key(word: str, known: Sequence[str]) -> str | None:
    """The most similar key; else one that ends in the same name (``lr`` -> ``optimizer.lr``)."""
    parent, _, name = word.rpartition(".")
    siblings = [key for key in known if key.rpartition(".")[0] == parent]
    for candidates, cutoff in ((siblings, 0.6), (known, 0.75)):
        if found := get_close_matches(word, candidates, n=1, cutoff=cutoff):
            return found[0]
    same = [key for key in known if key.rpartition(".")[2] == name]
    return min(same, key=len) if same else None


def unknown_choice(path: str, text: str, options: Sequence[str] | None, overrides: Sequence[str]) -> str:
    group, _, name = path.rpartition("/")
    where = (
        match[1] + ".yaml: "
        if (match := re.search(r"In '([^']+)'", text)) and not asked_for(group, name, overrides)
        else ""
    )
    options = groups().get(group) or list(options or ())
    if not options:
        return f"{where}there is no configuration '{path}'"
    near = get_close_matches(name, options, n=1)
    advice = f". Did you mean {group}={near[0]}?" if near else f". Try {group}={options[0]}"
    return f"{where}{group}={name}: no such choice. {group} can be: {', '.join(options)}{advice}"


def asked_for(group: str, name: str, overrides: Sequence[str]) -> bool:
    return any(item.lstrip("+").startswith(f"{group}=") and name in item for item in overrides)


def omegaconf(error, overrides: Sequence[str] = ()) -> str:
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
    if match := re.search(r"Environment variable '([^']+)' not found", text):
        return f"{key}: the environment variable {match[1]} is not set. Try export {match[1]}=..."
    return f"{key}: {text}" if key else text


def all_names(stage: str, overrides: Sequence[str]) -> list[str]:
    """Groups and dotted keys of a stage as composed with ``overrides``, or without them when that fails as well."""
    from omegaconf import OmegaConf

    from groundup.config.compose import compose_raw

    for attempt in (overrides, []):
        try:
            cfg = compose_raw(stage, attempt)
        except Exception:  # another override is wrong too; the first mistake is enough for one line
            continue
        plain = OmegaConf.to_container(cfg)
        names = dict.fromkeys([*cfg.hydra.runtime.choices, *(dotted(plain) if isinstance(plain, dict) else ())])
        return [name for name in names if not name.startswith("hydra")]
    return []


def dotted(values: Mapping, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")


def groups() -> dict[str, list[str]]:
    from groundup.cli import conf_dir

    return files.groups(conf_dir())


def one_line(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).strip()
