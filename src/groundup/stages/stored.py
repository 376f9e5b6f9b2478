"""Checks that the model that a run's config describes is the one in its checkpoint, before any memory is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules import module as registration

from groundup.config.check import check
from groundup.config.tree import Config
from groundup.data.facts import Facts
from groundup.errors import UserError
from groundup.metrics.estimate import check_monitor
from groundup.runs.folder import RunFolder
from groundup.stages.build import build_task, saved_tokenizers
from groundup.system.files import damaged
from groundup.text.tokenizer import Tokenizer

SPARE_BYTES = 256 << 20  # of tables that are computed, not stored: the sines of positions
SPARE_NUMBER = 10_000_000  # numbers of the config that no tensor needs to match, such as model.max_length
MODULES_PER_TENSOR = 20


class _TooLargeError(Exception):
    """More than what is stored was about to be made."""


def check_config(
    folder: RunFolder, config: Config, needed: Collection[str] = ("model", "lora", "task", "seed")
) -> None:
    """Raises UserError for a saved configuration whose keys ``needed`` could not be built."""
    try:
        chosen = {key: config[key] for key in needed if key in config}
        check(chosen)
        check_monitor(chosen)
    except UserError as error:
        raise UserError(f"{folder.config_file}: {error}") from None


def check_stored(
    folder: RunFolder, cfg: Config, checkpoint: Mapping[str, Any], path: Path
) -> tuple[Facts, Tokenizer, Tokenizer | None]:
    """What the checkpoint at ``path`` knows of its data, and the tokenizers of the folder (None for the target: the same).

    Raises UserError unless the tokenizers have the entries that the checkpoint knows, and ``cfg`` describes the very
    tensors of the checkpoint. The model is built of shapes alone, and the building stops as soon as it has more than what
    is stored: a config that asks for a billion layers costs nothing.
    """
    facts = _stored_facts(checkpoint, path)
    tokenizer, target = _stored_tokenizers(folder, facts, path)
    theirs = {name: value for name, value in checkpoint["state_dict"].items() if value.dim()}
    total = sum(value.numel() for value in theirs.values())
    for key, number in _numbers(cfg.model, "model"):
        if number > max(total, SPARE_NUMBER):
            raise UserError(f"{path} holds {total:,} numbers, but config.yaml beside it says {key}={number}. {_ADVICE}")
    said = f"{path} holds {total:,} numbers, but config.yaml beside it"
    with no_more_than(total, len(theirs), said), torch.device("meta"):
        ours = {
            name: value
            for name, value in build_task(cfg, facts, target or tokenizer).state_dict().items()
            if value.dim()
        }
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = (tuple(side[name].shape) if name in side else "nothing" for side in (ours, theirs))
        if one != other:
            raise UserError(f"{path} holds {other} as {name}, but config.yaml beside it asks for {one}. {_ADVICE}")
    return facts, tokenizer, target


def _stored_facts(checkpoint: Mapping[str, Any], path: Path) -> Facts:
    """What the checkpoint says of the data. Raises UserError when no training of groundup saved it."""
    facts, weights = checkpoint.get("facts"), checkpoint.get("state_dict")
    tensors = isinstance(weights, Mapping) and all(isinstance(value, torch.Tensor) for value in weights.values())
    if not (isinstance(facts, Mapping) and tensors):
        raise damaged(path, "it lacks the model's weights or what the model knew of its data")
    try:
        return Facts.from_dict(facts)
    except (TypeError, ValueError) as error:
        raise damaged(path, str(error)) from None


def _stored_tokenizers(folder: RunFolder, facts: Facts, path: Path) -> tuple[Tokenizer, Tokenizer | None]:
    tokenizer, target = saved_tokenizers(folder)
    for file, found, size in (
        (folder.tokenizer, tokenizer, facts.vocab_size),
        (folder.target_tokenizer, target, facts.target_vocab_size),
    ):
        if found is None and size is not None:
            raise UserError(f"there is no {file}, without which the model means nothing. Copy the whole folder")
        if found is not None and found.vocab_size != size:
            knows = "no" if size is None else f"{size:,}"
            raise UserError(f"{path} knows {knows} tokens, but {file} has {found.vocab_size:,}. {_ADVICE}")
    assert tokenizer is not None  # a vocabulary always has a size
    return tokenizer, target


_ADVICE = "They are not of one run: take both from the same"


def _numbers(value: object, key: str) -> Iterator[tuple[str, int]]:
    """Every whole number in a config, with its dotted key."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _numbers(item, f"{key}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int):
        yield key, value


@contextmanager
def no_more_than(numbers: int, tensors: int, said: str) -> Iterator[None]:
    """While the block runs, modules may register ``numbers`` parameters in ``tensors`` tensors, and little else.

    Raises UserError that begins with ``said``.
    """
    seen: dict[int, Any] = {}  # kept, or another would have the same id
    made = {"parameters": 0, "bytes of tables": 0, "modules": 0}
    limits = {
        "parameters": numbers,
        "bytes of tables": SPARE_BYTES + 8 * numbers,
        "modules": MODULES_PER_TENSOR * (tensors + 10),
    }

    def add(what: str, amount: int) -> None:
        made[what] += amount
        if made[what] > limits[what]:
            raise _TooLargeError(f"more than {limits[what]:,} {what}")

    def parameter(module: Any, name: str, value: Any) -> None:
        if value is not None and id(value) not in seen:
            seen[id(value)] = value
            add("parameters", value.numel())

    def buffer(module: Any, name: str, value: Any) -> None:
        if value is not None:
            add("bytes of tables", value.numel() * value.element_size())

    handles = (
        registration.register_module_parameter_registration_hook(parameter),
        registration.register_module_buffer_registration_hook(buffer),
        registration.register_module_module_registration_hook(lambda *_: add("modules", 1)),
    )
    try:
        yield
    except _TooLargeError as large:
        raise UserError(f"{said} asks for {large}. {_ADVICE}") from None
    finally:
        for handle in handles:
            handle.remove()
