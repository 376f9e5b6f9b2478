"""Keys belong to verbs: what a verb has it reads, and what it does not read is refused."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import groundup
from groundup.config.compose import compose
from groundup.config.files import LAYERS, STAGES, conf_dir, stage_keys
from groundup.data.precheck import READING
from groundup.data.roles import ROLES
from groundup.errors import UserError

PACKAGE = Path(groundup.__file__).parent
NAMES = {"cfg", "config", "trained", "hardware"}  # what the code calls a configuration
ALSO = {"predict": {*ROLES, *READING}}  # read by names that the run and its files bring


def files_of(module: str, found: set[str]) -> set[str]:
    """A verb's module, and those of stages and jobs that it stands on."""
    if module not in found:
        found.add(module)
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ImportFrom) and re.match(r"groundup\.(stages|jobs)\b", node.module or ""):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                for name in {str(node.module), *inner} - {"groundup.stages", "groundup.jobs"}:
                    if PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py").is_file():
                        files_of(name, found)
    return found


def tree_of(module: str) -> ast.Module:
    return ast.parse(PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text(encoding="utf-8"))


def keys_read(module: str) -> set[str]:
    """``cfg.key``, ``cfg["key"]`` and ``cfg.get("key")``."""
    keys = set()
    for node in ast.walk(tree_of(module)):
        owner = node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Load):
            owner = node.value
        if not (isinstance(owner, ast.Name) and owner.id in NAMES):
            continue
        if isinstance(node, ast.Attribute):
            keys.add(node.attr)
        else:
            key = node.slice if isinstance(node, ast.Subscript) else next(iter(node.args), None)
            keys.add(key.value if isinstance(key, ast.Constant) else None)
    return keys


@pytest.mark.parametrize("verb", STAGES)
def test_a_verb_reads_every_key_that_it_has(verb):
    code = files_of(STAGES[verb][0], set())
    if "folds" in stage_keys(conf_dir(), verb):  # then a job may be several
        code |= files_of("groundup.jobs.folds", set())
    read = set().union(*map(keys_read, code)) | ALSO.get(verb, set())
    for file in conf_dir().rglob("*.yaml"):  # monitor: ${monitor}
        read |= set(re.findall(r"\$\{(\w+)", file.read_text(encoding="utf-8")))
    hydra = tree_of("groundup.config.hydra")  # ${run_name:}
    read |= {node.value for node in ast.walk(hydra) if isinstance(node, ast.Constant)}
    assert stage_keys(conf_dir(), verb) - read - {*LAYERS, "hydra"} == set()


@pytest.mark.parametrize(
    ("verb", "word", "line"),
    [
        (
            "ensemble",
            "baselines=true",
            "no key or group 'baselines': baselines is for groundup pretrain, finetune, distill and evaluate",
        ),
        (
            "pretrain",
            "tokenizer@target_tokenizer=char",
            "no key or group 'tokenizer@target_tokenizer': target_tokenizer is for groundup finetune",
        ),
        ("generate", "input=x", "no key or group 'input': input is for groundup predict"),
        (
            "predict",
            "layer_decay=0.5",
            "no key or group 'layer_decay': layer_decay is for groundup pretrain, finetune and distill",
        ),
        (
            "evaluate",
            "model.dropout=0.5",
            "no key or group 'model.dropout': model is for groundup pretrain, finetune and distill",
        ),
        (
            "evaluate",
            "model=x",
            "groundup evaluate has no group 'model'. model is for groundup pretrain, finetune and distill",
        ),
        ("pipeline", "prefix=x", "no key or group 'prefix': prefix is for groundup predict and generate"),
    ],
)
def test_a_key_of_another_verb_is_refused_by_its_name(verb, word, line):
    with pytest.raises(UserError) as error:
        compose(verb, [word])
    assert str(error.value) == f"{word}: {line}"
