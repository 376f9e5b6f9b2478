"""What was typed and would change nothing is refused, with what it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundup import cli
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs.idle import check_idle_steps, idle
from groundup.jobs.steps import Step

TASKS = {
    "multilabel": "groundup.tasks.multilabel.MultiLabel",
    "classification": "groundup.tasks.classification.Classification",
}
ALONE = {  # the word -> what it needs beside it
    "held_out=2": "folds=5",
    "task_adaptive_epochs=3": "task_adaptive=true",
    "data.labelled_seed=3": "data.labelled=500",
    "data.label_separator=;": "task=multilabel",
}


def composed(*words: str, task: str = "classification") -> Config:
    """The keys of this file, by default as ``finetune`` has them, with ``words`` set."""
    keys = {"folds": None, "held_out": None, "task_adaptive": False, "task_adaptive_epochs": 5}
    config = Config({**keys, "data": {"labelled": None, "labelled_seed": 1, "label_separator": None}})
    for key, _, value in (word.partition("=") for word in words):
        if key == "task":
            task = value
        else:
            config.put(key, None if value == "null" else value)
    config.put("task", {"_target_": TASKS[task]})
    return config


def test_a_word_without_what_it_belongs_to_is_refused_before_there_is_a_folder(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"text {number},{number % 2}\n" for number in range(80)))
    run = tmp_path / "run"
    for word, other in ALONE.items():
        command = ["finetune", "data=files", f"data.train={tmp_path / 'a.csv'}", word, f"hydra.run.dir={run}"]
        assert cli.run(command) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {word}") and error.count("\n") == 1 and f"Try {other}" in error
    assert not run.exists()


@pytest.mark.parametrize("word", ALONE)
def test_it_may_stand_beside_it_and_a_default_alone(word):
    key = word.partition("=")[0]
    for words in ([word, ALONE[word]], [], [f"{key}=null"]):
        assert idle(composed(*words), words, {}) == {}
    assert [*idle(composed(word), [word], {})] == [key]


def test_the_task_of_a_run_says_what_its_data_may_be_told():
    config = {"run": "x", "data": {"label_separator": ";"}}
    for task, said in (("multilabel", []), ("classification", ["data.label_separator"])):
        assert [*idle(config, ["data.label_separator=;"], {"task": {"_target_": TASKS[task]}})] == said


def test_in_a_pipeline_it_is_enough_that_one_step_needs_it():
    own = {"a": ["data=files"], "b": ["data=files", "folds=3"]}

    def steps(word: str, *names: str) -> dict[str, Step]:
        words = {name: [*own[name], *([word] if name in names else [])] for name in own}
        keys = {name: [one for one in words[name] if one != "data=files"] for name in own}
        return {
            name: Step("finetune", Path(name), words[name], composed(*keys[name]), {}, None, None, ()) for name in own
        }

    check_idle_steps(steps("held_out=2", "a", "b"), ["held_out=2"])
    check_idle_steps(steps("task_adaptive_epochs=2", "a"), [])  # of the experiment, for when it is wanted
    for word, typed, names in (
        ("held_out=2", "a.held_out=2", ["a"]),
        ("data.labelled_seed=2", "data.labelled_seed=2", ["a", "b"]),
    ):
        with pytest.raises(UserError, match=r"^step a: .*Try "):
            check_idle_steps(steps(word, *names), [typed])
