"""A run folder from a stranger is data: whatever it says, nothing of it is run, written elsewhere, or read out."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from groundup import cli
from groundup.config.check import check
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.stages.build import backbone_class

SECRET = "-".join(["hush", "hush", "0123"])  # in parts: a run keeps the changes of its checkout, this file too
CREATE = "${oc.create:{_target_: pathlib.Path.touch, _args_: [{_target_: pathlib.Path, _args_: [WITNESS]}]}}"
TEXTS = ["${oc.env:MY_SECRET}", CREATE, "\\" + CREATE, "\\\\" + CREATE, "${oc.decode:${oc.env:MY_SECRET}}"]
TOUCH = {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": ["WITNESS"]}]}
NODES = [
    TOUCH,
    {"_target_": "groundup.system.files.write_text", "path": "WITNESS", "text": "x"},
    {"_target_": "groundup.text.tokenizer.Tokenizer.save", "path": "WITNESS"},
    {"_target_": "groundup.training.resume.AtomicIO.save_checkpoint", "path": "WITNESS", "checkpoint": {}},
    {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "WITNESS"},
    {"_target_": "lightning.pytorch.callbacks.LambdaCallback", "on_train_start": TOUCH},
    {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": "WITNESS"},
    {"_target_": "functools.partial", "_args_": [TOUCH], "_partial_": True},
    {"_target_": "torch.optim.AdamW", "lr": TOUCH},
    {"_target_": "builtins.open", "file": "WITNESS", "mode": "w", "_partial_": False, "_recursive_": True},
    {"_target_": "os.mkdir", "path": "WITNESS"},
    {"_target_": ["os", "mkdir"], "path": "WITNESS"},
    {"deep": [[{"deeper": {**TOUCH, "_convert_": "all"}}]]},
]
PLACES = (
    "model.dropout model._target_ model task.pooling task data.root data.clean data tokenizer.path batching batching.batch_size "
    "optimizer.lr optimizer scheduler trainer.strategy trainer.plugins trainer.profiler trainer callbacks.evil logger.evil "
    "monitor run_name seed paths.cache"
).split()


@pytest.fixture(scope="module")
def honest(groundup, data_overrides, tmp_path_factory) -> Path:
    """A classifier that was stopped half way."""
    run = tmp_path_factory.mktemp("honest") / "run"
    groundup(
        "finetune", *data_overrides, "data.label=subject", "size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled",
        "threads=1", "budget.steps=4", "validate_every=2", "checkpoint_every=2", folder=run,
    )  # fmt: skip
    edit_status(run, state="interrupted")
    return run


def edit_status(run: Path, **values) -> None:
    file = run / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.fixture
def attack(honest, tmp_path, monkeypatch, capfd) -> Callable[..., str]:
    """Puts a payload at a place of a copy of the run, uses it, and returns what was said. Fails if anything came of it."""
    monkeypatch.setenv("MY_SECRET", SECRET)
    witness = tmp_path / "witness"

    def call(verb: list[str], place: str = "", payload: object = None, prepare: Callable[[Path], None] | None = None):
        work = tmp_path / "work"
        run = Path(shutil.copytree(honest, work / "run"))
        if place:
            config = yaml.safe_load((run / "config.yaml").read_text())
            harmful = json.loads(json.dumps(payload).replace("WITNESS", str(witness)))
            (run / "config.yaml").write_text(yaml.safe_dump(put(config, place, harmful)))
        monkeypatch.chdir(work)
        if prepare:
            prepare(run)
        before = {path for path in tmp_path.rglob("*") if path.is_file() and run not in path.parents}
        code = cli.run([word.replace("RUN", "run") for word in verb])
        out, err = capfd.readouterr()
        assert not witness.exists(), "it ran"
        assert SECRET not in out + err, "the secret was said"
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in files if SECRET.encode() in path.read_bytes()], "the secret was written"
        new = {path for path in files if run not in path.parents} - before
        assert all(work / "out" in path.parents for path in new), f"written elsewhere: {sorted(new)}"
        assert "Traceback" not in err
        shutil.rmtree(work)
        return code, err

    return call


EVALUATE = ["evaluate", "run=RUN", "hydra.run.dir=out/new", "threads=1"]
INIT_FROM = ["finetune", "init_from=RUN", "wandb.mode=disabled", "threads=1", "budget.steps=1", "hydra.run.dir=out/new"]
RESUME = ["resume", "run=RUN"]


def put(config: dict, place: str, payload: object) -> dict:
    """``config`` with the payload at a dotted key."""
    *parents, last = place.split(".")
    node = config
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = payload
    return config


@pytest.mark.parametrize("place", PLACES)
def test_no_payload_passes_the_check_of_a_configuration(honest, monkeypatch, tmp_path, place):
    """Every payload at every place: a target is refused, a text is left alone or refused as it stands."""
    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.chdir(tmp_path)
    saved = (honest / "config.yaml").read_text()
    for node in NODES:
        with pytest.raises(UserError):
            check(put(yaml.safe_load(saved), place, node), "finetune")
    for text in TEXTS:
        config = put(yaml.safe_load(saved), place, text)
        before = json.dumps(config)
        with contextlib.suppress(UserError):
            check(config, "finetune")
        assert json.dumps(Config(config)) == before
    assert not list(tmp_path.iterdir())


USED = ["model.dropout", "task", "data.root", "monitor"]
UNUSED = ["callbacks.evil", "tokenizer.path"]


@pytest.mark.parametrize("place", [*USED, *UNUSED])
def test_evaluate_builds_nothing_of_a_payload(attack, place):
    """What it does not need, such as callbacks, it does not even look at."""
    number = PLACES.index(place)
    code, said = attack(EVALUATE, place, NODES[number % len(NODES)])
    assert code == (0 if place in UNUSED else 2), said
    attack(EVALUATE, place, TEXTS[number % len(TEXTS)])


@pytest.mark.parametrize("place", ["model.dropout", "data.root", "trainer.plugins", "callbacks.evil", "logger.evil"])
def test_resume_builds_nothing_of_a_payload(attack, place):
    for payload in (NODES[PLACES.index(place) % len(NODES)], TEXTS[PLACES.index(place) % len(TEXTS)]):
        assert attack(RESUME, place, payload)[0] == 2


def test_logs_and_cache_are_those_of_the_command(attack, tmp_path):
    for verb in (EVALUATE, RESUME):
        assert attack(verb, "paths", {"logs": "WITNESS", "cache": "WITNESS"})[0] == 0


def test_a_run_that_starts_from_it_takes_data_alone(attack):
    assert attack(INIT_FROM, "model.dropout", TOUCH)[0] == 2
    for key in ("dropout", "feed_forward"):
        code, said = attack(INIT_FROM, f"model.{key}", TEXTS[0])
        assert code == 2 and f"config.yaml: model.{key} = " in said
    assert attack(INIT_FROM, "tokenizer.path", TEXTS[0])[0] == 0


def in_status(**values) -> Callable[[Path], None]:
    return lambda run: edit_status(run, **values)


def as_pipeline(*steps: dict, name: str = "a") -> Callable[[Path], None]:
    """The run as a pipeline that was stopped before its first step."""

    def prepare(run: Path) -> None:
        named = {name if number == 0 else f"{name}{number}": step for number, step in enumerate(steps)}
        (run / "config.yaml").write_text(yaml.safe_dump({"steps": named, "metrics": [], "paths": {"logs": "logs"}}))
        edit_status(run, stage="pipeline", overrides=[])
        shutil.rmtree(run / "checkpoints")

    return prepare


def test_saved_overrides_are_text(attack):
    """`resume` composes them to say what would be otherwise today."""
    for word in ["monitor=${oc.env:MY_SECRET}", "data.root=$\\{oc.env:MY_SECRET\\}", "hydra.searchpath=[file://.]", 5]:
        assert attack(RESUME, prepare=in_status(overrides=[word, f"run_name={word}"]))[0] in (0, 2)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"stage": "generate", "overrides": ["run=run", "output=../../../witness"]}, "into the pipeline's folder"),
        ({"stage": "generate", "overrides": ["run=run", "output=/tmp/witness.jsonl"]}, "into the pipeline's folder"),
        ({"stage": "resume", "overrides": ["run=run"]}, "no stage of a pipeline"),
        ({"stage": "pretrain", "overrides": ["hydra.run.dir=../../witness"]}, "only KEY=VALUE of the stage"),
        ({"stage": "pretrain", "overrides": ["hydra/launcher=joblib"]}, "only KEY=VALUE of the stage"),
        ({"stage": "pretrain", "overrides": ["model=../../../../../../run/config"]}, "model is chosen by a name"),
        ({"stage": "finetune", "overrides": ["init_from=${oc.env:MY_SECRET}"]}, "${oc.env:MY_SECRET}"),
        ({"stage": "pretrain", "overrides": ["model._target_=os.system"]}, "here goes a model"),
        ({"stage": "pretrain", "overrides": [["seed=1"]]}, "a list of texts"),
        ({"stage": "pretrain", "overrides": "seed=1"}, "a list of texts"),
    ],
)
def test_steps_of_a_saved_pipeline_stay_inside(attack, step, said):
    code, err = attack(RESUME, prepare=as_pipeline(step))
    assert code == 2 and said in err


@pytest.mark.parametrize("name", ["../../witness", "/tmp/witness", "..", ".", "a/b", "", "a\x1b[2K", "a\nb"])
def test_steps_are_named_by_names(attack, name):
    code, err = attack(RESUME, prepare=as_pipeline({"stage": "pretrain", "overrides": []}, name=name))
    assert code == 2 and "a step is named by letters" in err


def test_files_beside_the_configuration_say_nothing(attack, monkeypatch):
    """Typed inside the folder, with all that Hydra, Python and W&B might look for."""

    def prepare(run: Path) -> None:
        (run / ".env").write_text("GROUNDUP_ALLOW=os,pathlib\nGROUNDUP_CONF=conf\nGROUNDUP_CACHE=/nowhere\n")
        for folder in ("conf", ".hydra", "wandb", "hydra_plugins", "model"):
            (run / folder).mkdir(exist_ok=True)
        for file in (
            "evaluate.yaml",
            ".hydra/config.yaml",
            ".hydra/overrides.yaml",
            "conf/evaluate.yaml",
            "model/x.yaml",
        ):
            (run / file).write_text("defaults: [override hydra/launcher: joblib]\nrun: ${oc.env:MY_SECRET}\n")
        for file in ("sitecustomize.py", "random.py", "groundup.py", "hydra_plugins/evil.py", "conf/evil.py"):
            (run / file).write_text("raise SystemExit('it ran')\n")
        monkeypatch.chdir(run)

    code, err = attack(["evaluate", "run=.", "hydra.run.dir=../out/new", "threads=1"], prepare=prepare)
    assert code == 0, err


def test_reports_and_the_terminal_show_and_do_not_obey(attack, honest, tmp_path):
    """Every text of the folder is an attack on a browser and on a terminal."""
    evil = "\"><script>alert(1)</script>'\x1b]0;owned\x07"

    def poisoned(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: value[key] if key in ("state", "stage", "value", "kind", "columns") else poisoned(value[key])
                for key in value
            }
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        return value + evil if isinstance(value, str) else value

    from groundup.report.page import write_report
    from groundup.runs.folder import RunFolder

    run = Path(shutil.copytree(honest, tmp_path / "poisoned"))
    for file in [*run.glob("*.json"), *run.glob("*.jsonl")]:
        if file.name not in ("tokenizer.json", "facts.json"):
            lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
            file.write_text("\n".join(json.dumps(poisoned(json.loads(line))) for line in lines))
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(poisoned(config)))
    page = write_report(RunFolder(run)).read_text()
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


def test_classes_of_ones_own_by_the_shell_alone(attack, write_module, monkeypatch):
    """The same folder is refused without, and used with, what the user has typed."""
    write_module(
        "mine",
        "from groundup.models.transformer import TransformerEncoder\nclass Own(TransformerEncoder):\n    pass\n",
    )
    code, err = attack(EVALUATE, "model._target_", "mine.Own")
    assert code == 2 and "GROUNDUP_ALLOW=mine.Own groundup" in err
    monkeypatch.setenv("GROUNDUP_ALLOW", "mine.Own")
    assert attack(EVALUATE, "model._target_", "mine.Own")[0] == 0


def test_a_model_of_ones_own_that_is_no_backbone_is_a_line(write_module, monkeypatch):
    write_module("bare", "from torch import nn\nclass Bare(nn.Linear):\n    pass\n")
    monkeypatch.setenv("GROUNDUP_ALLOW", "bare")
    with pytest.raises(UserError, match=r"derives from no backbone. Derive it from EncoderBackbone or DecoderBackbone"):
        backbone_class("bare.Bare")
