from __future__ import annotations

import os
import re

import pytest
import torch

from groundup.errors import UserError
from groundup.jobs.gate import check_free
from groundup.runs.folder import FORMAT, RunFolder
from groundup.runs.reference import best_checkpoint, find_run, last_checkpoint, newest_runs, open_run, unfit


def make(folder, started, stage="pretrain", state="done", weights=True, task="CausalLM"):
    run = RunFolder(folder)
    trained = stage in ("pretrain", "finetune")
    model = {"model": {}, "task": {"_target_": f"groundup.tasks.any.{task}"}} if trained else {}
    run.write_config({"seed": 1, **model})
    writes = {} if task == "CausalLM" else {"writes": None}
    run.write_json("status.json", {"format": FORMAT, "state": state, "stage": stage, "started": started, **writes})
    if weights and trained:
        save(run, "best.ckpt")
    return run


@pytest.fixture
def logs(tmp_path):
    logs = tmp_path / "logs"
    make(logs / "pretrain" / "default" / "a", 10)
    make(logs / "pretrain" / "default" / "b", 40)
    make(logs / "finetune" / "sweep" / "c" / "0", 30, "finetune")
    make(logs / "pipeline" / "demo" / "d", 20, "pipeline")
    make(logs / "pipeline" / "demo" / "d" / "steps" / "one", 25, "finetune")
    (logs / "pretrain" / "default" / "unfinished").mkdir()
    make(logs / "pretrain" / "default" / "b" / "checkpoints" / "no_run", 99)
    make(logs / "pretrain" / "default" / "b" / "wandb" / "files", 99)
    return logs


def save(run, name, value=1.0):
    run.checkpoints.mkdir(exist_ok=True)
    torch.save({"state_dict": {"w": torch.full((1000,), value)}}, run.checkpoints / name)
    return run.checkpoints / name


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[data.find(b"\x00\x00\x80?" * 8) + 101] ^= 128  # a mantissa bit in the tensor of ones
    path.write_bytes(data)


@pytest.mark.parametrize("use", ["evaluate", "predict", "generate", "init_from", "resume"])
def test_a_folder_of_another_format_is_refused_in_one_line(use, logs):
    newest = RunFolder(logs / "pretrain/default/b")
    status = newest.read_json("status.json")
    for told, told_as in ((FORMAT + 1, FORMAT + 1), (None, 1)):
        changed = {name: value for name, value in status.items() if name != "format"} | (
            {"format": told} if told else {}
        )
        newest.write_json("status.json", {**changed, "state": "interrupted"})
        with pytest.raises(
            UserError, match=rf"b has the format {told_as} of run folders, and this groundup reads {FORMAT}"
        ) as error:
            open_run(newest.path, logs, use)
        assert "\n" not in str(error.value)
        if use != "resume":  # passed over
            assert open_run("last", logs, use).path != newest.path


def test_last_is_the_run_that_was_started_last(logs):
    assert [run.path.name for run in newest_runs(logs)] == ["b", "0", "one", "d", "a"]
    assert open_run("last", logs).path == logs / "pretrain/default/b"


@pytest.mark.parametrize(
    ("use", "chosen", "passed"),
    [
        ("evaluate", "writer", "evaluation is a run of `groundup evaluate` and holds no model"),
        ("predict", "writer", "evaluation is a run of `groundup evaluate` and holds no model"),
        ("generate", "writer", "evaluation is a run of `groundup evaluate` and holds no model"),
        ("init_from", "writer", "evaluation is a run of `groundup evaluate` and holds no model"),
        ("resume", "killed", "evaluation is done"),
    ],
)
def test_last_is_the_newest_run_that_can_do_what_is_asked(tmp_path, caplog, use, chosen, passed):
    make(tmp_path / "old", 1)
    make(tmp_path / "stopped_early", 2, state="interrupted", weights=False)
    make(tmp_path / "writer", 3)
    make(tmp_path / "killed", 4, state="interrupted", weights=False)
    make(tmp_path / "mistake", 5, "finetune", state="failed", weights=False)
    make(tmp_path / "evaluation", 6, "evaluate")
    with caplog.at_level("INFO"):
        assert open_run("last", tmp_path, use).path.name == chosen
    key = "init_from" if use == "init_from" else "run"
    assert caplog.messages == [f"{key}=last is {tmp_path / chosen}; the newer {tmp_path}/{passed}"]


def test_an_evaluation_that_was_stopped_goes_on_and_one_that_failed_does_not(tmp_path):
    make(tmp_path / "stopped", 1, "evaluate", state="interrupted")
    assert open_run("last", tmp_path, "resume").path.name == "stopped"
    assert unfit(make(tmp_path / "wrong", 2, "evaluate", state="failed"), "resume") == "failed (None). Run it again"


def test_last_says_nothing_of_the_command_itself(tmp_path, caplog):
    make(tmp_path / "writer", 1)
    mine = make(tmp_path / "evaluation", 2, "evaluate", state="running")
    mine.set_status("running", pid=os.getpid())
    with caplog.at_level("INFO"):
        open_run("last", tmp_path, "evaluate")
    assert caplog.messages == [f"run=last is {tmp_path / 'writer'}"]


def test_last_for_generate_is_a_run_that_writes(tmp_path, caplog):
    make(tmp_path / "writer", 1)
    make(tmp_path / "classifier", 2, "finetune", task="Classification")
    with caplog.at_level("INFO"):
        assert open_run("last", tmp_path, "generate").path.name == "writer"
        assert open_run("last", tmp_path, "predict").path.name == "classifier"
    assert "the newer" in caplog.messages[0] and caplog.messages[1] == f"run=last is {tmp_path / 'classifier'}"


def test_last_that_nothing_can_serve_says_why(tmp_path):
    make(tmp_path / "mistake", 1, state="failed", weights=False)
    with pytest.raises(
        UserError, match=r"no run below .* can be resumed; .*mistake, failed before its first checkpoint"
    ):
        open_run("last", tmp_path, "resume")
    with pytest.raises(UserError, match=r"no run below .* can serve here; .*mistake, holds no checkpoint"):
        open_run("last", tmp_path, "evaluate")


@pytest.mark.parametrize("started", ["yesterday", None, [1], {"a": 1}])
def test_a_status_that_somebody_edited_does_not_stop_the_search(tmp_path, started):
    make(tmp_path / "a", 5e9)
    make(tmp_path / "b", started)
    assert {run.path.name for run in newest_runs(tmp_path)} == {"a", "b"}


def test_a_run_without_status_is_dated_by_its_configuration(logs):
    (logs / "pretrain/default/a/status.json").unlink()
    assert open_run("last", logs).path.name == "a"


def test_a_folder_a_name_below_logs_and_a_checkpoint_are_references(logs, monkeypatch):
    run = RunFolder(logs / "pretrain/default/a")
    path = save(run, "best.ckpt")
    save(run, "last.ckpt", 2.0)
    assert open_run(run.path, logs).path == run.path
    assert open_run("pretrain/default/a", logs).path == run.path
    monkeypatch.chdir(logs / "pretrain")
    assert open_run("default/a", logs).path.resolve() == run.path.resolve()
    opened = open_run(path, logs)
    assert opened.path == run.path
    assert best_checkpoint(opened) == last_checkpoint(opened) == path


def test_an_unknown_run_names_the_newest_three(logs, tmp_path):
    with pytest.raises(UserError, match=r"default/b, .*c/0, .*steps/one$") as error:
        open_run("nowhere", logs)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        open_run(logs / "pretrain/default/unfinished", logs)
    with pytest.raises(UserError, match="there is no run yet"):
        open_run("last", tmp_path / "empty")


def test_a_checkpoint_outside_a_run_is_refused(tmp_path):
    torch.save({}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="lies in no run folder"):
        open_run(tmp_path / "x.ckpt", tmp_path)


def test_a_damaged_checkpoint_falls_back_with_one_warning(tmp_path, caplog):
    run = make(tmp_path, 1, weights=False)
    previous, last = save(run, "previous.ckpt"), save(run, "last.ckpt")
    assert last_checkpoint(run) == last
    flip_a_bit(last)
    assert torch.load(last, weights_only=True)["state_dict"]["w"].ne(1).sum() == 1  # torch itself sees nothing
    with caplog.at_level("WARNING"):
        assert last_checkpoint(run) == previous
    (said,) = caplog.messages
    assert re.search(r"last\.ckpt: .*damaged.* Using previous\.ckpt", said)


@pytest.mark.parametrize("harm", ["empty", "cut", "noise", "bit"])
def test_every_damage_is_seen(tmp_path, harm):
    run = make(tmp_path, 1, weights=False)
    path = save(run, "last.ckpt")
    data = path.read_bytes()
    if harm == "bit":
        flip_a_bit(path)
    else:
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 3], "noise": b"\x80\x02" + bytes(500)}[harm])
    with pytest.raises(UserError, match=r"every checkpoint .* is damaged"):
        last_checkpoint(run)


def test_best_falls_back_to_last_when_none_was_marked_best(tmp_path):
    run = make(tmp_path, 1, weights=False)
    last = save(run, "last.ckpt")
    assert best_checkpoint(run) == last
    best = save(run, "best.ckpt")
    assert best_checkpoint(run) == best


def test_a_run_that_never_saved_says_why(tmp_path):
    run = make(tmp_path, 1, weights=False)
    run.set_status("failed", why="no space left")
    with pytest.raises(UserError, match=r"no checkpoint .*failed: no space left"):
        last_checkpoint(run)


def test_a_named_checkpoint_is_never_swapped_for_another(tmp_path):
    run = make(tmp_path, 1, weights=False)
    save(run, "previous.ckpt")
    flip_a_bit(save(run, "last.ckpt"))
    with pytest.raises(UserError, match=r"cannot read .*last\.ckpt.*damaged"):
        last_checkpoint(open_run(run.checkpoints / "last.ckpt", tmp_path))


def test_an_unreadable_status_does_not_hide_the_other_runs(logs):
    (logs / "pretrain/default/b/status.json").write_text("{half")
    assert len(newest_runs(logs)) == 5


def test_last_for_a_network_passes_a_classical_model_by(tmp_path, caplog):
    make(tmp_path / "network", 1, "finetune")
    classical = make(tmp_path / "classical", 2, "baseline", weights=False)
    classical.write_config({"baseline": {"C": 1}})
    (classical.path / "baseline.npz").touch()
    with caplog.at_level("INFO"):
        assert open_run("last", tmp_path, "evaluate").path.name == "classical"
        assert open_run("last", tmp_path, "network").path.name == "network"
    assert caplog.messages[1].startswith(f"run=last is {tmp_path / 'network'}; the newer {classical.path} is a run of")


def test_a_folder_of_runs_names_the_newest_of_them_that_fits(tmp_path):
    make(tmp_path / "logs" / "sweep" / "0", 1)
    make(tmp_path / "logs" / "sweep" / "1", 2)
    make(tmp_path / "logs" / "sweep" / "2", 3, weights=False)
    for name in ("sweep", str(tmp_path / "logs" / "sweep")):
        with pytest.raises(UserError, match=r"is no run, and holds 3\. Try .*sweep/1$"):
            find_run(name, tmp_path / "logs", "evaluate")


@pytest.mark.parametrize(
    ("stage", "state", "goes_on"),
    [
        ("compress", "done", False),
        ("compress", "interrupted", True),
        ("ensemble", "interrupted", False),
        ("finetune", "done", False),
        ("finetune", "interrupted", True),
    ],
)
def test_a_folder_in_use_is_gone_on_with_only_where_resume_would(tmp_path, stage, state, goes_on):
    run = make(tmp_path / "run", 1, stage, state=state)
    with pytest.raises(UserError, match="another folder") as refused:
        check_free(run.path, "hydra.run.dir")
    assert ("groundup resume" in str(refused.value)) == goes_on
    assert (unfit(run, "resume") is None) == goes_on
