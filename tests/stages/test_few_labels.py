"""Few labels by one command: self-training, task-adaptive pretraining and augmentation, killed and resumed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from seed import SEED

from groundup import cli
from groundup.data.pseudo_labels import PseudoLabels
from groundup.data.sources.few_labels import FewLabels
from groundup.data.sources.folds import Fold
from groundup.data.sources.source import GivenRows
from groundup.errors import UserError
from groundup.runs.reference import find_run
from groundup.stages import self_training
from groundup.training.checkpoints import Checkpoints

LABELS = ["data.label=subject", "data.labelled=40"]
SMALL = ["size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", "model=bilstm_encoder"]
TEACH = [
    "optimizer.lr=3e-2",
    "self_training=pseudo_labels",
    "self_training.threshold=0.34",
    "augmentation=[eda,cut_off]",
    "budget.steps=8",
]


ALONGSIDE = ["optimizer.lr=3e-2", "self_training=mean_teacher", "augmentation=[eda,cut_off]", "budget.steps=8"]


def weights(folder, name: str = "last.ckpt"):
    return torch.load(folder / "checkpoints" / name)["state_dict"]


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state(folder):
    return json.loads((folder / "status.json").read_text())["state"]


@pytest.fixture(scope="module")
def taught(groundup, data_overrides):
    return groundup("finetune", *data_overrides, *LABELS, *SMALL, *TEACH, "self_training.rounds=2", "validate_every=4")


def test_students_learn_from_what_their_teachers_are_sure_of(taught, read_json):
    for number in (1, 2):
        text = (taught / "earlier" / f"pseudo_labels_{number}.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        assert 0 < len(lines) <= 200
        assert all(0.33 <= line["weight"] <= 1 and line["label"] in ("garden", "kitchen", "sea") for line in lines)
        assert state(taught / "earlier" / f"teacher_{number}") == "done"
    assert not (taught / "earlier" / "teacher_3").exists()
    rows = read_json(taught / "provenance.json")["data"]["train"]["rows"]
    assert rows == 40 + len(lines)
    assert "test/accuracy" in read_json(taught / "metrics.json")
    assert not same(weights(taught), weights(taught / "earlier" / "teacher_1"))


@pytest.fixture(scope="module")
def with_teacher(groundup, data_overrides):
    return groundup("finetune", *data_overrides, *LABELS, *SMALL, *ALONGSIDE, "validate_every=8")


def teacher_of(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt")["callbacks"]["MeanTeacher"]["average"]


def test_what_is_used_of_a_mean_teacher_run_is_the_teacher(with_teacher, read_json):
    assert not (with_teacher / "earlier").exists()
    data = read_json(with_teacher / "provenance.json")["data"]
    assert (data["train"]["rows"], data["unlabelled"]["rows"]) == (40, 200)
    assert same(weights(with_teacher, "best.ckpt"), teacher_of(with_teacher))
    assert not same(weights(with_teacher), teacher_of(with_teacher))


def test_a_mean_teacher_run_that_was_killed_ends_in_the_same_weights(
    with_teacher, data_overrides, tmp_path, monkeypatch, read_json
):
    folder = tmp_path / "run"
    saved = Checkpoints.on_train_batch_end

    def dies(self, trainer, *rest):
        saved(self, trainer, *rest)
        if trainer.global_step == 5:
            self._save_last(trainer)
            raise OSError("the power went out")

    words = [*data_overrides, *LABELS, *SMALL, *ALONGSIDE, "validate_every=8"]
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", dies)
        assert cli.run(["finetune", f"seed={SEED}", *words, f"hydra.run.dir={folder}"]) == 1
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert same(weights(folder), weights(with_teacher)) and same(teacher_of(folder), teacher_of(with_teacher))
    assert same(weights(folder, "best.ckpt"), weights(with_teacher, "best.ckpt"))
    assert read_json(folder / "metrics.json") == read_json(with_teacher / "metrics.json")


def test_each_fold_has_a_teacher_of_its_own_also_in_bf16(groundup, data_overrides, read_json):
    words = ["self_training=mean_teacher", "budget.steps=2", "folds=2", "trainer.precision=bf16-mixed"]
    folder = groundup("finetune", *data_overrides, *LABELS, *SMALL, *words)
    for fold in (folder / "fold_1", folder / "fold_2"):
        data = read_json(fold / "provenance.json")["data"]
        assert (data["train"]["rows"], data["unlabelled"]["rows"]) == (20, 200)
        assert same(weights(fold, "best.ckpt"), teacher_of(fold))
    assert "out_of_fold/accuracy" in read_json(folder / "metrics.json")


def test_the_last_run_is_the_student(taught):
    assert find_run("last", taught, "evaluate")[0].path == taught


@pytest.mark.parametrize("where", ["teacher_1", "student"])
def test_killed_in_any_stage_it_ends_in_the_same_weights(where, taught, data_overrides, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    saved = Checkpoints.on_train_batch_end

    def dies(self, trainer, *rest):
        saved(self, trainer, *rest)
        here = "teacher_1" in str(self.folder) if where == "teacher_1" else "earlier" not in str(self.folder)
        if here and trainer.global_step == 5:
            self._save_last(trainer)
            raise OSError("the power went out")

    words = [*data_overrides, *LABELS, *SMALL, *TEACH, "self_training.rounds=2", "validate_every=4"]
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", dies)
        assert cli.run(["finetune", f"seed={SEED}", *words, f"hydra.run.dir={folder}"]) == 1
    assert state(folder) == "failed"
    capsys.readouterr()
    assert cli.run(["resume", f"run={folder}"]) == 0
    said = capsys.readouterr().err
    assert "resuming at step 5" in said and "(the saved value is used)" not in said
    for part in ("earlier/teacher_1", "earlier/teacher_2", "."):
        assert same(weights(folder / part), weights(taught / part)), part


def test_a_parent_goes_on_with_the_text_of_the_task(groundup, data_overrides, pretrained, read_json):
    words = [*data_overrides, *LABELS, "wandb.mode=disabled", "threads=1", f"init_from={pretrained}", "budget.steps=4"]
    folder = groundup("finetune", *words, "task_adaptive=true", "task_adaptive_epochs=2")
    adapted = folder / "earlier" / "adapted"
    assert not same(weights(adapted), weights(pretrained))
    rows = read_json(adapted / "status.json")
    assert (rows["stage"], rows["state"]) == ("pretrain", "done")
    assert f"init_from {adapted}: " in (folder / "run.log").read_text()
    assert (folder / "tokenizer.json").read_bytes() == (pretrained / "tokenizer.json").read_bytes()
    whole = read_json(pretrained / "provenance.json")["data"]["train"]["tokens"]
    assert abs(read_json(adapted / "provenance.json")["data"]["train"]["tokens"] - whole) < 10  # all 240 rows, not 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["self_training=pseudo_labels"], "self_training needs rows without labels. Try data.labelled=500"),
        (["self_training=mean_teacher"], "self_training needs rows without labels. Try data.labelled=500"),
        (
            ["data.labelled=40", "self_training=mean_teacher", "callbacks=[default,ema]"],
            "an average of the weights already: the teacher. Try ~callbacks.ema",
        ),
        (
            ["data.labelled=40", "self_training=mean_teacher", "task=multilabel"],
            "self_training is for tasks that give a text one class, and task=multilabel does not. Try self_training=none",
        ),
        (["task_adaptive=true"], "task_adaptive=true goes on with one pretrained run, and there is none"),
        (
            ["data.labelled=40", "self_training=pseudo_labels", "self_training.threshold=2"],
            "self_training.threshold = 2",
        ),
        (["augmentation=eda", "augmentation.eda.rows=-1"], "augmentation.eda.rows = -1"),
    ],
)
def test_what_cannot_be_done_is_said_before_training(words, said, data_overrides, tmp_path, capsys):
    folder = tmp_path / "run"
    assert cli.run(["finetune", *data_overrides, "data.label=subject", *SMALL, *words, f"hydra.run.dir={folder}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert not list(folder.rglob("*.ckpt"))


def test_a_teacher_may_be_a_finished_run(groundup, data_overrides, taught):
    teacher = taught / "earlier" / "teacher_1"
    words = [
        *data_overrides,
        *LABELS,
        *SMALL,
        "budget.steps=2",
        "self_training=pseudo_labels",
        "self_training.threshold=0",
    ]
    folder = groundup("finetune", *words, f"self_training.teacher={teacher}")
    assert [file.name for file in (folder / "earlier").iterdir()] == ["pseudo_labels_1.jsonl"]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_torchrun_has_started_cannot_train_a_teacher(
    rank, data_overrides, tmp_path, monkeypatch, capsys
):
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    words = [*data_overrides, *LABELS, *SMALL, *TEACH, "trainer=ddp", "trainer.accelerator=cpu"]
    assert cli.run(["finetune", *words, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert "Try the command without torchrun or srun" in capsys.readouterr().err
    assert not (tmp_path / "run" / "earlier").exists()


def test_a_teacher_knows_a_class_whose_only_row_is_held_out(tmp_path, monkeypatch):
    rows = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(8)]
    few = FewLabels(GivenRows({"train": [*rows, {"text": "text 8", "label": "rare"}]}), labelled=6)
    folds = [Fold(few, 2, number) for number in (1, 2)]
    (source,) = (one for one in folds if "rare" not in [row["label"] for row in one.rows("train")])
    answers = np.array([[0.9, 0.1, 0.0]] * 3)
    teacher = SimpleNamespace(labels=("a", "b", "rare"), probabilities=lambda rows: answers)
    monkeypatch.setattr(self_training, "load_run", lambda *_: teacher)
    self_training.write_pseudo_labels(tmp_path, source, PseudoLabels(balance=False), tmp_path / "rows.jsonl", "")
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3
    teacher.labels = ("a", "b", "other")
    with pytest.raises(UserError, match=r"it and the data differ in the class 'other'"):
        self_training.write_pseudo_labels(tmp_path, source, PseudoLabels(), tmp_path / "rows.jsonl", "")
