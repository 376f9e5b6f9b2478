"""``groundup import``: weights that others trained, as a run folder like any other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.config.check import check
from groundup.config.compose import compose
from groundup.config.tree import Config
from groundup.data.facts import Facts
from groundup.errors import UserError
from groundup.exchange.family import Weight, joined, sizes
from groundup.exchange.folder import Opened, tokenizer_settings
from groundup.exchange.vocabulary import read_tokenizer
from groundup.exchange.weights import Place, read
from groundup.runs.checkpoints import BEST
from groundup.runs.job import Job
from groundup.runs.provenance import collect
from groundup.stages.build import build_task
from groundup.stages.stored import SPARE_NUMBER, no_more_than
from groundup.system.files import replacing
from groundup.tasks.base import Task
from groundup.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)
MASKED, LABELLED = "masked_lm", ("classification", "multilabel", "tagging")


def run(cfg: Config, job: Job) -> None:
    """Reads settings, vocabulary and the headers of weights, compares them, then copies tensor by tensor."""
    opened, tokenizer, facts, config = look(Path(cfg.path))
    task = of_shapes(config, facts, tokenizer, opened)
    made_of = checked(task, opened)
    config = Config({**config, "paths": cfg.paths, "stage": "import"})
    job.folder.write_config(config)
    tokenizer.save(job.folder.tokenizer)
    job.folder.write_json("facts.json", facts.as_dict())
    job.folder.write_json("labels.json", list(facts.labels))
    weights = {name: made(weight, places) for name, (weight, places) in made_of.items()}
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise UserError(f"{opened.path}: {name} holds NaN or infinity. Get a whole copy of the folder")
    with replacing(job.folder.checkpoints / BEST) as file:
        torch.save({"state_dict": weights, "facts": facts.as_dict()}, file)
    numbers = sum(value.numel() for value in weights.values())
    job.folder.set_status("running", writes=task.writes)
    collect(job.folder, parameters=numbers, imported=about(opened), tokenizer=tokenizer.fingerprint)
    kind = type(task).__name__
    log.info("%s: %s, %s parameters, as %s", opened.path, opened.family.name, f"{numbers:,}", kind)
    left = sorted(opened.places.keys() - {name for one in made_of.values() for name in names_of(opened, one[1])})
    log.info(
        "left behind: %s", ", ".join(left[:4]) + (f" and {len(left) - 4} more" if len(left) > 4 else "") or "nothing"
    )
    log.info("run=%s", job.folder.path)


def made(weight: Weight, places: list[Place]) -> Tensor:
    """A tensor of ours. Parts that lie below each other are read to where they belong, so that none is in memory twice."""
    first = places[0]
    if (
        len(places) == 1
        or weight.transposed
        or weight.split == "added"
        or any(place.dtype != first.dtype for place in places)
    ):
        return joined(weight, [read(place) for place in places])
    whole = torch.empty(sum(place.shape[0] for place in places), *first.shape[1:], dtype=first.dtype)
    for place, part in zip(places, whole.split([place.shape[0] for place in places]), strict=True):
        read(place, part)
    return whole


def names_of(opened: Opened, places: list[Place]) -> list[str]:
    return [name for name, place in opened.places.items() if place in places]


def look(path: Path) -> tuple[Opened, Tokenizer, Facts, Config]:
    """What a folder holds, as parts of a run; nothing is written, and no tensor is read.

    Raises UserError that names what has no counterpart here.
    """
    path = path.expanduser()
    opened = Opened.of(path)
    for name, number in opened.options.items():
        if isinstance(number, int) and not isinstance(number, bool) and not 0 < number <= SPARE_NUMBER:
            raise UserError(f"{path}: config.json has {number:,} as {name}. Get a whole copy of the folder")
    embedding = next(
        (place for name, place in opened.places.items() if name.endswith(opened.family.body[0].theirs[0])), None
    )
    if embedding is None or len(embedding.shape) != 2:
        raise UserError(f"{path} lacks {opened.family.body[0].theirs[0]}. Get a whole copy of the folder")
    tokenizer = read_tokenizer(path, opened.family.special, tokenizer_settings(path), embedding.shape[0])
    labels: tuple[str, ...] = ()
    if opened.head.task in LABELLED:
        named = opened.config.get("id2label")
        named = named if isinstance(named, Mapping) else {"0": "LABEL_0", "1": "LABEL_1"}
        labels = tuple(str(named.get(str(number), f"LABEL_{number}")) for number in range(len(named)))
        if len({*labels}) < len(labels) or (len(labels) == 1 and opened.head.task == "classification"):
            why = "which answers with a number" if len(labels) == 1 else "of which two are one"
            raise UserError(f"{path}: config.json has {len(labels)} labels, {why}. Choose another model")
    roles = ("pad_id", "unk_id", "bos_id", "eos_id", "sep_id", "mask_id", "cls_id")
    special: dict[str, Any] = {name: getattr(tokenizer, name) for name in roles}
    facts = Facts(vocab_size=tokenizer.vocab_size, **special, labels=labels, label_counts=(1,) * len(labels))
    if opened.family.segments is not None and opened.config.get("type_vocab_size", 2) == 2:
        opened.options["separator"] = tokenizer.sep_id
    config = config_of(opened, tokenizer)
    try:
        check({"model": config.model})
    except UserError as error:
        raise UserError(f"{path}: config.json makes {error}") from None
    return opened, tokenizer, facts, config


def config_of(opened: Opened, tokenizer: Tokenizer) -> Config:
    """The configuration of a training that would have made such a run."""
    labelled = opened.head.task in LABELLED
    words = [f"model={opened.family.model}", f"task={opened.head.task}", "logger=none"]
    config = compose("finetune" if labelled else "pretrain", words)
    config.model |= Config(opened.options)
    options = dict(opened.head.options)
    if opened.head.tied:
        options["tied"] = opened.tied
    config.task |= Config(options)
    for name in ("width", "layers", "heads"):
        config.size[name] = opened.options[name]
    kind = tokenizer.content["model"].get("type")
    config.tokenizer["kind"] = {"WordPiece": "wordpiece", "WordLevel": "word"}.get(kind, "byte_bpe")
    config.tokenizer["vocab_size"] = tokenizer.vocab_size
    if "length" in config.batching and opened.options["max_length"]:
        config.batching["length"] = min(config.batching["length"], opened.options["max_length"])
    return config


def of_shapes(config: Config, facts: Facts, tokenizer: Tokenizer, opened: Opened) -> Task:
    """The task without memory. Raises UserError where the settings ask for more than the files hold."""
    total = sum(torch.Size(place.shape).numel() for place in opened.places.values())
    with (
        no_more_than(total, len(opened.places), f"{opened.path} holds {total:,} numbers, but its config.json"),
        torch.device("meta"),
    ):
        return build_task(config, facts, tokenizer, adapted=False)


def checked(task: Task, opened: Opened) -> dict[str, tuple[Weight, list[Place]]]:
    """What each tensor is made of. Raises UserError unless the shapes of all agree."""
    made_of = opened.weights()
    model: Any = task.model
    queries = model.blocks[0].attention.heads * model.blocks[0].attention.head_dim
    ours = task.state_dict()
    for name in sorted(ours.keys() | made_of.keys()):
        if name not in made_of or name not in ours:
            raise UserError(f"{opened.path}: {name} has no counterpart. Choose another model")
        weight, places = made_of[name]
        rows, *rest = ours[name].shape
        parts = sizes(weight, rows, queries) if len(places) > 1 else [rows + weight.skipped]
        for part, place in zip(parts, places, strict=True):
            shape = (part, *rest)
            shape = shape[::-1] if weight.transposed else shape
            if place.shape != shape:
                raise UserError(
                    f"{opened.path}: {weight.theirs[0]} is {place.shape}, and its config.json asks for {shape}. "
                    "They are not of one model: get a whole copy of the folder"
                )
    return made_of


def about(opened: Opened) -> dict[str, Any]:
    """Where the weights came from, for the provenance."""
    files = sorted({place.file for place in opened.places.values()})
    return {
        "path": str(opened.path.absolute()),
        "family": opened.family.name,
        "files": {file.name: file.stat().st_size for file in files},
    }
