"""The recipes of docs/architecture.md, applied as they stand to a copy of the project, do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DIFF = re.compile(r"^```diff\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = "size=nano budget.steps=3 wandb.mode=disabled batching.batch_size=4 threads=1 tokenizer=char".split()
LINES = ["data=files", "data.train=haiku/train.jsonl", "data.text=lines"]
COMMANDS = {
    "a data set": ["finetune", "data=haiku"],
    "a model": ["pretrain", "model=average_decoder", "batching.length=32", "batching.mask_documents=true"],
    "a task": ["pretrain", "task=unlikelihood", "task.strength=0.2", "batching.length=32"],
}


@pytest.fixture(scope="module")
def extended(tmp_path_factory, repository) -> Path:
    """A copy of ``src`` and ``conf`` with everything that the page adds, and rows for its data set."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("src", "conf"):
        shutil.copytree(repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", copy)
    diffs = DIFF.findall((repository / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert len(diffs) == 3
    for number, diff in enumerate(diffs):
        (copy / f"{number}.diff").write_text(diff, encoding="utf-8")
        subprocess.run(["git", "apply", f"{number}.diff"], cwd=copy, check=True)
    (copy / "haiku").mkdir()
    for split, count in (("train", 30), ("validation", 10)):
        rows = [
            {"lines": f"{('snow', 'frogs')[i % 2]} {i} and {i * 7}", "season": ("winter", "spring")[i % 2]}
            for i in range(count)
        ]
        (copy / "haiku" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copy


@pytest.fixture(scope="module")
def trained(extended) -> str:
    """What the commands say that use each of them, one after the other in one process of that copy."""
    lines = [
        [*command, *([] if name == "a data set" else LINES), *SMALL, f"hydra.run.dir={name}"]
        for name, command in COMMANDS.items()
    ]
    script = f"from groundup import cli\nprint([cli.run(line) for line in {lines}])"
    environment = {**os.environ, "PYTHONPATH": str(extended / "src")}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=extended, env=environment, capture_output=True, text=True, check=False
    )
    return run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_recipe_adds_what_it_says(name, extended, trained):
    metrics = extended / name / "metrics.json"
    assert metrics.is_file(), trained
    assert (
        json.loads(metrics.read_text()) and json.loads((extended / name / "status.json").read_text())["state"] == "done"
    )
