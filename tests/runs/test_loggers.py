"""Weights & Biases without an account: what is logged can be read back, and nothing it does can stop a run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from hydra import compose, initialize_config_dir
from offline import blocks, offline_folders, read_back
from omegaconf import OmegaConf

from groundup.config.build import instantiate
from groundup.errors import UserError
from groundup.metrics.class_sections import classification_sections
from groundup.runs.csv_logger import CsvLogger
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
from groundup.runs.loggers import TensorBoard, Wandb, close_loggers, open_loggers
from groundup.runs.wandb_run import parents_of, use_parents

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Neither a key of this machine nor a run that another test left open."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens: no test goes to the network
    yield
    if wandb.run is not None:
        wandb.finish()


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "logs" / "finetune" / "run")
    run.write_config({"seed": 1, "model": {"width": 32, "api_key": "very-secret"}})
    run.set_status("running", stage="finetune")
    return run


def test_scalars_config_and_axis_can_be_read_back(run, capfd):
    loggers = open_loggers(run, {"wandb": Wandb(project="p", group="sweep-1", tags=["a"])})
    for step in (10, 20):
        for logger in loggers:
            logger.log_metrics({"train/loss": 1 / step, "epoch": 0}, step)
    run.write_json("metrics.json", {"test/accuracy": {"value": 0.75, "ci95": [0.7, 0.8], "n": 4}})
    rows = [{"text": "one", "label": "a", "predicted": "b"}, {"text": "two", "label": "b", "predicted": "b"}]
    run.write_json("sections.json", classification_sections(rows, ["a", "b"]))
    run.samples.mkdir()
    (run.samples / "step_20.txt").write_text("once upon 时间", encoding="utf-8")
    close_loggers(loggers)

    (folder,) = offline_folders(run)
    found = read_back(folder)
    logged = [(row["trainer/global_step"], row["train/loss"]) for row in found["rows"] if "train/loss" in row]
    assert logged == [(10, 0.1), (20, 0.05)]
    assert not any("epoch" in row for row in found["rows"])
    assert found["config"]["model"] == {"width": 32, "api_key": "********"}
    assert found["metrics"]["*"] == "trainer/global_step"
    assert found["exit"] == 0
    assert (found["start"].project, found["start"].run_group, found["start"].job_type) == ("p", "sweep-1", "finetune")
    assert found["start"].run_id == (run.path / "wandb_id").read_text()
    assert found["summary"]["test/accuracy"] == 0.75
    tables = [json.loads(file.read_text()) for file in folder.rglob("*.table.json")]
    assert ["step_20", "once upon 时间"] in [row for table in tables for row in table["data"]]
    assert ["a", "b", 1] in [row for table in tables for row in table["data"]]
    assert ["one", "a", "b", ""] in [row for table in tables for row in table["data"]]
    assert [row["step"] for row in read_metrics(run.metrics_csv)] == [10, 20]
    out, err = capfd.readouterr()
    assert "wandb" not in (out + err).lower()


def test_tables_can_be_read_back_with_their_step(run):
    logger = Wandb()(run)
    for step in (5, 10):
        logger.log_table(
            "validation/samples", ["source", "hypothesis"], [["今天", f"today {step}"], ("a", "b")], step=step
        )
    close_loggers([logger])
    (folder,) = offline_folders(run)
    rows = [row for row in read_back(folder)["rows"] if any(name.startswith("validation/samples") for name in row)]
    assert [row["trainer/global_step"] for row in rows] == [5, 10]
    tables = [json.loads(file.read_text()) for file in folder.rglob("*.table.json")]
    assert sorted(table["data"] for table in tables) == [[["今天", f"today {step}"], ["a", "b"]] for step in (10, 5)]


def test_a_table_that_fails_warns_once_and_training_goes_on(run, monkeypatch, caplog):
    logger = Wandb()(run)
    monkeypatch.setattr(wandb, "Table", lambda **_: (_ for _ in ()).throw(TypeError("odd data")))
    for step in range(2):
        logger.log_table("samples", ["text"], [["a"]], step=step)
    assert len([line for line in caplog.messages if "stopped logging (odd data)" in line]) == 1
    close_loggers([logger])


def test_a_resumed_run_continues_the_same_wandb_run(run):
    for step in (1, 2):
        logger = Wandb()(run)
        logger.log_metrics({"a": 0.5}, step)
        close_loggers([logger])
        if step == 1:
            time.sleep(1.1)  # W&B names folders by the second
    found = [read_back(folder) for folder in offline_folders(run)]
    assert len({each["start"].run_id for each in found}) == 1
    assert [row["trainer/global_step"] for each in found for row in each["rows"] if "a" in row] == [1, 2]


def test_a_failed_run_is_failed_in_wandb(run):
    logger = Wandb()(run)
    close_loggers([logger], exit_code=1)
    assert read_back(offline_folders(run)[0])["exit"] == 1


def test_a_run_left_open_by_a_dead_job_is_closed_not_continued(run, tmp_path):
    Wandb()(run).log_metrics({"a": 1.0}, 1)
    other = RunFolder(tmp_path / "other")
    second = Wandb()(other)
    second.log_metrics({"b": 1.0}, 1)
    close_loggers([second])
    assert read_back(offline_folders(run)[0])["exit"] == 1
    assert not any("a" in row for row in read_back(offline_folders(other)[0])["rows"])


@pytest.mark.parametrize("terminal", [False, True])
def test_online_without_a_key_is_offline_with_one_warning(run, monkeypatch, caplog, terminal):
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    start = time.monotonic()
    logger = Wandb(mode="online")(run)
    assert time.monotonic() - start < 10
    assert len([line for line in caplog.messages if "no API key" in line and "offline" in line]) == 1
    logger.log_metrics({"a": 1.0}, 1)
    close_loggers([logger])
    assert len(offline_folders(run)) == 1


def test_a_server_that_is_down_makes_the_run_offline(run, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setattr("groundup.runs.loggers._INIT_TIMEOUT", 1.0)
    start = time.monotonic()
    logger = Wandb(mode="online")(run)
    assert "cannot go online" in caplog.text
    assert time.monotonic() - start < 30
    logger.log_metrics({"a": 1.0}, 1)
    close_loggers([logger])
    assert read_back(offline_folders(run)[-1])["exit"] == 0


def test_a_wandb_that_breaks_warns_once_and_training_goes_on(run, monkeypatch, caplog):
    logger = Wandb()(run)
    monkeypatch.setattr(type(logger.experiment), "log", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    for step in range(3):
        logger.log_metrics({"a": 1.0}, step)
    assert len([line for line in caplog.messages if "stopped logging (disk full)" in line]) == 1
    close_loggers([logger])


def test_a_wandb_that_cannot_start_is_left_out(run, monkeypatch, caplog):
    monkeypatch.setattr(wandb, "init", lambda **_: (_ for _ in ()).throw(RuntimeError("no service")))
    loggers = open_loggers(run, {"wandb": Wandb()})
    assert "off for this run (no service)" in caplog.text
    assert [type(logger) for logger in loggers] == [CsvLogger]


def test_a_folder_called_wandb_is_not_wandb(run, monkeypatch, caplog):
    monkeypatch.delattr(wandb, "init")
    assert Wandb()(run) is None
    assert "not installed" in caplog.text


def test_only_the_first_process_of_several_writes(run, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    loggers = open_loggers(run, {"wandb": Wandb()})
    assert len(loggers) == 2  # the same list everywhere
    for logger in loggers:
        logger.log_metrics({"a": 1.0}, 1)
    close_loggers(loggers)
    assert sorted(file.name for file in run.path.iterdir()) == ["config.yaml", "status.json"]


def test_without_wandb_the_other_processes_of_several_have_no_logger_either(run, monkeypatch, caplog):
    import sys

    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    for rank in (1, 0):
        monkeypatch.setattr(rank_zero_only, "rank", rank)
        assert [type(logger) for logger in open_loggers(run, {"wandb": Wandb()})] == [CsvLogger]
        assert ("off for this run" in caplog.text) == (rank == 0)


def test_closing_never_raises_whatever_a_logger_does(run, caplog):
    class Broken(CsvLogger):
        def finalize(self, status):
            raise OSError("gone")

    close_loggers([Broken(run), CsvLogger(run)])
    assert "Broken did not close (gone)" in caplog.text


def test_tensorboard_says_how_to_get_it(run, monkeypatch):
    def missing(**_):
        raise ModuleNotFoundError("tensorboard")

    monkeypatch.setattr("lightning.pytorch.loggers.TensorBoardLogger", missing)
    with pytest.raises(UserError, match="pip install tensorboard"):
        TensorBoard()(run)


def test_disabled_is_no_logger(run):
    assert Wandb(mode="disabled")(run) is None
    assert not (run.path / "wandb").exists()


@pytest.mark.parametrize(("choice", "names"), [("wandb", ["wandb"]), ("none", []), ("tensorboard", ["tensorboard"])])
def test_every_yaml_makes_its_loggers(run, choice, names):
    with initialize_config_dir(str(CONF / "logger" / ".."), version_base=None):
        config = compose(overrides=[f"+logger={choice}", *(["wandb.mode=disabled"] if "wandb" in names else [])])
    nodes = OmegaConf.to_container(config, resolve=True).get("logger") or {}
    wanted = {name: instantiate(node, f"logger.{name}") for name, node in nodes.items()}
    assert list(wanted) == names
    loggers = open_loggers(run, wanted)
    assert [type(logger).__name__ for logger in loggers] == [
        "CsvLogger",
        *(["TensorBoardLogger"] if "tensorboard" in names else []),
    ]
    for logger in loggers:
        logger.log_metrics({"a": 1.0}, 1)
    close_loggers(loggers)
    assert bool(list((run.path).glob("tensorboard/events*"))) == ("tensorboard" in names)
    assert "/" not in OmegaConf.to_yaml(config)  # no path: the saved configuration must survive a move


@pytest.mark.parametrize("odd", ["../../../elsewhere", "a/b", "", "x" * 200, "a\nb", "\x1b[31m"])
def test_an_id_that_is_no_name_is_replaced(run, odd):
    (run.path / "wandb_id").write_text(odd)
    close_loggers([Wandb()(run)])
    kept = (run.path / "wandb_id").read_text()
    assert kept != odd and kept.isalnum()
    assert [folder.name.endswith(kept) for folder in offline_folders(run)] == [True]


def test_settings_in_the_current_folder_are_not_obeyed(run, monkeypatch):
    """``cd RUN; groundup resume run=.``: the run's own files must not choose the server that gets the key."""
    monkeypatch.chdir(run.path)
    monkeypatch.delenv("WANDB_BASE_URL")
    (run.path / "wandb").mkdir()
    (run.path / "wandb" / "settings").write_text("[default]\nbase_url = http://evil.example\n")
    wandb.teardown()
    logger = Wandb()(run)
    assert "evil" not in logger.experiment.settings.base_url
    close_loggers([logger])
    wandb.teardown()
    assert Path.cwd() == run.path


@pytest.fixture
def described(run):
    """A run as a training describes it before it logs."""
    run.set_status(
        "running",
        stage="finetune",
        choices={"data": "trec6", "model": "cnn_encoder", "size": "tiny", "task": "classification", "trainer": "cpu"},
        overrides=["data=trec6", "model=cnn_encoder", "model.dropout=0.5", "seed=2", "data.train=/far/away/file.csv"],
    )
    run.write_config({"seed": 2, "model": {"width": 32, "api_key": "very-secret"}, "init_from": None})
    run.write_json(
        "provenance.json",
        {"parameters": 1234, "git": {"sha": "abc", "dirty": False}, "data": {"train": {"fingerprint": "f00"}}},
    )
    return run


def test_a_run_is_called_and_tagged_by_what_was_chosen(described):
    close_loggers([Wandb(tags=["mine"], group="sweep")(described)])
    (folder,) = offline_folders(described)
    start = read_back(folder)["start"]
    assert start.display_name == "trec6 cnn_encoder tiny dropout=0.5 train=file.csv seed=2"
    assert list(start.tags) == ["mine", "finetune", "trec6", "cnn_encoder", "tiny", "classification"]
    assert (start.run_group, start.job_type) == ("sweep", "finetune")


def test_runs_can_be_grouped_by_plain_values(described):
    close_loggers([Wandb()(described)])
    (folder,) = offline_folders(described)
    found = read_back(folder)
    assert found["config"]["choice"] == {
        "data": "trec6", "model": "cnn_encoder", "size": "tiny", "task": "classification",
    }  # fmt: skip
    plain = {name: found["config"][name] for name in ("parameters", "data_fingerprint", "commit", "seed")}
    assert plain == {"parameters": 1234, "data_fingerprint": "f00", "commit": "abc", "seed": 2}
    assert found["metrics"]["tokens"] == ""


def test_the_summary_has_intervals_and_baselines(described):
    logger = Wandb()(described)
    described.write_json("metrics.json", {"test/accuracy": {"value": 0.75, "ci95": [0.7, 0.8], "n": 4}})
    described.write_json("baselines.json", {"majority class": {"test/accuracy": {"value": 0.5, "ci95": [None, None]}}})
    close_loggers([logger])
    (folder,) = offline_folders(described)
    summary = read_back(folder)["summary"]
    assert (summary["test/accuracy_ci95_low"], summary["test/accuracy_ci95_high"]) == (0.7, 0.8)
    assert summary["baseline/majority class/test/accuracy"] == 0.5
    assert not any(name.startswith("baseline/majority class/test/accuracy_ci95") for name in summary)


def test_a_checkpoint_is_kept_as_an_artifact_when_asked_for(described, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    described.checkpoints.mkdir()
    (described.checkpoints / "best.ckpt").write_bytes(b"weights")
    close_loggers([Wandb(checkpoints=True)(described)])
    (folder,) = offline_folders(described)
    (file,) = folder.glob("*.wandb")
    read_back(folder)  # waits until the file is whole
    (artifact,) = [record.artifact for record in blocks(file.read_bytes()) if record.HasField("artifact")]
    assert artifact.type == "model" and artifact.name == f"run-{(described.path / 'wandb_id').read_text()}"
    kept = {entry.path for entry in artifact.manifest.contents}
    assert {"checkpoints/best.ckpt", "config.yaml", "status.json"} <= kept
    assert json.loads(artifact.metadata)["commit"] == "abc"


def test_a_run_that_begins_with_another_says_so_online(described, run, monkeypatch):
    parent = RunFolder(run.path.parent / "parent")
    parent.path.mkdir()
    parent.write_config({"seed": 1})
    (parent.path / "wandb_id").write_text("p4rent")
    used: list[str] = []
    begun = [{"init_from": str(parent.path)}, {"init_from": {"encoder": str(parent.path), "decoder": None}}]
    begun += [{"run": str(parent.path)}, {"run": str(parent.checkpoints / "best.ckpt")}]  # evaluations
    for config in begun:
        run.write_config(config)
        use_parents(parents_of(run), SimpleNamespace(use_artifact=used.append))
    assert used == ["run-p4rent:best"] * len(begun)
    (parent.path / "wandb_id").write_text("../../elsewhere")
    use_parents(parents_of(run), SimpleNamespace(use_artifact=used.append))
    assert len(used) == len(begun) and (parent.path / "wandb_id").read_text() == "../../elsewhere"


def test_sync_uploads_what_was_logged_offline_once(described, monkeypatch, capsys):
    from groundup import cli
    from groundup.stages import sync

    logs = described.path.parents[1]
    words = ["sync", f"paths.logs={logs}"]
    assert cli.run(words) == 0 and "nothing to upload" in capsys.readouterr().out
    close_loggers([Wandb()(described)])
    (folder,) = offline_folders(described)
    assert sync.waiting(logs) == [folder]
    assert cli.run(words) == 2
    assert "1 to upload, and there is no API key" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    sent = []

    def upload(command, **more):  # in the place of wandb's own command, which would need a server
        sent.append(command[1:6])
        assert not list(Path(more["cwd"]).iterdir())  # a folder of its own: W&B reads settings there, and leaves a log
        (file,) = folder.glob("*.wandb")
        file.with_name(file.name + ".synced").touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(sync.subprocess, "run", upload)
    assert cli.run(words) == 0 and "1 of 1 uploaded" in capsys.readouterr().out
    assert sent == [["-m", "wandb", "sync", "--yes", str(folder)]]
    assert cli.run(words) == 0 and "nothing to upload" in capsys.readouterr().out


def test_an_upload_that_fails_is_the_exit_code(described, monkeypatch, capsys):
    from groundup import cli
    from groundup.stages import sync

    close_loggers([Wandb()(described)])
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setattr(sync.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=3))
    with pytest.raises(SystemExit) as stop:
        cli.run(["sync", f"paths.logs={described.path.parents[1]}"])
    assert stop.value.code == 3 and "0 of 1 uploaded" in capsys.readouterr().out
