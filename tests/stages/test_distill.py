"""``groundup distill``: a student of another kind and with another tokenizer, beside its teacher."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch

from groundup.config.compose import compose
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.folder import RunFolder
from groundup.stages.teacher import answers_once, check_student

STUDENT = [
    "data.label=subject", "wandb.mode=disabled", "threads=1", "tokenizer=char", "model=bilstm_encoder",
    "budget.steps=8", "checkpoint_every=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def more(reviews):
    file = reviews / "more.csv"
    file.write_text("review\n" + "roses and seeds\nthe tide and the gulls\nflour in the oven\n" * 3, encoding="utf-8")
    return f"data.unlabelled={file}"


@pytest.fixture(scope="module")
def student(groundup, data_overrides, finetuned, more):
    return groundup("distill", *data_overrides, *STUDENT, f"teacher={finetuned}", more)


def test_the_report_has_the_student_beside_its_teacher(student, finetuned, read_json):
    teacher, own = read_json(student / "beside.json")["rows"]
    assert teacher["path"] == str(finetuned) and own["path"] == str(student)
    assert teacher["test/accuracy"] == read_json(finetuned / "metrics.json")["test/accuracy"]
    assert own["test/accuracy"] == read_json(student / "metrics.json")["test/accuracy"]
    for row in (teacher, own):
        assert row["seconds"]["1"] > 0 and row["seconds"]["16"] > 0
        tensors = load_checkpoint(f"{row['path']}/checkpoints/best.ckpt")["state_dict"]
        assert row["parameters"] == sum(value.numel() for value in tensors.values())
    page = (student / "report.html").read_text(encoding="utf-8")
    assert "the student" in page and str(finetuned) in page


def test_no_checkpoint_holds_anything_of_the_teacher(student):
    for name in ("best.ckpt", "last.ckpt"):
        saved = load_checkpoint(student / "checkpoints" / name)
        tensors = saved["state_dict"]
        assert all(key.startswith(("model.", "head.", "pooling.")) for key in tensors)
        for state in saved.get("optimizer_states", ()):
            assert len(state["state"]) == len(tensors)


def test_a_resumed_student_needs_no_teacher_and_ends_the_same(student, tmp_path, groundup):
    whole = load_checkpoint(student / "checkpoints" / "last.ckpt")["state_dict"]
    half = tmp_path / "half"
    shutil.copytree(student, half)
    (half / "checkpoints" / "last.ckpt").unlink()  # previous.ckpt is that of step 4
    (half / "status.json").write_text((half / "status.json").read_text().replace('"done"', '"interrupted"'))
    config = (half / "config.yaml").read_text()
    (half / "config.yaml").write_text(config.replace("teacher: ", "teacher: /gone"))
    groundup("resume", f"run={half}")
    again = load_checkpoint(half / "checkpoints" / "last.ckpt")["state_dict"]
    assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_student_goes_on_with_a_longer_budget(student, tmp_path, groundup, read_json):
    longer = shutil.copytree(student, tmp_path / "longer")
    groundup("resume", f"run={longer}", "budget=9steps", "scheduler=constant")
    assert load_checkpoint(longer / "checkpoints" / "last.ckpt")["global_step"] == 9
    assert read_json(longer / "beside.json")["rows"][1]["path"] == str(longer)


@pytest.fixture(scope="module")
def language_student(groundup, data_overrides, pretrained):
    """Of a masked language model, by its answers and its hidden states."""
    words = [
        "task=masked_lm",
        "batching=packed",
        "batching.length=32",
        "batching.batch_size=8",
        "monitor=validation/loss",
    ]
    words += ["wandb.mode=disabled", "threads=1", "model.layers=1", "model.width=24", "model.heads=2", "hidden=0.5"]
    return groundup("distill", *data_overrides, *words, f"teacher={pretrained}", "budget.steps=8", "checkpoint_every=4")


def test_a_teacher_that_reads_batches_gives_its_student_its_tokenizer(language_student, pretrained, read_json):
    assert (language_student / "tokenizer.json").read_bytes() == (pretrained / "tokenizer.json").read_bytes()
    teacher, own = read_json(language_student / "beside.json")["rows"]
    assert teacher["path"] == str(pretrained) and own["parameters"] < teacher["parameters"]
    tensors = load_checkpoint(language_student / "checkpoints" / "best.ckpt")["state_dict"]
    assert own["parameters"] == sum(value.numel() for value in tensors.values())  # without the maps between widths


def test_a_student_with_hidden_states_is_resumed_to_the_same_weights(language_student, tmp_path, groundup):
    whole = load_checkpoint(language_student / "checkpoints" / "last.ckpt")["state_dict"]
    half = shutil.copytree(language_student, tmp_path / "half")
    (half / "checkpoints" / "last.ckpt").unlink()  # previous.ckpt is that of step 4
    (half / "status.json").write_text((half / "status.json").read_text().replace('"done"', '"interrupted"'))
    groundup("resume", f"run={half}")
    again = load_checkpoint(half / "checkpoints" / "last.ckpt")["state_dict"]
    assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)


def test_what_does_not_fit_is_refused_in_one_line(groundup, data_overrides, finetuned, pretrained, capsys, reviews):
    text = (reviews / "train.csv").read_text(encoding="utf-8")
    (reviews / "odd.csv").write_text(text.replace(",sea", ",ocean"), encoding="utf-8")

    def refused(*words: str) -> str:
        groundup("distill", *words, *STUDENT, code=2)
        return capsys.readouterr().err.strip().splitlines()[-1]

    odd = [*data_overrides, "data.train=odd.csv", "data.validation=null", "data.test=null", f"teacher={finetuned}"]
    assert "the class 'ocean', and the teacher does not" in refused(*odd)
    assert "task=multilabel does not" in refused(*data_overrides, f"teacher={finetuned}", "task=multilabel")
    assert "at most 1000" in refused(*data_overrides, f"teacher={finetuned}", "temperature=inf")
    assert "run nowhere: does not exist" in refused(*data_overrides, "teacher=nowhere")
    assert "the class 'garden', and the teacher does not" in refused(*data_overrides, f"teacher={pretrained}")
    of_words = [*data_overrides, f"teacher={pretrained}", "batching=packed", "batching.length=32"]
    groundup("distill", *of_words, "task=masked_lm", "tokenizer=char", "threads=1", code=2)
    assert "a tokenizer of its own, which differs" in capsys.readouterr().err
    groundup("distill", *of_words, "task=causal_lm", "model=lstm_decoder", "wandb.mode=disabled", "threads=1", code=2)
    assert "Use one of task=causal_lm" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"Try task\.crf=false"):
        check_student(compose("distill", [f"teacher={finetuned}", "task=tagging", "task.crf=true"]))


def test_processes_that_all_begin_at_once_are_told_what_to_type(tmp_path):
    config = Config({"task": {"_target_": "groundup.tasks.regression.Regression"}})
    job, data = SimpleNamespace(is_main=False, folder=RunFolder(tmp_path)), SimpleNamespace(report={})
    with pytest.raises(UserError, match="without torchrun or srun"):
        answers_once(config, job, data)  # the first process has not asked the teacher yet
