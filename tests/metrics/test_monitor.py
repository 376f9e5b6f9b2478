"""Each metric says which way it gets better, and those that may be monitored are those that validation reports."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from groundup import cli
from groundup.errors import UserError
from groundup.metrics.classification import ACCURACY, CLASSIFICATION, classification_metrics
from groundup.metrics.estimate import LOSS, Estimate, Metric, check_monitor, direction, labelled
from groundup.metrics.generation import (
    EXACT_MATCH,
    SUMMARIZATION,
    TRANSLATION,
    summarization_metrics,
    translation_metrics,
)
from groundup.metrics.language import CONDITIONAL, LANGUAGE, MISSING_PARTS, language_metrics

TASKS = {
    "Classification": "classification",
    "CausalLM": "causal_lm",
    "Denoising": "denoising",
    "MaskedLM": "masked_lm",
    "SpanCorruption": "span_corruption",
    "Translation": "translation",
    "Summarization": "summarization",
}


def config(monitor: str, task: str, mode: str | None = None) -> dict:
    return {"monitor": monitor, "monitor_mode": mode, "task": {"_target_": f"groundup.tasks.{TASKS[task]}.{task}"}}


def refused(monitor: str, task: str = "Classification") -> str:
    with pytest.raises(UserError) as error:
        check_monitor(config(monitor, task))
    return str(error.value)


def test_each_list_is_what_is_measured():
    scored = ([1.0, 2.0], [1, 2], 2.0, [1, 1])
    texts = (["a"], ["a"], [["a"]])
    found = [
        (classification_metrics(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([1, 0]), resamples=0), CLASSIFICATION),
        (language_metrics(*scored, resamples=0), LANGUAGE),
        (language_metrics([1.0, 2.0], [1, 2], None, [1, 1], resamples=0), MISSING_PARTS),
        (language_metrics(*scored, metrics=CONDITIONAL, resamples=0), CONDITIONAL),
        (translation_metrics(*texts, resamples=0), TRANSLATION),
        (summarization_metrics(*texts, resamples=0), SUMMARIZATION),
    ]
    for measured, declared in found:
        assert list(measured) == [metric.name for metric in declared]
        assert [estimate.metric for estimate in measured.values()] == list(declared)


def test_an_estimate_keeps_what_it_is_in_the_file():
    found = labelled({TRANSLATION[0]: Estimate(12.345, 11.0, 13.0, 9, "sacreBLEU")})["bleu"]
    saved = found.as_dict()
    more = {"better": "max", "title": "BLEU", "shown": "table", "percent": True, "signature": "sacreBLEU"}
    assert saved == {"value": 12.345, "ci95": [11.0, 13.0], "n": 9, **more}
    assert Estimate.from_dict(saved, "test/bleu") == found
    group = Estimate(0.5, None, None, 3, metric=EXACT_MATCH, group="new_years")
    again = Estimate.from_dict(group.as_dict(), "test/exact_match_new_years")
    assert (again.metric.name, again.group) == ("exact_match", "new_years")
    assert (str(found), str(group)) == ("12.35 [11.00, 13.00]", "0.5000")


def test_what_a_stranger_says_of_a_metric_is_taken_for_nothing_but_a_known_word():
    odd = {"value": 1.0, "better": "<b>", "shown": [], "percent": "yes", "title": 5}
    assert Estimate.from_dict(odd, "test/mine").metric == Metric("mine")


def test_the_metric_knows_its_direction_whatever_its_split_or_group():
    reports = (ACCURACY, EXACT_MATCH, LOSS, Metric("length_ratio"))
    assert direction("validation/loss", None, reports) == direction("loss", None, ()) == "min"
    assert direction("test/accuracy", None, reports) == "max"
    assert direction("validation/exact_match_new_years", None, reports) == "max"
    assert direction("validation/accuracy", "max", reports) == "max"
    with pytest.raises(UserError, match="monitor_mode=min: of validation/accuracy, more is better"):
        direction("validation/accuracy", "min", reports)


@pytest.mark.parametrize("name", ["length_ratio", "mine", "loss_of_mine"])
def test_a_metric_without_a_direction_needs_one(name):
    reports = (LOSS, Metric("length_ratio"))
    with pytest.raises(UserError, match=rf"monitor=validation/{name}.* Add monitor_mode=max or monitor_mode=min"):
        direction(f"validation/{name}", None, reports)
    assert direction(f"validation/{name}", "max", reports) == "max"


def test_directions_are_read_without_torch_and_numpy():
    code = "import sys, groundup.metrics.estimate; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("monitor", "task", "meant"),
    [
        ("val_acc", "Classification", "accuracy"),
        ("val_loss", "CausalLM", "loss"),
        ("eval_f1", "Classification", "macro_f1"),
        ("accuracy", "Classification", "accuracy"),
        ("test/accuracy", "Classification", "accuracy"),
        ("validation/auc", "Classification", "auroc"),
        ("ppl", "CausalLM", "perplexity"),
        ("bleu", "Translation", "bleu"),
        ("validation/acuracy", "Classification", "accuracy"),
    ],
)
def test_other_names_lead_to_ours(monitor, task, meant):
    assert refused(monitor, task).endswith(f" Try monitor=validation/{meant}")


def test_a_metric_of_another_task_is_not_guessed_at():
    line = refused("validation/bleu")
    assert "validation/accuracy" in line and "Try" not in line
    assert "Try" not in refused("validation/bits_per_byte", "MaskedLM")


def test_right_names_pass():
    from groundup.config.places import resolve

    for task in TASKS:
        reports = resolve(config("", task)["task"]["_target_"], "task").reports
        assert LOSS in reports
        for metric in reports:
            check_monitor(config(f"validation/{metric.name}", task, None if metric.better else "max"))
    check_monitor(config("validation/exact_match_new", "Translation"))


def test_a_task_of_ones_own_says_its_metrics_or_the_direction(write_module, monkeypatch):
    write_module(
        "mine",
        "from groundup.metrics.estimate import Metric\n"
        "from groundup.tasks.base import Task\n"
        "class Silent(Task):\n    pass\n"
        "class Telling(Task):\n    reports = (Metric('speed', 'max'),)\n",
    )
    monkeypatch.setenv("GROUNDUP_ALLOW", "mine")
    silent, telling = {"_target_": "mine.Silent"}, {"_target_": "mine.Telling"}
    check_monitor({"monitor": "validation/loss", "task": silent})
    check_monitor({"monitor": "validation/speed", "task": telling})
    check_monitor({"monitor": "anything", "monitor_mode": "max", "task": silent})
    with pytest.raises(UserError, match="monitor_mode=max or"):
        check_monitor({"monitor": "validation/speed", "task": silent})
    with pytest.raises(UserError, match="reports validation/speed"):
        check_monitor({"monitor": "validation/loss", "task": telling})


def test_the_command_says_so_before_there_is_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["finetune", "monitor=val_acc"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("Try monitor=validation/accuracy\n") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
