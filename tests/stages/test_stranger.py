"""A run folder from a stranger is data: whatever it says, nothing of it is run, written elsewhere, or read out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from groundup import cli
from groundup.stages.loading import NEEDED

SECRET = "hush-hush-0123"
CREATE = "${oc.create:{_target_: pathlib.Path.touch, _args_: [{_target_: pathlib.Path, _args_: [WITNESS]}]}}"
TEXTS = ["${oc.env:MY_SECRET}", CREATE, "\\" + CREATE, "\\\\" + CREATE, "${oc.decode:${oc.env:MY_SECRET}}"]
TOUCH = {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": ["WITNESS"]}]}
NODES = [
    TOUCH,
    {"_target_": "groundup.runs.atomic.write_text", "path": "WITNESS", "text": "x"},
    {"_target_": "groundup.data.tokenizer.Tokenizer.save", "path": "WITNESS"},
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
    "monitor run_name tags seed paths.cache hydra defaults"
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
            *parents, last = place.split(".")
            node = config
            for key in parents:
                node = node.setdefault(key, {})
            node[last] = json.loads(json.dumps(payload).replace("WITNESS", str(witness)))
            (run / "config.yaml").write_text(yaml.safe_dump(config))
        if prepare:
            prepare(run)
        monkeypatch.chdir(work)
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
INIT_FROM = ["finetune", "init_from=RUN", "data=python_docs_topic", "budget.steps=1", "hydra.run.dir=out/new"]
RESUME = ["resume", "run=RUN"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", [EVALUATE, RESUME], ids=["evaluate", "resume"])
def test_targets_in_a_configuration_are_never_built(attack, verb, place):
    """What `evaluate` does not need, such as callbacks, it does not even look at."""
    node = NODES[(PLACES.index(place) + (verb is RESUME)) % len(NODES)]
    code, said = attack(verb, place, node)
    unused = place.split(".")[0] not in NEEDED if verb is EVALUATE else place == "paths.cache"
    assert code == (0 if unused else 2), said


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("hydra", "defaults")])
@pytest.mark.parametrize("verb", [EVALUATE, RESUME], ids=["evaluate", "resume"])
def test_interpolations_in_a_configuration_are_text(attack, verb, place):
    attack(verb, place, TEXTS[(PLACES.index(place) + (verb is RESUME)) % len(TEXTS)])
