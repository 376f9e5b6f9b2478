"""The metrics that may be monitored are those that validation reports."""

from __future__ import annotations

import numpy as np
import pytest

from groundup import cli
from groundup.errors import UserError
from groundup.metrics.classification import classification_metrics
from groundup.metrics.generation import generation_metrics
from groundup.metrics.language import language_metrics
from groundup.metrics.monitored import ALSO, MEASURED, check_monitor

CLASSES = {
    "Classification": "classification",
    "CausalLM": "causal_lm",
    "Translation": "translation",
    "MaskedLM": "masked_lm",
}


def refused(monitor: str, task: str = "Classification") -> str:
    target = f"groundup.tasks.{CLASSES[task]}.{task}"
    with pytest.raises(UserError) as error:
        check_monitor({"monitor": monitor, "task": {"_target_": target}})
    return str(error.value)


def test_each_list_is_what_is_measured():
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert set(MEASURED["Classification"]) == set(classification_metrics(probabilities, np.array([1, 0]), resamples=0))
    language = set(language_metrics([1.0, 2.0], [1, 2], bytes_per_token=2.0, correct=[1, 1], resamples=0))
    assert set(MEASURED["CausalLM"]) == set(MEASURED["Denoising"]) == language
    assert set(MEASURED["MaskedLM"]) == set(MEASURED["SpanCorruption"]) == language - {"bits_per_byte"}
    written = language - {"accuracy"} | {"token_accuracy"}
    for task in ("Translation", "Summarization"):
        assert set(MEASURED[task]) == written | set(
            generation_metrics(["a"], ["a"], [["a"]], task.lower(), resamples=0)
        )


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
    ],
)
def test_other_names_lead_to_ours(monitor, task, meant):
    assert refused(monitor, task).endswith(f" Try monitor=validation/{meant}")


def test_a_metric_of_another_task_is_not_guessed_at():
    line = refused("validation/bleu")
    assert "validation/accuracy" in line and "Try" not in line
    assert "Try" not in refused("validation/bits_per_byte", "MaskedLM")


def test_right_names_and_tasks_of_ones_own_pass():
    for task, home in CLASSES.items():
        for name in MEASURED[task]:
            check_monitor({"monitor": f"validation/{name}", "task": {"_target_": f"groundup.tasks.{home}.{task}"}})
    check_monitor(
        {"monitor": "validation/exact_match_new", "task": {"_target_": "groundup.tasks.translation.Translation"}}
    )
    check_monitor({"monitor": "anything", "task": {"_target_": "mine.Task"}})
    assert all(name in {one for names in MEASURED.values() for one in names} for name in ALSO.values())


def test_the_command_says_so_before_there_is_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["finetune", "monitor=val_acc"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("Try monitor=validation/accuracy\n") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
