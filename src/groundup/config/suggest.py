"""What to type instead. A suggestion is shown only if this configuration takes it, and only if it means what was typed.

First the table of foreign names, then keys of the same name or with one slip of the finger; no key is ever named for
looking a little like another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.config import files
from groundup.config.composable import TRAINING, all_names, composed, elsewhere, groups, sound, takes
from groundup.config.files import conf_dir
from groundup.config.foreign import CHOICES, NOTES, by_name, normalised
from groundup.config.places import resolve
from groundup.config.quoting import shell_word
from groundup.config.spelling import closest
from groundup.config.translate import of_our_kind, sides, translated


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
    part = ".".join(key.split(".")[:2])
    chosen = any(name.startswith(f"{part}.") for name in known)  # a choice that has more such keys
    if not chosen and (homes := elsewhere(key)) and group in known:
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


def read_by(key: str, stage: str) -> str:
    """Which other verbs have a key or group that ``stage`` lacks; empty: none has."""
    root = key.lstrip("+~").partition(".")[0].rpartition("@")[2]
    verbs = [verb for verb in files.STAGES if root in files.stage_keys(conf_dir(), verb)]
    if not verbs or stage in verbs:
        return ""
    listed = " and ".join(filter(None, [", ".join(verbs[:-1]), verbs[-1]]))
    return f"{root} is for groundup {listed}"


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


def beside_chosen(callback: str, others: Sequence[str]) -> str:
    """``callbacks=...`` with what was chosen, by default ``default``, and one more."""
    typed = [word.partition("=")[2] for word in others if word.partition("=")[0] == "callbacks"]
    chosen = {*typed[-1].strip("[]").split(",")} - {"none"} if typed else {"default"}
    names = sorted(chosen | {callback}, key=lambda name: (name != "default", name))
    return f"callbacks=[{','.join(names)}]" if len(names) > 1 else f"callbacks={callback}"


def in_short(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} or {len(names) - 3} more"


def try_line(words: Sequence[str]) -> str:
    """``Try KEY=VALUE``, ready to paste into a shell."""
    return f"Try {' '.join(shell_word(word) for word in words)}"
