"""How ``groundup generate`` writes: what was typed changes what it names, and nothing else."""

import logging
import sys
from types import SimpleNamespace

import pytest

from groundup.config.compose import compose_with_choices
from groundup.decoding.beam import Beam
from groundup.decoding.sampling import Sampler
from groundup.errors import UserError
from groundup.stages import generate
from groundup.stages.generate import decoding_of
from groundup.tasks.causal_lm import CausalLM
from groundup.tasks.translation import Translation


def chosen(task_class, *words, run="beam_size=3"):
    trained, _ = compose_with_choices("finetune", ["task=translation", f"task.decoding.{run}"])
    loaded = SimpleNamespace(
        task=task_class.__new__(task_class), config=trained, folder=SimpleNamespace(path="logs/translator")
    )
    overrides = ["run=logs/translator", *words]
    return decoding_of(loaded, compose_with_choices("generate", overrides)[0], overrides)


def test_a_value_that_is_typed_changes_that_value_alone():
    as_trained = chosen(Translation)
    shorter = chosen(Translation, "decoding.max_new_tokens=7")
    assert isinstance(shorter, Beam) and shorter.max_new_tokens == 7
    assert {**vars(shorter), "max_new_tokens": 128} == vars(as_trained) and as_trained.beam_size == 3


def test_another_way_of_writing_is_chosen_by_name():
    drawn = chosen(Translation, "decoding=sample", "decoding.temperature=0.5")
    assert isinstance(drawn, Sampler) and (drawn.temperature, drawn.top_p) == (0.5, 0.95)
    assert isinstance(chosen(CausalLM, "decoding.temperature=0.5"), Sampler)


def test_a_value_that_the_run_s_way_of_writing_lacks_is_refused():
    with pytest.raises(UserError, match=r"Try decoding=sample decoding\.temperature=0\.5"):
        chosen(Translation, "decoding.temperature=0.5")


def test_what_is_told_of_a_text_stands_on_a_line_of_its_own(monkeypatch, capsys):
    def written(*_):
        yield "two "
        yield "words"
        return "stopped after 2 tokens"

    loaded = SimpleNamespace(task=SimpleNamespace(generate=written), text=str, read=None)
    monkeypatch.setattr(generate, "load_network", lambda *_: loaded)
    monkeypatch.setattr(generate, "decoding_of", lambda *_: None)
    monkeypatch.setattr(generate.log, "handlers", [logging.StreamHandler(sys.stdout)])
    cfg, _ = compose_with_choices("generate", ["run=x", "prompt=a", "samples=2"])
    generate.run(cfg, SimpleNamespace(overrides=[]))
    assert capsys.readouterr().out == "two words\n\nstopped after 2 tokens\ntwo words\nstopped after 2 tokens\n"
