"""``folds=k``: a run folder each, and one run of them all; then runs that answer together."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from offline import offline_folders, read_back

from groundup import cli
from groundup.baselines.linear import inverse_frequency
from groundup.baselines.ngrams import count_rows
from groundup.config.tree import Config
from groundup.data.sources.source import GivenRows
from groundup.runs.folder import RunFolder
from groundup.stages.experts import WORTH, chosen_weights, fit_weights, judged
from groundup.stages.folds import HeldOutScorer, OutOfFold
from groundup.stages.loading import load_run
from groundup.stages.members import fused, logarithm

CLASSIFICATION = "groundup.tasks.classification.Classification"
SMALL = "size=nano model=bilstm_encoder tokenizer=word tokenizer.min_frequency=1 logger=none threads=1 budget.steps=5".split()


@pytest.fixture(scope="module")
def reviews_csv(reviews, tmp_path_factory) -> Path:
    """60 of the reviews, in one file."""
    rows = list(csv.reader((reviews / "train.csv").open()))[:61]
    file = tmp_path_factory.mktemp("own") / "own.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    return file


@pytest.fixture(scope="module")
def words(reviews, reviews_csv) -> list[str]:
    test = f"data.test={reviews / 'test.csv'}"
    return ["data=files", f"data.train={reviews_csv}", test, "data.text=review", "data.label=subject"]


@pytest.fixture(scope="module")
def network(groundup, words) -> Path:
    return groundup("finetune", *words, *SMALL, "folds=2", "baselines=true")


@pytest.fixture(scope="module")
def classical(groundup, words) -> Path:
    return groundup("baseline", *words, "folds=3")


@pytest.fixture(scope="module")
def together(groundup, network, classical) -> Path:
    (classical / "wandb_id").write_text("known")  # W&B has this one, so it gets what it is a member of
    made = groundup("ensemble", f"members=[{network},{classical}]")
    (classical / "wandb_id").unlink()
    return made


@pytest.fixture(scope="module")
def cleaned(groundup, words) -> Path:
    return groundup("baseline", *words, "folds=3", "data.clean.stop_words=en")


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["network", "classical"])
def test_every_train_row_is_answered_by_a_run_that_has_not_seen_it(kind, request, read_json):
    folder = request.getfixturevalue(kind)
    rows, metrics = lines(folder / "out_of_fold.jsonl"), read_json(folder / "metrics.json")
    assert len(rows) == 60 and [row["index"] for row in rows] == list(range(60))
    right = np.mean([row["predicted"] == row["label"] for row in rows])
    assert metrics["out_of_fold/accuracy"]["value"] == pytest.approx(right)
    own = [read_json(fold / "metrics.json")["validation/accuracy"]["value"] for fold in sorted(folder.glob("fold_*"))]
    assert metrics["folds/accuracy"]["value"] == pytest.approx(np.mean(own))
    assert metrics["folds/accuracy"]["deviation"] == pytest.approx(np.std(own, ddof=1))
    assert "test/accuracy" in metrics and "validation/accuracy" not in metrics  # nothing else is held out
    assert "majority class" in read_json(folder / "baselines.json")
    assert "±" in (folder / "report.html").read_text()


def test_a_classical_classifier_knows_n_grams_and_their_frequency_from_its_own_rows_alone(classical):
    rows = lines(classical / "out_of_fold.jsonl")
    for number in (1, 2, 3):
        fitted = load_run(classical / f"fold_{number}").fitted
        inside, outside = ([row for row in rows if (row["fold"] == number) is held] for held in (True, False))
        theirs, ours = (count_rows(part, fitted.blocks).counts[0] for part in (inside, outside))
        alone = {*theirs.names.tolist()} - {*ours.names.tolist()}
        assert alone and not alone & {*fitted.names[0].tolist()}
        assert fitted.idf[0].tolist() == inverse_frequency(ours.onto(fitted.names[0])).tolist()


def test_vocabulary_and_order_are_those_of_the_fold(network, read_json):
    for number in (1, 2):
        folder = network / f"fold_{number}"
        held_out = [row["text"] for row in lines(network / "out_of_fold.jsonl") if row["fold"] == number]
        learned = " ".join(row["text"] for row in lines(network / "out_of_fold.jsonl") if row["fold"] != number).split()
        vocabulary = {one for one in json.dumps(read_json(folder / "tokenizer.json")).split('"') if one.isalpha()}
        strange = {word for text in held_out for word in text.split()} - {*learned}
        assert strange and not strange & vocabulary


def test_a_run_of_folds_says_the_mean_of_their_log_probabilities(network):
    texts = [{"text": "roses and tulips"}, {"text": "the sea"}]
    said = [load_run(network / f"fold_{number}").probabilities(texts) for number in (1, 2)]
    expected = np.exp(np.mean([logarithm(one) for one in said], axis=0))
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.allclose(load_run(network).probabilities(texts), expected)


@pytest.mark.parametrize("kind", ["network", "classical", "together"])
def test_it_can_be_moved_evaluated_and_asked(kind, request, groundup, read_json, tmp_path):
    folder = request.getfixturevalue(kind)
    moved = shutil.copytree(folder, tmp_path / "moved")
    expected = read_json(folder / "metrics.json")
    scored = read_json(groundup("evaluate", f"run={moved}") / "metrics.json")
    assert scored == {name: expected[name] for name in scored} and "test/loss" in scored
    (tmp_path / "in.txt").write_text("roses\nbutter\n")
    assert cli.run(["predict", f"run={moved}", f"input={tmp_path}/in.txt", f"output={tmp_path}/out.jsonl"]) == 0
    assert all(row["predicted"] in ("garden", "kitchen", "sea") for row in lines(tmp_path / "out.jsonl"))


def test_resumed_folds_are_not_run_again_and_end_alike(network, tmp_path, capsys):
    folder = Path(shutil.copytree(network, tmp_path / "run"))
    shutil.rmtree(folder / "fold_2")
    (folder / "metrics.json").unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))
    before = (folder / "fold_1" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert capsys.readouterr().err.count("done already") == 1
    assert (folder / "fold_1" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    for name in ("out_of_fold.jsonl", "predictions.jsonl"):
        assert (folder / name).read_bytes() == (network / name).read_bytes()


def test_members_lie_in_the_folder_and_the_report_says_what_each_brings(together, classical, network, read_json):
    members = read_json(together / "members.json")
    assert [one["label"] for one in members] == ["RecurrentEncoder, 2 folds", "bag of words"]
    assert all((together / one["folder"]).is_dir() == (one["weight"] > 0) for one in members)
    beside = read_json(together / "baselines.json")
    assert beside["bag of words"]["test/accuracy"] == read_json(classical / "metrics.json")["test/accuracy"]
    report = (together / "report.html").read_text()
    assert "What each member brings" in report and "All together minus each alone" in report
    assert OutOfFold.load(load_run(together).folder, 3).index.tolist() == list(range(60))


def test_wandb_has_what_answers_together_where_it_has_a_member(together):
    (offline,) = offline_folders(RunFolder(together))
    found = read_back(offline)
    assert (found["start"].job_type, found["config"]["began_with_id"]) == ("ensemble", ["known"])
    summary = found["summary"]
    for split in ("out_of_fold", "test"):
        assert (
            summary[f"{split}/accuracy_ci95_low"]
            <= summary[f"{split}/accuracy"]
            <= summary[f"{split}/accuracy_ci95_high"]
        )
    assert "baseline/bag of words/test/accuracy" in summary


def test_runs_together_are_measured_on_the_rows_that_are_named(groundup, network, classical, reviews, read_json):
    folder = groundup("ensemble", f"members=[{network},{classical}]", f"data.test={reviews / 'dev.csv'}")
    metrics = read_json(folder / "metrics.json")
    assert metrics["test/accuracy"]["n"] == 60 and metrics["out_of_fold/accuracy"]["n"] == 60
    assert {row["text"] for row in lines(folder / "predictions.jsonl")} == {
        row["review"] for row in csv.DictReader((reviews / "dev.csv").open())
    }


def test_baselines_of_held_out_rows_have_not_learned_from_them():
    rows = [{"text": f"word{number}", "label": "ab"[number % 2]} for number in range(40)]
    index, said = np.arange(40), np.full((40, 2), 0.5)
    found = OutOfFold(index, said, index // 20 + 1, index % 2)
    run = SimpleNamespace(labels=("a", "b"), config=Config({"task": {"_target_": CLASSIFICATION}}))
    scorer = HeldOutScorer(run, GivenRows({"train": rows, "test": rows}), found)
    beside = scorer.baselines("out_of_fold", True)["bag-of-words logistic regression"]
    assert beside["out_of_fold/loss"].value == pytest.approx(np.log(2), abs=0.1)
    assert scorer.baselines("test", True)["bag-of-words logistic regression"]["test/accuracy"].value == 1
    assert scorer.baselines("out_of_fold", False) == {}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["ensemble", "members=[{network}/fold_1,{classical}]"], "folds=5"),
        (["ensemble", "members=[nowhere]"], "nowhere"),
        (["ensemble", "members=[]"], "Try members=[RUN,RUN]"),
        (["ensemble", "members=[{classical},{cleaned}]"], "its texts were cleaned otherwise than those of"),
        (["finetune", "folds=80", "{words}"], "different texts"),
        (["finetune", "folds=3", "callbacks=[default,early_stopping]", "{words}"], "Try ~callbacks.early_stopping"),
        (["finetune", "folds=1", "{words}"], "folds"),
        (["finetune", "fold=2", "{words}"], "Try folds=5 fold=2"),
        (["baseline", "folds=3", "held_out=4", "{words}"], "Try held_out=3"),
        (["finetune", "task=translation", "folds=3", "data=dates", "model=transformer_encoder_decoder"], "folds="),
        (["finetune", "task=multilabel", "folds=3", "{words}"], "not for task=multilabel"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(command, message, words, network, classical, cleaned, tmp_path, capsys):
    typed = [part for word in command for part in (words if word == "{words}" else [word])]
    typed = [word.format(network=network, classical=classical, cleaned=cleaned) for word in typed]
    assert cli.run([*typed, f"hydra.run.dir={tmp_path}/run"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert command[0] != "ensemble" or not (tmp_path / "run").exists()  # so that nothing is taken for a run that failed


def test_a_strangers_list_of_members_is_data(together, tmp_path, capsys):
    for change in ({"folder": "../../x"}, {"folder": "/etc"}, {"weight": "NaN"}, {"weight": -1}):
        moved = Path(shutil.copytree(together, tmp_path / str(hash(str(change)))))
        members = json.loads((moved / "members.json").read_text())
        (moved / "members.json").write_text(json.dumps([{**members[0], **change}]))
        assert cli.run(["evaluate", f"run={moved}", f"paths.logs={tmp_path}"]) == 2
        assert "members.json is damaged" in capsys.readouterr().err.splitlines()[-1]


def shares(generator, rows: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    truth = generator.integers(0, 3, rows)
    scores = generator.normal(size=(rows, 3)) + strength * np.eye(3)[truth]
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_likeliest_of_a_grid(seed):
    generator = np.random.default_rng(seed)
    one, truth = shares(generator, 400, 2)
    scores = generator.normal(size=(400, 3)) + np.eye(3)[truth]
    other = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    def loss(weights):
        return -np.log(fused([one, other], weights)[np.arange(400), truth]).mean()

    found, reached = fit_weights([one, other], truth)
    grid = min(loss((a, b)) for a in np.linspace(0, 3, 61) for b in np.linspace(0, 3, 61))
    assert loss(found) <= grid + 2e-3 and reached == pytest.approx(loss(found), abs=1e-2)


def test_a_member_that_adds_nothing_is_left_out():
    generator = np.random.default_rng(0)
    good, truth = shares(generator, 500, 2)
    noise, _ = shares(generator, 500, 0)
    weights = chosen_weights([noise, good, good], truth)
    assert weights[0] == 0 and sum(weights > 0) == 1
    parts = np.arange(500) % 5
    assert -np.log(judged([noise, good, good], truth, weights, parts)[np.arange(500), truth]).mean() < 1
    assert WORTH > 0
