"""``groundup compare``: what it prints of run folders, and what it refuses, without a model."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from groundup import cli
from groundup.metrics.classification import classification_metrics
from groundup.metrics.language import language_metrics
from groundup.metrics.tagging import tagging_metrics
from groundup.runs.folder import RunFolder

NAMES = ["sport", "world"]
TASK = "groundup.tasks.classification.Classification"
ROWS = 120


def classifier(folder: Path, right: float, seed: int = 0, rows: int = ROWS, split: str = "test", **status) -> Path:
    """A run folder whose model has a share ``right`` of its rows right."""
    run, rng = RunFolder(folder), np.random.default_rng(seed)
    labels = np.random.default_rng(7).integers(0, 2, rows)
    said = np.where(rng.random(rows) < right, labels, 1 - labels)
    sure = rng.uniform(0.5, 1, rows)
    shares = np.where(said[:, None] == [0, 1], sure[:, None], 1 - sure[:, None])
    run.set_status("running", stage="finetune", choices={"data": "news"}, **status)
    run.write_config({"task": {"_target_": TASK}, "data": {"clean": None}})
    found = classification_metrics(shares, labels, resamples=50)
    run.write_json("metrics.json", {f"{split}/{name}": one for name, one in found.items()})
    run.write_predictions(
        {
            "text": f"<b>text</b> {i}",
            "label": NAMES[labels[i]],
            "index": i,
            "predicted": NAMES[said[i]],
            "probability": sure[i],
            "probabilities": dict(zip(NAMES, shares[i], strict=True)),
        }
        for i in range(rows)
    )
    run.set_status("done")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(capsys, *words: str) -> str:
    assert cli.run(["compare", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    assert cli.run(["compare", *map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_two_runs_are_shown_with_their_difference_and_the_rows_on_which_they_differ(capsys, here):
    one, two = classifier(here / "one", 0.6), classifier(here / "two", 0.9, seed=1)
    RunFolder(one).write_json("baselines.json", {"majority": RunFolder(two).read_json("metrics.json")})
    text = compared(capsys, "one", "two", "output=page.html")
    table = list(csv.DictReader(io.StringIO(compared(capsys, "one", "two", "--format", "csv"))))
    accuracy = {row["system"]: row for row in table if row["metric"] == "test/accuracy"}
    assert [*accuracy] == ["majority", "one", "two"]
    gap = float(accuracy["two"]["value"]) - float(accuracy["one"]["value"])
    assert float(accuracy["two"]["difference"]) == pytest.approx(gap)
    assert float(accuracy["two"]["difference_low"]) > 0 and float(accuracy["two"]["p"]) < 0.01
    assert f"+{gap:.4f} [" in text and "McNemar" in text and accuracy["one"]["difference"] == ""
    right = [
        np.array([row["label"] == row["predicted"] for row in RunFolder(run).read_predictions()]) for run in (one, two)
    ]
    better, worse = (right[1] & ~right[0]).sum(), (right[0] & ~right[1]).sum()
    assert f"| {better} " in text and f"| {worse} " in text
    page = (here / "page.html").read_text("utf-8")
    assert f"{better} rows" in page and "&lt;b&gt;text&lt;/b&gt;" in page and "<b>text" not in page


def test_latex_is_a_table_of_its_own_with_everything_escaped(capsys, here):
    classifier(here / "a_b", 0.6), classifier(here / "c&d", 0.6)
    text = compared(capsys, "a_b", "c&d", "--format=latex", "output=table.tex")
    assert r"a\_b" in text and r"c\&d" in text and "macro F1" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count(" & ") for line in body} == {4}
    assert (here / "table.tex").read_text("utf-8") == text


def test_runs_of_a_sweep_that_differ_in_their_seed_are_one_system(capsys, here):
    for number, (model, right) in enumerate([("lstm", 0.6), ("lstm", 0.6), ("gru", 0.9), ("gru", 0.9)]):
        overrides = [f"model={model}", f"seed={number % 2}", "budget.steps=9"]
        classifier(here / "sweep" / str(number), right, seed=number, overrides=overrides, job_num=number)
    text = compared(capsys, "sweep")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| model=")]
    assert rows == ["model=lstm", "model=gru"] + ["model=gru"] * 2  # figures; differences; rows
    values = [RunFolder(here / "sweep" / n).read_json("metrics.json")["test/accuracy"]["value"] for n in "01"]
    assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in text
    assert "p=" in text and "McNemar" not in text
    uneven = compared(capsys, "sweep/0", "sweep", "metrics=[accuracy]")
    assert "sweep model=gru" in uneven and "p=" not in uneven  # two runs have no one run to change sides with


def test_words_are_compared_by_sentences(capsys, here):
    rng = np.random.default_rng(0)
    gold = [[str(tag) for tag in rng.choice(["O", "B-x", "I-x"], 6)] for _ in range(40)]
    for name in ("one", "two"):
        run = RunFolder(here / name)
        said = [[str(tag) for tag in rng.choice(["O", "B-x", "I-x"], 6)] for _ in gold]
        run.write_config({"task": {"_target_": "groundup.tasks.tagging.Tagging"}})
        found = tagging_metrics(gold, said, "bio", resamples=50)
        run.write_json("metrics.json", {f"test/{name}": one for name, one in found.items()})
        rows = zip(gold, said, strict=True)
        run.write_predictions(
            {"tokens": list("abcdef"), "tags": tags, "index": 0, "predicted": its} for tags, its in rows
        )
    text = compared(capsys, "one", "two", "output=page.html")
    assert "entity_f1" in text and "p=" in text and "McNemar" not in text
    assert "a b c d e f" in (here / "page.html").read_text("utf-8")


def language_model(
    folder: Path, tokenizer: str, tokens: float, seed: int = 0, task: str = "causal_lm.CausalLM"
) -> Path:
    """A run folder of a model that cuts each byte into so many ``tokens`` on average, of which the first text is one <unk>."""
    run, rng = RunFolder(folder), np.random.default_rng(seed)
    sizes = np.random.default_rng(7).integers(50, 300, 60)
    counts, nats = (sizes * tokens).astype(int), sizes * rng.normal(1.4 - 0.1 * seed, 0.05, 60)
    run.set_status("running", stage="pretrain")
    run.write_config({"task": {"_target_": f"groundup.tasks.{task}"}, "data": {"clean": {"lowercase": seed > 0}}})
    run.write_json("provenance.json", {"tokenizer": tokenizer})
    size = sizes.sum() / counts.sum() if task == "causal_lm.CausalLM" else None
    found = language_metrics(nats, counts, size, counts // 2, resamples=50)
    run.write_json("metrics.json", {f"test/{name}": one for name, one in found.items()})
    rows = zip(sizes.tolist(), counts.tolist(), nats.tolist(), strict=True)
    run.write_predictions(
        {"text": f"text {i}", "nll": nll, "scored": count, "correct": count // 2}
        | ({"bytes": size} if "bits_per_byte" in found else {})
        | ({} if i else {"unknown": 1})
        for i, (size, count, nll) in enumerate(rows)
    )
    run.set_status("done")
    return folder


def test_language_models_with_one_tokenizer_are_compared_in_all_figures(capsys, here):
    language_model(here / "one", "x", 0.3), language_model(here / "two", "x", 0.3, seed=1)
    table = list(csv.DictReader(io.StringIO(compared(capsys, "one", "two", "--format", "csv"))))
    ours = {row["metric"].removeprefix("test/"): row for row in table if row["system"] == "two"}
    assert {*ours} == {"accuracy", "perplexity", "bits_per_byte", "loss"}
    for name in ("perplexity", "bits_per_byte", "loss"):  # both have the same bytes and tokens, so one test decides all
        values = [float(row["value"]) for row in table if row["metric"] == f"test/{name}"]
        assert float(ours[name]["difference"]) == pytest.approx(values[1] - values[0])
        assert float(ours[name]["difference_high"]) < 0 and float(ours[name]["p"]) < 0.01
    assert float(ours["accuracy"]["difference"]) == 0


def test_language_models_with_different_tokenizers_are_compared_in_bits_per_byte_alone(capsys, here):
    language_model(here / "one", "x", 0.3), language_model(here / "two", "y", 1.0, seed=1)
    assert cli.run(["compare", "one", "two"]) == 0
    out, told = capsys.readouterr()
    assert "the runs have different tokenizers: they are compared in bits per byte alone" in told
    assert "one reads 1 of its tokens as <unk>" in told
    assert "bits_per_byte" in out and "p=0.0005" in out
    assert not any(name in out for name in ("perplexity", "loss", "accuracy"))
    rows = RunFolder(here / "two").read_predictions()
    rows[3]["text"] += "!"
    RunFolder(here / "two").write_predictions(rows)
    assert "row 4 is" in refused(capsys, "one", "two")  # also where the texts were cleaned otherwise
    for number, name in enumerate(("one", "two")):
        language_model(here / name, name, 0.3, number, "masked_lm.MaskedLM")
    assert "Train them with one: tokenizer.path=" in refused(capsys, "one", "two")


def test_an_evaluation_stands_for_its_run_and_other_rows_are_refused(capsys, here):
    classifier(here / "one", 0.6), classifier(here / "two", 0.8, seed=1)
    other = RunFolder(classifier(here / "other", 0.8, rows=50))
    assert "50 rows, not 120" in (line := refused(capsys, "one", "other"))
    assert "groundup evaluate run=" in line and "data=news" in line
    rows = RunFolder(here / "two").read_predictions()
    rows[4]["label"] = NAMES[rows[4]["label"] == NAMES[0]]
    RunFolder(here / "two").write_predictions(rows)
    assert "row 5 is" in refused(capsys, "one", "two")
    classifier(here / "two", 0.8, seed=1)
    other.write_config({"run": "two"})  # as evaluate leaves it
    other.set_status("done", task=TASK)
    other.write_json("metrics.json", RunFolder(here / "two").read_json("metrics.json"))
    other.write_predictions(RunFolder(here / "two").read_predictions())
    assert "other" in compared(capsys, "one", "other")


def test_texts_that_were_cleaned_otherwise_are_the_same_rows(capsys, here):
    classifier(here / "one", 0.6), classifier(here / "two", 0.8, seed=1)
    run = RunFolder(here / "two")
    run.write_predictions([{**row, "text": row["text"].upper()} for row in run.read_predictions()])
    assert "row 1 is" in refused(capsys, "one", "two")
    run.write_config({**run.read_config(), "data": {"clean": {"lowercase": True}}})
    assert "p=" in compared(capsys, "one", "two")


def made(folder: Path, sha: str = "cd84f681aa", dirty: bool = False, **config) -> None:
    """What a run was made with, beside what ``classifier`` says."""
    run = RunFolder(folder)
    run.write_config({**run.read_config(), "paths": {"logs": str(folder)}, "seed": 1, **config})
    packages = {"torch": "2.8.0", "numpy": f"2.{len(sha)}"}
    data = {"train": {"fingerprint": "0123456789ab", "rows": 3}}
    run.write_json("provenance.json", {"git": {"sha": sha, "dirty": dirty}, "packages": packages, "data": data})


def differing(text: str) -> dict[str, list[str]]:
    """The table of what differs, in Markdown."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    first = next((number for number, line in enumerate(lines) if line[0] == "what differs"), len(lines))
    return {line[0]: line[1:] for line in lines[first + 2 :] if len(line) == len(lines[first])}


def test_what_differs_is_told_and_what_is_alike_is_not(capsys, here):
    for name in ("one", "two"):
        classifier(here / name, 0.6, seed=len(name))
    model = {"_target_": "groundup.models.cnn.CNNEncoder", "width": 8, "dropout": 0.1}
    made(here / "one", model=model, callbacks=None, evil="\x1b[2J", budget={"steps": 9, "epochs": None})
    lstm = {"_target_": "groundup.models.lstm.LSTM", "cell": "gru", "width": 8, "dropout": 0.25}
    ema = {"ema": {"_target_": "x.EMA", "decay": 0.9}}
    made(here / "two", "ab12" * 3, True, model=lstm, callbacks=ema, evil=[1, None], budget={"steps": 9, "epochs": 2})
    (here / "two" / "provenance.diff").write_text("+ x")
    expected = {
        "model": ["CNNEncoder", "LSTM"],
        "model.dropout": ["0.1", "0.25"],
        "evil": [r"\x1b[2J", "[1,null]"],
        "budget.epochs": ["null", "2"],
        "callbacks.ema": ["-", "EMA"],
        "code": ["cd84f681", f"ab12ab12 + {hashlib.sha256(b'+ x').hexdigest()[:8]}"],
        "package numpy": ["2.10", "2.12"],
    }
    text = compared(capsys, "one", "two", "output=page.html")
    assert differing(text) == expected
    page = (here / "page.html").read_text("utf-8")
    assert "What differs" in page and "model.dropout" in page
    assert "model.dropout & 0.1 & 0.25" in compared(capsys, "one", "two", "--format", "latex")
    assert "model.dropout" not in compared(capsys, "one", "two", "--format", "csv")
    made(here / "two", model=model, callbacks=None, evil="\x1b[2J", budget={"steps": 9, "epochs": None})
    assert "what differs" not in compared(capsys, "one", "two")


def test_an_evaluation_differs_by_the_settings_of_its_run_and_seeds_of_a_system_stand_together(capsys, here):
    for number in (1, 2):
        classifier(here / "sweep" / str(number), 0.6, seed=number, overrides=["x=1", f"seed={number}"])
        made(here / "sweep" / str(number), seed=number, task={"_target_": TASK, "dropout": 0.1})
    classifier(here / "trained", 0.6), made(here / "trained", seed=3, task={"_target_": TASK, "dropout": 0.2})
    evaluation = RunFolder(classifier(here / "scored", 0.6))
    evaluation.set_status("done", stage="evaluate", task=TASK)
    evaluation.write_config({"run": "trained", "explain": 0, "data": {"test": "other.csv", "clean": None}})
    found = differing(compared(capsys, "sweep", "scored"))
    assert found["seed"] == ["1, 2", "3"] and found["task.dropout"] == ["0.1", "0.2"] and "explain" not in found
    shutil.rmtree(here / "trained")
    assert "seed" not in differing(compared(capsys, "sweep", "scored"))


def test_a_run_of_folds_has_the_code_and_packages_of_its_folds_and_what_is_not_known_is_no_difference(capsys, here):
    for name in ("one", "folds", "bare"):
        classifier(here / name, 0.6, seed=len(name))
        made(here / name)
    for name in ("folds", "bare"):
        (here / name / "provenance.json").unlink()
    assert "what differs" not in compared(capsys, "one", "bare")
    (here / "folds" / "fold_1").mkdir()
    made(here / "folds" / "fold_1", "cd84f681aa")
    record = RunFolder(here / "folds" / "fold_1").read_json("provenance.json")
    data = {"train": {"fingerprint": "ba9876543210", "rows": 2}}  # a part of the rows
    RunFolder(here / "folds" / "fold_1").write_json("provenance.json", {**record, "data": data, "tokenizer": "its own"})
    assert "what differs" not in compared(capsys, "one", "folds")
    made(here / "folds" / "fold_1", "ab12" * 3)
    expected = {"code": ["cd84f681", "ab12ab12"], "package numpy": ["2.10", "2.12"]}
    assert differing(compared(capsys, "one", "folds")) == expected


def test_what_cannot_be_compared_is_said_in_one_line(capsys, here):
    one = classifier(here / "one", 0.6)
    classifier(here / "late", 0.6, split="validation")
    (here / "none").mkdir()
    assert "one run has nothing to be compared with" in refused(capsys, "one")
    assert "is named twice" in refused(capsys, "one", "./one")
    assert "does not exist" in refused(capsys, "one", "onne")
    assert "no run" in refused(capsys, "one", "none")
    RunFolder(here / "none").write_config({"members": ["one"]})
    RunFolder(here / "none").set_status("failed", stage="ensemble", why="other classes")
    assert "ensemble` and holds no model" in (said := refused(capsys, "one", "none")) and "evaluate run" not in said
    assert refused(capsys, "one", "late").startswith(
        "error: late has no figures of test. Try groundup evaluate run=late"
    )
    assert "one has no figures of validation" in refused(capsys, "one", "late", "split=validation")
    assert "runs: no value" in refused(capsys)
    assert "output=x.pdf" in refused(capsys, "one", "late", "output=x.pdf")
    assert "must be" in refused(capsys, "one", "late", "--format", "word")
    two = RunFolder(classifier(here / "two", 0.6))
    two.write_config({"task": {"_target_": "groundup.tasks.tagging.Tagging"}})
    assert "compare runs of one task" in refused(capsys, "one", "two")
    two.write_config({"task": {"_target_": "os.system"}})
    assert "os.system" in refused(capsys, "one", "two")
    two.write_config(RunFolder(one).read_config())
    two.write_predictions([{key: row[key] for key in row if key != "predicted"} for row in two.read_predictions()])
    assert "damaged" in refused(capsys, "one", "two")
