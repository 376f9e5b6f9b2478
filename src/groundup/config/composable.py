"""What a command line may hold: the groups, choices and keys of a verb, found out by composing its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import cast

from groundup.config import files
from groundup.config.files import WITHOUT_FOLDER, conf_dir

TRAINING = ("pretrain", "finetune")


def groups() -> dict[str, list[str]]:
    """Group -> its choices."""
    return groups_in(files.conf_dir())


groups_in = cache(files.groups)


def is_choice(word: str) -> bool:
    """Whether a word of a command line sets a group."""
    return word.lstrip("+").partition("=")[0] in groups()


@cache
def composed(stage: str, overrides: tuple[str, ...]) -> Mapping | None:
    """The configuration as plain values, interpolations unresolved; None when it does not compose."""
    from omegaconf import OmegaConf

    from groundup.config.hydra import compose_raw

    try:
        return cast(Mapping, OmegaConf.to_container(compose_raw(stage, overrides)))
    except Exception:  # Hydra's own or a plugin's: whatever it is, this cannot be typed
        return None


def sound(stage: str, overrides: Sequence[str]) -> list[str]:
    """What of a command line composes: all of it, or else its choices, or nothing."""
    known = groups()
    choices = [word for word in overrides if word.partition("=")[2] in known.get(word.partition("=")[0], ())]
    return next((list(kept) for kept in (overrides, choices) if composed(stage, tuple(kept)) is not None), [])


def searched(arguments: Sequence[str]) -> list[str]:
    """Folders that ``-cd FOLDER`` adds to the configurations, as overrides."""
    found = []
    for before, word in pairwise(["", *arguments, ""]):
        flag, _, folder = word.partition("=") if "=" in word else (before, "", word)
        if flag in ("-cd", "--config-dir"):
            found.append(f"hydra.searchpath=[file://{Path(folder).absolute()}]")
    return found


def takes(stage: str, others: Sequence[str], words: Sequence[str]) -> bool:
    """Whether ``groundup STAGE OTHERS WORDS`` composes. ``groundup resume run=x`` is a command of its own."""
    if words[:1] == ["groundup"]:
        return stage in TRAINING and takes(words[1], (), words[2:])
    if stage in WITHOUT_FOLDER and any(word.startswith("hydra.run.") for word in words):
        return False
    if files.left_empty(conf_dir(), stage) & {word.partition("=")[0] for word in words}:
        return False
    if all(word.partition("=")[0] in all_names(stage, others) for word in words) and not any(map(is_choice, words)):
        return True  # without composing once more
    return composed(stage, (*others, *words)) is not None


def all_names(stage: str, overrides: Sequence[str]) -> list[str]:
    """Groups and dotted keys of a stage as composed with what is sound of ``overrides``."""
    plain = composed(stage, tuple(sound(stage, overrides))) or {}
    choices, empty = plain.get("hydra", {}).get("runtime", {}).get("choices", {}), files.left_empty(conf_dir(), stage)
    chosen = [group for group in choices if "@" not in group and group not in empty]
    names = dict.fromkeys([*chosen, *dotted(plain)])
    return [name for name in names if not name.startswith("hydra") and not name.rpartition(".")[2].startswith("_")]


def dotted(values: Mapping, prefix: str = "") -> Iterator[str]:
    """All keys of nested values: ``model``, ``model.dropout``, ..."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")


def elsewhere(key: str) -> list[str]:
    """Choices of the key's group whose files have it: ``model.cell`` -> bilstm_encoder, lstm_decoder, ..."""
    group, _, name = key.partition(".")
    if not name or ("." in name and group not in ("callbacks", "logger")):
        return []
    top, folder = re.escape(name.partition(".")[0]), conf_dir()
    found = []
    for choice in groups().get(group, []):
        file = folder / group / f"{choice}.yaml"
        texts = [one.read_text(encoding="utf-8") for one in (file, *files.bases(file)) if one.is_file()]
        if any(re.search(rf"^{top}:", text, re.MULTILINE) for text in texts):
            found.append(choice)
    return found


def forget() -> None:
    """What was read for the last line; files may have changed since."""
    composed.cache_clear()
    groups_in.cache_clear()
