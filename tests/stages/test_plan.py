"""``groundup plan``: its figures against those of the parts that a training builds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from groundup import cli
from groundup.stages import plan as planning
from groundup.stages.plan import Memory, amount, duration, kept_for_backward

TINY = "data=dates task=translation model=lstm_encoder_decoder size=nano tokenizer=char batching.batch_size=8 threads=1".split()


def rows(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line[:1] != " ")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory):
    """The plan of a small training, and its command's words."""
    from groundup.config.compose import compose
    from groundup.jobs.preflight import preflight

    words = [*TINY, "budget=3epochs"]
    config = compose("finetune", words)
    preflight("finetune", config, words, {})
    return planning.plan(config, tuple(words)), config


def test_parameters_and_memory_are_those_of_the_model(planned):
    from groundup.stages.build import build_data, build_optimization, build_task, source_of

    found, config = planned
    data = build_data(config, source_of(config))
    data.prepare()
    task = build_task(config, data.facts, data.target_tokenizer, build_optimization(config, 10))
    parameters = sum(p.numel() for p in task.parameters())
    assert sum(found.parameters.values()) == parameters
    assert found.memory.weights == found.memory.gradients == 4 * parameters
    assert found.memory.optimizer == pytest.approx(
        8 * parameters, rel=1e-2
    )  # AdamW: two moments, and a step for each tensor
    assert found.memory.activations > 0 and found.memory.fits
    matrices = found.parameters["matrix"] + found.parameters["embedding"]  # tied: the output layer is the embedding
    assert found.flops == pytest.approx(6 * matrices * found.tokens)


def test_steps_follow_from_the_budget_and_time_from_the_steps(planned):
    found, _ = planned
    text = rows(str(found))
    assert found.steps == 3 * round(found.steps / 3) and "3.00 epochs" in text["budget"]
    assert text["budget"].endswith(duration(found.steps * found.seconds))


def test_what_the_forward_pass_keeps_is_counted_once():
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.weight = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(3, 5))

        def loss(self, batch):
            scaled = batch["x"] * self.scale  # keeps x (4 x 3)
            hidden = scaled @ self.weight  # keeps what is scaled (4 x 3); the weight is no activation
            return (hidden.exp() + 1).sum()  # keeps the result of exp (4 x 5)

    assert kept_for_backward(Square(), {"x": torch.ones(4, 3)}) == 4 * (4 * 3 + 4 * 3 + 4 * 5)


def test_a_model_that_does_not_fit_is_not_built(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(planning, "memory_limit", lambda accelerator: 100_000)
    monkeypatch.setattr(planning, "make_steps", lambda *_: pytest.fail("a step was made"))
    monkeypatch.chdir(tmp_path)
    assert cli.run(["plan", "finetune", *TINY, "budget=10steps"]) == 0
    text = rows(capsys.readouterr().out)
    assert "will not fit. Try size=" in text["memory"] and "speed" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_does_not_fit_is_told_apart():
    memory = Memory(10, 10, 20, 1000, limit=500)
    found = planning.Plan("M", {"matrix": 10}, 8, 480, memory, 1, 1, "1 steps", 0.1)
    assert "Try half of batching.batch_size" in rows(str(found))["memory"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["finetune", "data=trec6", "model.dropuot=1"], "did you mean 'model.dropout'"),
        (["evaluate", "run=last"], "must be one of pretrain, finetune"),
        ([], "verb"),
        (["finetune", "folds=5"], "Leave out folds"),
    ],
)
def test_mistakes_are_those_of_the_verb(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["plan", *words]) == 2
    assert line in capsys.readouterr().err


def test_amounts_have_three_digits_and_a_unit():
    assert [amount(n) for n in (0, 224, 1274, 999_499, 999_600, 1.7e9)] == [
        "0 ",
        "224 ",
        "1.27 k",
        "999 k",
        "1 M",
        "1.7 G",
    ]
    assert [duration(s) for s in (3, 125, 7500, 200_000)] == ["3 s", "2 min", "2 h 05 min", "2 days 7 h"]
