"""Every choice composes with every stage that has its group, and holds against the signatures it will be called with."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product, zip_longest
from pathlib import Path
from types import SimpleNamespace

import pytest

import groundup
from groundup.config.check import check
from groundup.config.compose import compose_with_choices
from groundup.config.files import conf_dir, groups, left_empty, target_of
from groundup.config.help import manual
from groundup.config.places import resolve
from groundup.config.signatures import parameters_of
from groundup.errors import UserError
from groundup.stages.build import check_baseline_fits

STAGES = {  # stage -> what it cannot do without, beside the choice under test
    "pretrain": [],
    "finetune": [],
    "baseline": [],
    "ensemble": ["members=[x,y]"],
    "evaluate": ["run=x"],
    "compare": ["runs=[x,y]"],
    "generate": ["run=x"],
    "predict": ["run=x", "input=a.txt", "output=b.jsonl"],
    "resume": ["run=x"],
    "pipeline": [],
    "dashboard": [],
}


@cache
def composed(stage: str, *overrides: str) -> tuple:
    """The config of a command line and the choice made in each group; kept, as tests ask for the same ones."""
    return compose_with_choices(stage, overrides)


def text(name: str) -> str:
    return (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")


def groups_of(stage: str) -> set[str]:
    """Groups in the defaults lists of a stage and of the files that it includes."""
    listed = re.findall(r"^  - (?:optional )?(\w+)(?::.*)?$", text(stage), re.MULTILINE)
    included = [name for name in listed if name != stage and (conf_dir() / f"{name}.yaml").is_file()]
    own = {name for name in listed if (conf_dir() / name).is_dir()}.union(*map(groups_of, included))
    return own - left_empty(conf_dir(), stage)


def choices() -> list[tuple[str, str]]:
    """(stage, group=choice) of all that a user may type; an experiment goes with the stages its first lines name."""
    found = []
    for stage, (group, names) in product(STAGES, groups(conf_dir()).items()):
        for name in names if group in groups_of(stage) else ():
            if group != "experiment" or f"groundup {stage} experiment={name}" in text(f"{group}/{name}"):
                found.append((stage, f"{group}={name}"))
    return found


def test_every_file_is_the_choice_of_some_stage():
    reached = {choice for _, choice in choices()}
    everything = {f"{group}={name}" for group, names in groups(conf_dir()).items() for name in names}
    everything = {
        choice for choice in everything if not choice.startswith("hydra/")
    }  # launchers and sweepers, of every stage
    assert everything == reached


def class_of(group: str, name: str) -> type:
    return resolve(target_of(conf_dir() / group / f"{name}.yaml"), group)


def task_of(choice: str) -> list[str]:
    """The task that a classical model is for."""
    group, _, name = choice.partition("=")
    return [f"task={class_of(group, name).tasks[0]}"] if group == "baseline" else []


def together() -> list[tuple[str, tuple[str, ...]]]:
    """(stage, choices): each choice of a stage once, one of every group at a time; one that chooses others alone."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for stage in STAGES:
        by_group = defaultdict(list)
        for choice in (choice for at, choice in choices() if at == stage):
            by_group[choice.partition("=")[0]].append(choice)
        found += [(stage, (choice,)) for group in ("experiment", "baseline") for choice in by_group.pop(group, ())]
        found += [(stage, tuple(filter(None, row))) for row in zip_longest(*by_group.values())]
    return found


@pytest.mark.parametrize(("stage", "chosen"), together(), ids=lambda part: part if part in STAGES else " ".join(part))
def test_choices_compose_and_pass_the_check(stage, chosen):
    overrides = [*STAGES[stage], *chosen, *task_of(chosen[0])]
    if stage == "pipeline" and not chosen[0].startswith("experiment="):
        overrides.append("experiment=demo")
    cfg, found = compose_with_choices(stage, overrides)
    check(cfg, stage, overrides, found)
    assert {f"{group}={name}" for group, name in found.items()} >= {*chosen}


@pytest.mark.parametrize("task", groups(conf_dir())["task"])
def test_the_baseline_of_a_task_is_what_stands_beside_its_trainings(task):
    cfg, chosen = composed("baseline", f"task={task}")
    beside = class_of("task", task).classical(SimpleNamespace(scheme=None))
    if beside is None:
        assert chosen["baseline"] is None
        with pytest.raises(UserError, match="has no classical model yet"):
            check_baseline_fits(cfg, None)
    else:
        assert type(beside) is resolve(cfg.baseline._target_, "baseline")
        check_baseline_fits(cfg, chosen["baseline"])
        with pytest.raises(
            UserError, match=f"task={task}: no baseline is chosen. Try baseline="
        ):  # a task of one's own
            check_baseline_fits(cfg, None)


@pytest.mark.parametrize(("verb", "word"), [("baseline", "model=cnn_encoder"), ("finetune", "baseline=majority")])
def test_what_tasks_bring_for_one_verb_cannot_be_chosen_in_another(verb, word):
    group = word.partition("=")[0]
    with pytest.raises(UserError, match=f"^{word}: groundup {verb} has no group '{group}'. {group} is for groundup"):
        compose_with_choices(verb, [word])
    assert not re.search(rf"^  {group}\b", manual(verb, "", conf_dir()), re.MULTILINE)


def read_by_hand(node: Mapping) -> Iterator[str]:
    """Keys of nodes that no constructor takes."""
    for key, value in node.items():
        if not (isinstance(value, Mapping) and "_target_" in value):
            yield key
            yield from read_by_hand(value) if isinstance(value, Mapping) else ()


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_is_read_by_the_code_or_by_another_key(stage):
    """Those of a node with a ``_target_`` are arguments of its constructor, see ``test_architecture.py``."""
    others = re.findall(r"\$\{[^}]*\}", "".join(file.read_text("utf-8") for file in conf_dir().rglob("*.yaml")))
    code = " ".join([*others, *(file.read_text("utf-8") for file in Path(groundup.__file__).parent.rglob("*.py"))])
    keys = {*read_by_hand(composed(stage, *STAGES[stage])[0])}
    assert [key for key in sorted(keys) if not re.search(rf"""\.{key}\b|\b{key}\.|["']{key}["']|,{key},""", code)] == []


@pytest.mark.parametrize("name", groups(conf_dir())["experiment"])
def test_steps_of_an_experiment_pass_the_check(name):
    if not re.search(r"^steps:", text(f"experiment/{name}"), re.MULTILINE):
        pytest.skip("an experiment of one stage")
    for step in compose_with_choices("pipeline", [f"experiment={name}"])[0].steps.values():
        overrides = [override.replace("{", "").replace("}", "") for override in step.overrides]
        cfg, chosen = compose_with_choices(step.stage, overrides)
        check(cfg, step.stage, overrides, chosen)


@pytest.mark.parametrize("stage", STAGES)
def test_every_group_in_a_stage_is_a_folder_of_choices(stage):
    assert groups_of(stage) - {"local"} <= set(groups(conf_dir()))


@pytest.mark.parametrize("name", groups(conf_dir())["experiment"])
def test_an_experiment_has_one_budget(name):
    for stage in ("pretrain", "finetune"):
        if f"groundup {stage} experiment={name}" in text(f"experiment/{name}"):
            budget = compose_with_choices(stage, [f"experiment={name}"])[0].budget
            assert sum(amount is not None for amount in budget.values()) == 1


BUILT = (
    "tokenizer",
    "model",
    "task",
    "batching",
    "scheduler",
    "callbacks",
    "decoding",
    "baseline",
)  # groups whose classes are ours
PURPOSE = {  # what a choice is there for: keys that it sets to something else than its class does
    "tokenizer=byte_bpe": {"tokenizer.min_frequency"},
    "tokenizer=unigram": {"tokenizer.vocab_size"},
    "tokenizer=word": {"tokenizer.vocab_size", "tokenizer.min_frequency"},
    "tokenizer=wordpiece": {"tokenizer.vocab_size", "tokenizer.min_frequency"},
    "model=lstm_encoder": {"model.bidirectional"},
    "model=lstm_encoder_decoder": {"model.decoder.cross_attention"},
    "model=transformer_encoder_decoder": {"model.decoder.cross_attention"},
    "task=summarization": {"task.decoding.no_repeat_ngram"},
    "baseline=words_and_characters": {"baseline.characters", "baseline.C"},
    "decoding=sample": {"decoding.temperature", "decoding.top_p"},
}


def set_otherwise(value: Mapping, path: str) -> Iterator[str]:
    """Keys of nested nodes whose values are not the defaults of their classes."""
    parameters = parameters_of(resolve(value["_target_"], path))[0] if "_target_" in value else {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from set_otherwise(item, f"{path}.{key}")
        elif key in parameters and parameters[key].default not in (inspect.Parameter.empty, item):
            yield f"{path}.{key}"


@pytest.mark.parametrize("choice", [f"{group}={name}" for group in BUILT for name in groups(conf_dir())[group]])
def test_who_builds_in_python_gets_the_same_defaults_as_the_command(choice):
    group = choice.partition("=")[0]
    stage = next(stage for stage in STAGES if group in groups_of(stage))
    node = composed(stage, *STAGES[stage], choice, *task_of(choice))[0].get(group) or {}
    assert set(set_otherwise(node, group)) == PURPOSE.get(choice, set())
