"""What to type instead. A suggestion is shown only if this configuration takes it, and only if it means what was typed.

First the table of foreign names, then keys of the same name or with one slip of the finger; no key is ever named for
looking a little like another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from groundup.config import files
from groundup.config.files import WITHOUT_FOLDER, conf_dir
from groundup.config.foreign import CHOICES, KEYS, NOTES, Template, by_name, normalised
from groundup.config.places import resolve
from groundup.config.quoting import shell_word
from groundup.config.spelling import closest

TRAINING = ("pretrain", "finetune")
ON, OFF = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def instead_of_key(key: str, value: str, stage: str, others: Sequence[str]) -> str:
    """The end of the line about a key that does not exist: ``. Try batching.batch_size=16``.

    ``others``: the other words of the command line, which say what there is.
    """
    others = sound(stage, others)
    known = all_names(stage, others)
    if stage == "resume":
        for words in translated(key, value, "pretrain", (), all_names("pretrain", ())):
            if all(word.partition(".")[0] in files.CHANGEABLE for word in words) and takes("pretrain", (), words):
                return f". {try_line(words)}"
    if stage == "resume" and any(key in all_names(verb, ()) for verb in TRAINING):
        return ": a run goes on with its own configuration; groundup pretrain or finetune with init_from=RUN starts a new one"
    ours = list(translated(key, value, stage, others, known))
    for words in ours:
        if takes(stage, others, words):
            return f". {try_line(words)}"
    for word in (words[0] for words in ours if words[0] != f"{key}={value}"):
        if (homes := elsewhere(word.partition("=")[0])) and (group := word.partition(".")[0]) in known:
            return f": that is {word}, and {group} must be one of {in_short(homes)}"
        if word.partition("=")[0] in known and (options := groups().get(word.partition("=")[0])):
            group = word.partition("=")[0]
            return f": that is {group}=NAME. {group} can be: {', '.join(options)}"
    if note := by_name(NOTES).get(normalised(key)) or by_name(NOTES).get(normalised(key.rpartition(".")[2])):
        return f": {note}"
    group = key.partition(".")[0]
    if (homes := elsewhere(key)) and group in known:
        if group == "callbacks":
            return f". {try_line([beside_chosen(homes[0], others), f'{key}={value}'])}"
        return f": {group} must be one of {in_short(homes)}"
    if near := spelled(key, known):
        return f"; did you mean '{near}'? {try_line([f'{near}={value}'])}"
    if found := unlisted(key, stage, others):
        return f". {try_line([f'+{found}={value}'])}"
    same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    if same:
        return f". There {'is' if len(same) == 1 else 'are'} {', '.join(same)}"
    if verbs := read_by(key, stage):
        return f": {verbs}"
    parent = key.rpartition(".")[0]
    if parent and (beside := [name for name in known if name.rpartition(".")[0] == parent]):
        return f". There {'is' if len(beside) == 1 else 'are'} {', '.join(beside)}"
    return f". `groundup {stage} --help` lists the keys"


def read_by(key: str, stage: str) -> str:
    """Which other verbs have a key or group that ``stage`` lacks; empty: none has."""
    root = key.lstrip("+~").partition(".")[0].rpartition("@")[2]
    verbs = [verb for verb in files.STAGES if root in files.stage_keys(conf_dir(), verb)]
    if not verbs or stage in verbs:
        return ""
    listed = " and ".join(filter(None, [", ".join(verbs[:-1]), verbs[-1]]))
    return f"{root} is for groundup {listed}"


def instead_of_choice(group: str, name: str, options: Sequence[str], stage: str, others: Sequence[str]) -> str:
    """The end of the line about a choice that does not exist; empty when nothing means the same."""
    others = sound(stage, others)
    if group == "data" and ("/" in name or Path(name).suffix):
        words = ["data=files", f"data.{'train' if Path(name).exists() or Path(name).suffix else 'hub'}={name}"]
        return f". {try_line(words)}" if takes(stage, others, words) else ""
    if note := by_name(NOTES).get(f"{group}={normalised(name)}"):
        return f" ({note})"
    wanted = by_name(CHOICES.get(group, {})).get(normalised(name))
    if wanted is not None:
        choice, *keys = of_our_kind(f"{group}={wanted}", name, stage, others)
        for words in ([choice, *keys], [choice, *(side for key in keys for side in sides(key))]):
            if takes(stage, others, words):
                return f". {try_line(words)}"
    near = closest(name, options)
    return f". Did you mean {group}={near}?" if near else ""


def translated(key: str, value: str, stage: str, others: Sequence[str], known: Collection[str]) -> Iterator[list[str]]:
    """What a foreign name may be in ours, the likeliest first; not yet known to exist."""
    table, name, leaf = by_name(KEYS), normalised(key), normalised(key.rpartition(".")[2])
    group = key.partition(".")[0]
    if leaf in ("name", "type", "kind") and "." in key and group in groups() and name not in table:
        yield choose(f"{group}={value}", stage, others)
        return
    if name in table or leaf != "name":
        entry = table.get(name, table.get(leaf, ()))
        if entry == table["best_metric"]:
            value = our_metric(value, stage, others)
        for words in fill(entry, value):
            parent = key.rpartition(".")[0]
            ours, _, typed = words[-1].partition("=")
            if parent and f"{parent}.{ours.rpartition('.')[2]}" in known:  # model.encoder.num_layers, say
                yield [f"{parent}.{ours.rpartition('.')[2]}={typed}"]
            yield [word for item in words for word in choose(item, stage, others)]
            yield from both_sides(ours, typed, known)
    yield from both_sides(key, value, known)


def our_metric(name: str, stage: str, others: Sequence[str]) -> str:
    """What the task calls a metric of that name; the name itself where it has none."""
    return meant_metric(name, reported(composed(stage, tuple(others)) or {})) or name


def reported(config: Mapping) -> Sequence[Any]:
    """The metrics that the validation of a configuration's task reports; its class is imported."""
    task = config.get("task")
    return resolve(task.get("_target_"), "task").reports if task else ()  # type: ignore[attr-defined]


def meant_metric(name: str, reports: Sequence[Any]) -> str | None:
    """The metric of ``reports`` that others call ``name``: ``val_acc`` is ``accuracy``."""
    bare = re.sub(r"^(eval|val|valid|validation|test|dev|train)_", "", name.lower().replace("-", "_"))
    near = get_close_matches(bare, [one.name for one in reports if one.better], 1, 0.8)
    return next((one.name for one in reports if bare in (one.name, *one.also)), next(iter(near), None))


def both_sides(key: str, value: str, known: Collection[str]) -> Iterator[list[str]]:
    """``model.dropout`` of an encoder-decoder is that of its encoder and that of its decoder."""
    if key.startswith("model.") and all(side in known for side in sides(key)):
        yield [f"{side}={value}" for side in sides(key)]


def sides(key: str) -> list[str]:
    return [key.replace("model.", f"model.{side}.", 1) for side in ("encoder", "decoder")]


def fill(template: Template, value: str) -> Iterator[list[str]]:
    """The words of a template with the value in its place; none where the value does not fit."""
    if isinstance(template, Mapping):
        plain = value.strip("'\"").lower()
        plain = (
            "true" if plain in ON and "true" in template else "false" if plain in OFF and "false" in template else plain
        )
        template = template.get(plain, template.get("*", ""))
    for text in (template,) if isinstance(template, str) else template:
        metric = re.sub(r"^(eval|val|valid|validation|test|dev)[_/]", "", value)
        if text and not ("{count}" in text and not re.fullmatch(r"[1-9]\d*", value)):
            yield [word.format(value, count=value, metric=metric) for word in text.split(" ")]


def choose(word: str, stage: str, others: Sequence[str]) -> list[str]:
    """``data=imdb`` as it is; the name of a choice that we call otherwise in our words."""
    group, _, name = word.partition("=")
    if group in CHOICES and name not in groups().get(group, []):
        if group == "data" and "/" in name:
            return ["data=files", f"data.hub={name}"]
        ours = by_name(CHOICES[group]).get(normalised(name))
        return of_our_kind(f"{group}={ours}", name, stage, others) if ours else [word]
    return [word]


def of_our_kind(words: str, name: str, stage: str, others: Sequence[str]) -> list[str]:
    """The words of a choice, ``{kind}`` being the kind of model that the task is usually done with; its class is imported."""
    kind = ""
    if "{kind}" in words:
        task = (composed(stage, tuple(others)) or {}).get("task")
        kind = resolve(task["_target_"], "task").accepts[0] if task else "encoder"  # type: ignore[attr-defined]
    return words.format(name, kind=kind).split()


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


def beside_chosen(callback: str, others: Sequence[str]) -> str:
    """``callbacks=...`` with what was chosen, by default ``default``, and one more."""
    typed = [word.partition("=")[2] for word in others if word.partition("=")[0] == "callbacks"]
    chosen = {*typed[-1].strip("[]").split(",")} - {"none"} if typed else {"default"}
    names = sorted(chosen | {callback}, key=lambda name: (name != "default", name))
    return f"callbacks=[{','.join(names)}]" if len(names) > 1 else f"callbacks={callback}"


def unlisted(key: str, stage: str, others: Sequence[str]) -> str | None:
    """An argument of the key's class that no file lists: ``optimizer.amsgrad``, ``trainer.profiler``."""
    from groundup.config.signatures import SET_BY_CODE, parameters_of  # needs pydantic

    parent, _, name = key.rpartition(".")
    node: Any = composed(stage, tuple(others))
    for part in parent.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or "_target_" not in node:
        return None
    found = parameters_of(resolve(node["_target_"], parent))
    near = closest(name, set(found[0]) - set(SET_BY_CODE.get(parent, ()))) if found else None
    return f"{parent}.{near}" if near else None


def in_short(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} or {len(names) - 3} more"


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


def forget() -> None:
    """What was read for the last line; files may have changed since."""
    composed.cache_clear()
    groups_in.cache_clear()


def is_choice(word: str) -> bool:
    return word.lstrip("+").partition("=")[0] in groups()


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


@cache
def composed(stage: str, overrides: tuple[str, ...]) -> Mapping | None:
    """The configuration as plain values, interpolations unresolved; None when it does not compose."""
    from omegaconf import OmegaConf

    from groundup.config.hydra import compose_raw

    try:
        return cast(Mapping, OmegaConf.to_container(compose_raw(stage, overrides)))
    except Exception:  # Hydra's own or a plugin's: whatever it is, this cannot be typed
        return None


def try_line(words: Sequence[str]) -> str:
    """``Try KEY=VALUE``, ready to paste into a shell."""
    return f"Try {' '.join(shell_word(word) for word in words)}"


def spelled(key: str, known: Collection[str]) -> str | None:
    """The key with one slip mended, level by level: ``modle.dropuot`` -> ``model.dropout``."""
    path = ""
    for part in key.split("."):
        prefix = f"{path}." if path else ""
        siblings = [name.removeprefix(prefix) for name in known if name.startswith(prefix)]
        found = closest(part, list(dict.fromkeys(name.partition(".")[0] for name in siblings)))
        if found is None:
            return None
        path = prefix + found
    return path if path in known else None


def all_names(stage: str, overrides: Sequence[str]) -> list[str]:
    """Groups and dotted keys of a stage as composed with what is sound of ``overrides``."""
    plain = composed(stage, tuple(sound(stage, overrides))) or {}
    choices, empty = plain.get("hydra", {}).get("runtime", {}).get("choices", {}), files.left_empty(conf_dir(), stage)
    chosen = [group for group in choices if "@" not in group and group not in empty]
    names = dict.fromkeys([*chosen, *dotted(plain)])
    return [name for name in names if not name.startswith("hydra") and not name.rpartition(".")[2].startswith("_")]


def dotted(values: Mapping, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")


def groups() -> dict[str, list[str]]:
    return groups_in(files.conf_dir())


groups_in = cache(files.groups)
