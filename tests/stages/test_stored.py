"""A run folder whose config asks for more than its checkpoint holds costs nothing and says so."""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc

import pytest
import torch

from groundup import cli
from groundup.data.facts import Facts
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.stages.loading import load_run


@pytest.fixture
def changed(pretrained, language_model, tmp_path):
    """A copy of a run with other values in its config."""

    def copy(run: str = "pretrained", copy_name: str = "copy", **model) -> RunFolder:
        folder = RunFolder(
            shutil.copytree({"pretrained": pretrained, "lstm": language_model}[run], tmp_path / copy_name)
        )
        config = folder.read_config()
        config["model"] |= model
        folder.write_config(config)
        return folder

    return copy


@pytest.mark.parametrize(
    ("run", "key", "value"),
    [
        ("pretrained", "layers", 10**9), ("pretrained", "width", 10**9), ("pretrained", "heads", 2**30),
        ("pretrained", "heads", 1 << 20), ("pretrained", "max_length", 10**12), ("pretrained", "max_length", 10**7),
        ("pretrained", "feed_forward_width", 10**7), ("pretrained", "layers", 3), ("pretrained", "position", "learned"),
        ("lstm", "layers", 10**9), ("lstm", "layers", 10**6), ("lstm", "width", 10**7), ("lstm", "embedding_width", 64),
    ],
)  # fmt: skip
def test_more_than_is_stored_is_refused_before_it_is_made(run, key, value, changed):
    folder = changed(run, **{key: value})
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        load_run(folder.path)
    assert time.monotonic() - started < 30
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("command", ["evaluate", "predict", "generate", "resume", "finetune"])
def test_every_command_looks_before_it_builds(command, changed, data_overrides, tmp_path, capsys):
    folder = changed("lstm", layers=10**9)
    folder.set_status("interrupted")
    arguments = {
        "evaluate": [f"hydra.run.dir={tmp_path / 'out'}"],
        "predict": [f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'out.jsonl'}", "text=text"],
        "generate": ["prompt=x"],
        "finetune": [*data_overrides, "data.label=subject", f"hydra.run.dir={tmp_path / 'out'}"],
        "resume": [],
    }[command]
    (tmp_path / "in.txt").write_text("roses\n", encoding="utf-8")
    key = "init_from" if command == "finetune" else "run"
    assert cli.run([command, f"{key}={folder.path}", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "config.yaml beside it" in error


def test_a_checkpoint_without_what_it_is_for_is_refused(changed):
    folder = changed()
    for content in (
        {},
        {"state_dict": {}},
        {"facts": {}, "state_dict": {"w": 1}},
        {"facts": {"x": 1}, "state_dict": {}},
        {"facts": Facts(-1, 0, 1, 2, 3, 4, 5, 6).as_dict(), "state_dict": {}},
    ):
        for file in folder.checkpoints.iterdir():
            torch.save(content, file)
        with pytest.raises(UserError, match="damaged"):
            load_run(folder.path)


def test_dropout_and_a_longer_table_are_no_other_model(changed):
    before = load_run(changed().path).task.state_dict()
    run = load_run(changed(dropout=0.3, max_length=2048, copy_name="other").path)
    assert run.config.model.dropout == 0.3
    assert all(torch.equal(value, before[name]) for name, value in run.task.state_dict().items())


def extended(file) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["vocab"]["one more"] = len(content["model"]["vocab"])
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("change", [extended, lambda file: file.unlink()])
@pytest.mark.parametrize("command", ["generate", "resume", "pretrain"])
def test_a_tokenizer_that_is_not_the_models_is_refused(command, change, changed, data_overrides, tmp_path, capsys):
    folder = changed("lstm")
    folder.set_status("interrupted")
    change(folder.tokenizer)
    arguments = {
        "generate": ["prompt=x"],
        "resume": [],
        "pretrain": [*data_overrides, f"hydra.run.dir={tmp_path / 'out'}"],
    }
    key = "init_from" if command == "pretrain" else "run"
    assert cli.run([command, f"{key}={folder.path}", *arguments[command]]) == 2
    assert "tokenizer.json" in capsys.readouterr().err.strip().splitlines()[-1]
