"""Texts from outside reach a finished run as its own texts did, and leave it whole."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import pytest
import torch

from groundup import cli
from groundup.config.build import instantiate
from groundup.config.compose import compose
from groundup.decoding.sampling import Sampler
from groundup.runs.folder import RunFolder
from groundup.stages.evaluate import with_other_data
from groundup.stages.loading import load_run
from groundup.stages.predict import ABOUT

SMALL = ["size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", "data.clean.lowercase=true"]


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def lower(groundup, data_overrides) -> Path:
    """A classifier of texts that were lower-cased before it saw them."""
    return groundup("finetune", *data_overrides, "data.label=subject", *SMALL, "budget.steps=4", "tokenizer=word")


@pytest.fixture(scope="module")
def lower_writer(groundup, data_overrides) -> Path:
    """A language model of such texts."""
    words = ["model=lstm_decoder", "budget.steps=4", "batching.length=32", "batching.batch_size=8", "tokenizer=word"]
    return groundup("pretrain", *data_overrides, *SMALL, *words)


def test_texts_are_cleaned_as_in_training_whichever_way_they_come_in(lower, tmp_path):
    run = load_run(lower)
    small, large = run.answer([{"text": "roses and tulips"}, {"text": "Roses AND Tulips"}])
    assert small == large
    (tmp_path / "in.jsonl").write_text('{"review": "Roses AND Tulips"}\n', "utf-8")
    command = ["predict", f"run={lower}", f"input={tmp_path / 'in.jsonl'}", f"output={tmp_path / 'out.jsonl'}"]
    assert cli.run(command) == 0
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["review"] == "Roses AND Tulips" and row["probabilities"] == pytest.approx(small["probabilities"])


@pytest.mark.parametrize("piped", ['\ufeff\n{"review": "Roses AND Tulips"}\n', "Roses AND Tulips\n"])
def test_rows_come_through_a_pipe_and_go_through_one(piped, lower, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped.encode())))
    monkeypatch.chdir(tmp_path)
    assert cli.run(["predict", f"run={lower}", "input=-", "output=-"]) == 0
    said = capsys.readouterr()
    (row,) = map(json.loads, said.out.splitlines())  # and nothing else is there
    assert row["review" if "review" in piped else "text"] == "Roses AND Tulips"
    (expected,) = load_run(lower).answer([{"text": "roses and tulips"}])
    assert row["probabilities"] == pytest.approx(expected["probabilities"]) and "1 rows" in said.err
    assert not list(tmp_path.iterdir())


def test_nothing_through_a_pipe_is_a_line(lower, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert cli.run(["predict", f"run={lower}", "input=-", "output=-"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_a_prompt_is_cleaned_as_in_training(lower_writer):
    run = load_run(lower_writer)
    greedy = Sampler(temperature=0, max_new_tokens=5)
    said = ["".join(run.task.generate(run.text(prompt), "", run.read, greedy, 1)) for prompt in ("the sea", "The SEA")]
    assert said[0] == said[1]


@pytest.mark.parametrize("saved", ["groundup.data.sources.python_docs.PythonDocs", "groundup.data.sources.files.Files"])
@pytest.mark.parametrize("words", [[], ["data=files", "data.label=label"]])
def test_other_data_is_cleaned_as_the_run_cleaned_its_own(saved, words, lower):
    trained = load_run(lower).config
    trained["data"] = {"_target_": saved, "clean": trained["data"]["clean"]}
    trained["data"] |= {"name": "topic"} if saved.endswith("PythonDocs") else {"label": "label", "test": "own.csv"}
    words = ["run=x", "data.test=other.csv", *words]
    assert with_other_data(trained, compose("evaluate", words), words).data.label == "label"
    assert with_other_data(trained, compose("evaluate", words), words).data.clean.lowercase is True
    words += ["data=files", "data.clean.lowercase=false"]
    assert with_other_data(trained, compose("evaluate", words), words).data.clean.lowercase is False


def test_other_data_is_found_where_the_command_runs(lower):
    trained = load_run(lower).config
    trained["data"] |= {"root": "/of/the/run", "hub": "some/set", "local": {"test": "copy.csv"}}
    found = with_other_data(trained, compose("evaluate", words := ["run=x", "data.test=other.csv"]), words).data
    assert instantiate({**found, "clean": None}, "data").paths("test") == [Path("other.csv")]
    words = [*words, "data.root=/typed"]
    assert with_other_data(trained, compose("evaluate", words), words).data.root == "/typed"
    words = ["run=x", "data.root=/copies"]
    assert with_other_data(trained, compose("evaluate", words), words).data.local == {"test": "copy.csv"}


def test_baselines_beside_other_data_learn_from_the_train_split_of_the_run(groundup, lower, reviews, read_json):
    own = read_json(groundup("evaluate", f"run={lower}", "split=validation", "baselines=true") / "baselines.json")
    other = groundup("evaluate", f"run={lower}", f"data.test={reviews / 'dev.csv'}", "baselines=true")
    told = read_json(other / "baselines.json")
    assert [metrics["test/accuracy"] for metrics in told.values()] == [
        metrics["validation/accuracy"] for metrics in own.values()
    ]


def test_a_train_file_that_is_gone_is_told_before_the_evaluation(groundup, lower, reviews, tmp_path, capsys):
    moved = shutil.copytree(lower, tmp_path / "run")
    config = (moved / "config.yaml").read_text("utf-8")
    (moved / "config.yaml").write_text(config.replace("train: train.csv", "train: gone.csv"), "utf-8")
    folder = groundup("evaluate", f"run={moved}", f"data.test={reviews / 'dev.csv'}", "baselines=true", code=2)
    assert "gone.csv" in capsys.readouterr().err and not (folder / "metrics.json").exists()


def test_calibrated_answers_are_those_whose_error_the_report_calls_scaled(
    finetuned, groundup, read_json, reviews, tmp_path
):
    own = read_json(finetuned / "metrics.json")
    temperature = own["validation/temperature"]["value"]
    scored = groundup("evaluate", f"run={finetuned}", "calibrated=true")
    figures = {name.removeprefix("test/"): one["value"] for name, one in read_json(scored / "metrics.json").items()}
    assert figures["ece"] == pytest.approx(own["test/scaled_ece"]["value"], abs=1e-6)
    assert figures["accuracy"] == own["test/accuracy"]["value"] and figures["loss"] != own["test/loss"]["value"]
    told = {}
    for name in ("plain", "calibrated"):
        output = tmp_path / f"{name}.jsonl"
        words = [f"input={reviews / 'test.csv'}", f"output={output}", f"calibrated={name == 'calibrated'}"]
        assert cli.run(["predict", f"run={finetuned}", *words]) == 0
        told[name] = rows_of(output)
    for plain, row, kept in zip(*told.values(), rows_of(scored / "predictions.jsonl"), strict=True):
        powers = {name: share ** (1 / temperature) for name, share in plain["probabilities"].items()}
        expected = {name: power / sum(powers.values()) for name, power in powers.items()}
        assert row["probabilities"] == pytest.approx(expected, abs=1e-6)
        assert row["probability"] == max(row["probabilities"].values()) == pytest.approx(kept["probability"], abs=1e-5)
        assert row["predicted"] == plain["predicted"]


def test_what_has_no_temperature_answers_calibrated_in_one_line(finetuned, language_model, tmp_path, capsys):
    moved = shutil.copytree(finetuned, tmp_path / "run")
    (tmp_path / "in.txt").write_text("roses\n")
    words = [f"input={tmp_path / 'in.txt'}", f"output={tmp_path / 'out.jsonl'}", "calibrated=true"]

    def refused(run: Path) -> str:
        assert cli.run(["predict", f"run={run}", *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and not (tmp_path / "out.jsonl").exists()
        return error

    assert "give a text one class" in refused(language_model)
    assert cli.run(["evaluate", f"run={finetuned}", "scheme=bio", f"hydra.run.dir={tmp_path / 'scored'}"]) == 2
    assert "scheme=bio is for task=tagging" in capsys.readouterr().err
    assert f"Try run={moved}" in refused(moved / "checkpoints" / "last.ckpt")
    metrics = json.loads((moved / "metrics.json").read_text())
    for value, said in ((-1, "damaged"), (None, "damaged"), ("gone", "has no temperature")):
        metrics["validation/temperature"] = {"value": value}
        kept = {name: one for name, one in metrics.items() if one["value"] != "gone"}
        (moved / "metrics.json").write_text(json.dumps(kept))
        assert said in refused(moved)


ODD = [
    {
        "review": "Roses \ud800 tulips",
        "predicted": "sea",
        "n": float("nan"),
        "more": [float("inf"), {"a": float("nan")}],
    },
    {"review": "waves " * 500, "input.status": "old", "status": 1},
    {"review": " \n"},
]


def test_columns_of_the_input_are_kept_whatever_they_are_called_and_hold(lower, tmp_path, capsys):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ODD), "utf-8")
    assert cli.run(["predict", f"run={lower}", f"input={source}", f"output={output}"]) == 0

    def refuse(constant: str):
        raise ValueError(f"{constant} is no JSON")

    first, second, third = [json.loads(line, parse_constant=refuse) for line in output.read_text("utf-8").splitlines()]
    assert first["review"] == ODD[0]["review"] and first["input.predicted"] == "sea"
    assert first["n"] is None and first["more"] == [None, {"a": None}]
    assert (second["input.status"], second["input.input.status"]) in {("old", 1), (1, "old")}
    assert [row["status"] for row in (first, second, third)] == ["ok", "truncated", "empty"]
    told = capsys.readouterr().err
    assert "1 of 3 rows: truncated" in told and "1 of 3 rows: empty" in told
    assert "predicted, status of the input: now input.predicted, input.status" in told


def test_a_long_text_is_said_to_be_cut_by_every_task(lower_writer, lower):
    for run in (lower_writer, lower):
        short, long = load_run(run).answer([{"text": "the sea"}, {"text": "the sea " * 200}])
        assert (short["status"], long["status"]) == ("ok", "truncated")
        assert short.keys() <= {*load_run(run).task.answers, *ABOUT}  # what columns of the input are set apart from


@pytest.fixture
def texts(tmp_path) -> Path:
    (tmp_path / "in.jsonl").write_text('{"review": "roses"}\n', "utf-8")
    return tmp_path / "in.jsonl"


def place_of(kind: str, folder: Path) -> Path:
    """A path that no answers can be written to."""
    if kind == "folder":
        (folder / "out.jsonl").mkdir()
    elif kind == "input":
        return folder / "in.jsonl"
    elif kind == "link to the input":
        (folder / "out.jsonl").symlink_to("in.jsonl")
    elif kind == "pipe":
        os.mkfifo(folder / "out.jsonl")
    elif kind == "long name":
        return folder / ("x" * 300 + ".jsonl")
    elif kind == "below a file":
        return folder / "in.jsonl" / "out.jsonl"
    return folder / ("out.csv" if kind == "table" else "out.jsonl")


KINDS = ["folder", "input", "link to the input", "pipe", "long name", "below a file", "table"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_cannot_be_is_refused_in_one_line_before_the_model_is_read(kind, texts, capsys):
    output = place_of(kind, texts.parent)
    before = texts.read_bytes()
    assert cli.run(["predict", "run=no/such/run", f"input={texts}", f"output={output}"]) in (1, 2)
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and output.name in told and "no/such/run" not in told
    assert texts.read_bytes() == before and not list(texts.parent.glob(".*"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_place_that_looks_writable_and_is_not_is_one_line(lower, texts, capsys):
    assert cli.run(["predict", f"run={lower}", f"input={texts}", "output=/proc/nowhere/out.jsonl"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: output=/proc/nowhere/out.jsonl cannot be written") and told.count("\n") == 1


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing"])
def test_an_input_that_is_no_file_is_refused_in_one_line(kind, texts, capsys):
    source = {"folder": texts.parent, "pipe": texts.with_name("pipe.txt"), "nothing": texts.with_name("im.jsonl")}[kind]
    if kind == "pipe":
        os.mkfifo(source)
    assert cli.run(["predict", "run=no/such/run", f"input={source}", f"output={texts.with_name('out.jsonl')}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: input={source}") and told.count("\n") == 1
    assert ("Try input=" + str(texts) in told) == (kind != "pipe")


def test_a_link_stays_and_leads_to_the_answers(lower, texts):
    (texts.parent / "elsewhere").mkdir()
    link = texts.with_name("out.jsonl")
    link.symlink_to("elsewhere/answers.jsonl")
    assert cli.run(["predict", f"run={lower}", f"input={texts}", f"output={link}"]) == 0
    assert link.is_symlink() and rows_of(texts.parent / "elsewhere" / "answers.jsonl")[0]["review"] == "roses"


def test_a_file_that_breaks_off_leaves_no_answers(lower, tmp_path, capsys):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"review": "roses"}\n' * 300 + '{"review": ', "utf-8")
    output.write_text("earlier answers\n", "utf-8")
    assert cli.run(["predict", f"run={lower}", f"input={source}", f"output={output}"]) == 2
    assert "line 301" in capsys.readouterr().err
    assert output.read_text("utf-8") == "earlier answers\n" and not list(tmp_path.glob(".*"))


def test_answers_come_while_the_rows_are_read(lower):
    read = []

    def rows():
        for number in range(5000):
            read.append(number)
            yield {"text": f"roses {number}"}

    next(load_run(lower).answer(rows(), batch_size=2))
    assert len(read) < 500


def test_a_task_without_an_answer_says_what_to_do(pretrained, texts, capsys):
    command = ["predict", f"run={pretrained}", f"input={texts}", f"output={texts.with_name('out.jsonl')}"]
    assert cli.run(command) == 2
    assert f"groundup finetune init_from={pretrained}" in capsys.readouterr().err
    assert [file.name for file in texts.parent.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("use", ["evaluate", "predict", "generate", "finetune"])
def test_weights_that_are_no_numbers_are_refused_before_any_work(use, lower, lower_writer, texts, capsys):
    run = lower_writer if use == "generate" else lower
    broken, new = shutil.copytree(run, texts.parent / "broken"), texts.parent / "new"
    for file in (broken / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(file, weights_only=True)
        checkpoint["state_dict"]["model.embedding.weight"][0, 0] = float("nan")
        torch.save(checkpoint, file)
    words = {
        "evaluate": [f"run={broken}", f"hydra.run.dir={new}"],
        "predict": [f"run={broken}", f"input={texts}", f"output={texts.with_name('out.jsonl')}"],
        "generate": [f"run={broken}", "prompt=roses"],
        "finetune": [f"init_from={broken}", "data=dates", f"hydra.run.dir={new}"],
    }
    assert cli.run([use, *words[use]]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ") and "model.embedding.weight holds NaN" in told
    assert not texts.with_name("out.jsonl").exists() and not (new / "checkpoints").exists()


@pytest.mark.parametrize(
    ("output", "more", "advice"),
    [
        ("out.txt", [], r"Try output=\S*out\.jsonl"),
        ("out.jsonl", ["prefix=Dear"], "prefix=Dear is for tasks that write"),
    ],
)
def test_what_a_classifier_cannot_write_is_said_before_its_model_is_read(
    output, more, advice, lower, texts, monkeypatch, capsys
):
    monkeypatch.setattr("groundup.stages.predict.load_run", lambda *_, **__: pytest.fail("the model was read"))
    assert cli.run(["predict", f"run={lower}", f"input={texts}", f"output={texts.parent / output}", *more]) == 2
    assert re.search(advice, capsys.readouterr().err)


def test_a_file_in_the_place_of_a_folder_of_the_run_is_named(lower_writer, tmp_path, capsys):
    run = RunFolder(shutil.copytree(lower_writer, tmp_path / "run"))
    run.set_status("interrupted")
    shutil.rmtree(run.samples, ignore_errors=True)
    run.samples.write_text("")
    assert cli.run(["resume", f"run={run.path}"]) == 2
    assert re.search(r"samples is damaged: a file where a folder belongs", capsys.readouterr().err)


def test_the_command_that_the_report_offers_answers(finetuned, tmp_path, monkeypatch):
    page = (finetuned / "report.html").read_text(encoding="utf-8")
    verb, _, *words = shlex.split(unescape(re.search(r"<code>groundup (predict run=[^<]+)</code>", page)[1]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("roses and tulips\n")
    assert cli.run([verb, f"run={finetuned}", *words]) == 0
    (output,) = (word.removeprefix("output=") for word in words if word.startswith("output="))
    assert len((tmp_path / output).read_text().splitlines()) == 1
