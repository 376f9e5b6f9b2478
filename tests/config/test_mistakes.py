"""Each mistake: exit code 2 and exactly one line that says what to type."""

from __future__ import annotations

import pytest

# arguments -> the line after "error: "
COMMAND_LINE = {
    "model.dropuot=0.3": "model.dropuot=0.3: no key or group 'model.dropuot'; did you mean 'model.dropout'? Try model.dropout=0.3",
    "modle=big": "modle=big: no key or group 'modle'; did you mean 'model'? Try model=big",
    "width=32": "width=32: no key or group 'width'. Try model.width=32",
    "zzz=1": "zzz=1: no key or group 'zzz'. `groundup pretrain --help` lists the keys",
    "model=nosuch": "model=nosuch: no such choice. model can be: big, small",
    "model=smal": "model=smal: no such choice. model can be: big, small. Did you mean model=small?",
    "model=3": "model=3: no such choice. model can be: big, small",
    "+seed=2": "+seed=2: the key exists already. Try seed=2",
    "seed": "seed: a value is missing. Write seed=VALUE",
    "seed=1,2": "seed=1,2: several values. For one run each add -m",
    "my key=1": "my key=1: cannot be read as KEY=VALUE: 'my key' is not the name of a key",
    "metrics={好:1}": "metrics={好:1}: cannot be read as KEY=VALUE. Keys inside { } are written with a-z, 0-9, _ and -",
    "~sede": "~sede: nothing there to delete; did you mean 'seed'? Try ~seed",
    "~seed": "~seed: groundup pretrain reads seed. Leave it out",
    "~budget.tokens": "~budget.tokens: nothing is set there. Leave it out",
    "model..width=2": "model..width=2: cannot be read as KEY=VALUE: 'model..width' is not the name of a key",
    "run_name=${nope}": "run_name = ${nope}: there is no key 'nope' to take the value from",
    "--cgf": "--cgf: words are written KEY=VALUE, without dashes, and there is no key 'cgf'. `groundup pretrain --help` lists the keys",
    "+model=big": "model is chosen more than once. Write it once, without +: model=...",
}
BUDGET = "a budget is a number and its unit: whole steps or tokens, epochs or minutes"
VALUES = {
    "model.dropout=1.5": "model.dropout = 1.5: must be less than 1. Try model.dropout=0.1",
    "model.width=0": "model.width = 0: must be at least 1. Try model.width=16",
    "model.width=wide": "model.width = wide: must be a whole number >= 1. Try model.width=16",
    "model.width=1.5": "model.width = 1.5: must be a whole number >= 1. Try model.width=16",
    "model.width='32'": "model.width = 32: must be a whole number >= 1. Try model.width=32",
    "model.cell=gruu": "model.cell = gruu: must be one of lstm, gru. Try model.cell=gru",
    "+model.bias=maybe": "model.bias = maybe: must be true or false",
    "+model.name=5": "model.name = 5: must be text or null",
    "+model.betas=[0.9,high]": "model.betas[1] = [0.9,high]: must be a list [a number, a number]",
    "+model.warmup=1.5": "model.warmup = 1.5: must be a whole number >= 0 or a number >= 0 and < 1",
    "model.width=???": "model.width: no value. Try model.width=...",
    "+model.dropuot=0.3": "model.dropuot = 0.3: Net has no such argument; did you mean 'dropout'? Try model.dropout=0.3",
    "+sede=2": "sede = 2: there is no such key; did you mean 'seed'? Try seed=2",
    "seed=-1": "seed = -1: must be at least 0. Try seed=1",
    "seed=one": "seed = one: must be a whole number >= 0 and < 4294967296. Try seed=1",
    "monitor_mode=maximum": "monitor_mode = maximum: must be one of min, max or null. Try monitor_mode=max",
    "budget.steps=0": "budget.steps = 0: must be at least 1. Try budget.steps=1",
    "+budget.hours=2": "budget.hours = 2: there is no such key. It has: steps, tokens, epochs, minutes",
    "budget=20": f"budget=20: {BUDGET}. Try budget=20steps or budget=20epochs",
    "budget=fast": f"budget=fast: {BUDGET}. Try budget=5epochs",
    "budget=null": f"budget=null: {BUDGET}. Try budget=5epochs",
    "budget=20min": f"budget=20min: {BUDGET}. Try budget=20minutes",
    "budget=10s": f"budget=10s: {BUDGET}. Try budget=5epochs",
    "budget=0epochs": f"budget=0epochs: {BUDGET}. Try budget=5epochs",
    "budget=1.5steps": f"budget=1.5steps: {BUDGET}. Try budget=5epochs",
    "budget=1epochs,2steps": f"budget='1epochs,2steps': {BUDGET}. Try -m budget=1epochs,2steps",
    "budget.steps=1e3": "budget.steps = 1000: must be a whole number >= 1 or null. Try budget.steps=1000",
    "model.cell=lstm,gru": "model.cell = 'lstm,gru': must be one of lstm, gru. Try -m model.cell=lstm,gru",
    "model.cell=transformer": "model.cell = transformer: must be one of lstm, gru",
    "+batch_size=8": "batch_size = 8: there is no such key",
    "+freeze=x": "freeze = x: there is no such key",
    "+foo=1": "foo = 1: there is no such key",
    "+model.vocab_size=9": "model.vocab_size = 9: the code sets it, from the other keys",
    "metrics=fast": "metrics = fast: must be a list [text]. Try metrics=[fast]",
    "metrics=fast,new": "metrics = 'fast,new': must be a list [text]. Try metrics=[fast,new]",
    "model.width=15": "model.width = 15 must be even. Try model.width=16",
}


def stderr_of(capsys) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize("argument", COMMAND_LINE)
def test_command_line_mistakes_leave_no_run(toy, capsys, argument):
    assert toy.groundup("pretrain", argument) == 2
    assert stderr_of(capsys) == f"error: {COMMAND_LINE[argument]}\n"
    assert not toy.runs()


@pytest.mark.parametrize("argument", VALUES)
def test_impossible_values_end_the_run_before_the_stage(toy, capsys, argument):
    stage = toy.root / "package" / "toy_stage.py"
    stage.write_text(
        'from groundup.config.build import instantiate\ndef run(cfg, job):\n    instantiate(cfg.model, "model", vocab_size=7)\n'
    )
    assert toy.groundup("pretrain", argument) == 2
    assert stderr_of(capsys) == f"error: {VALUES[argument]}\n"
    assert len(toy.runs()) == (argument == "model.width=15")  # that one only the constructor knows


def test_message_names_the_file_that_holds_the_value(toy, capsys):
    toy.write("model/wrong", "defaults: [small]\ndropout: 1.5\n")
    toy.write("model/typo", "defaults: [small]\ndropuot: 0.2\n")
    assert toy.groundup("pretrain", "model=wrong") == 2
    assert (
        stderr_of(capsys)
        == "error: model.dropout = 1.5: must be less than 1 (conf/model/wrong.yaml). Try model.dropout=0.1\n"
    )
    assert toy.groundup("pretrain", "model=typo") == 2
    line = "model.dropuot = 0.2: Net has no such argument; did you mean 'dropout'? (conf/model/typo.yaml). Try model.dropout=0.2"
    assert stderr_of(capsys) == f"error: {line}\n"


def test_broken_yaml_is_located(toy, capsys):
    file = toy.write("model/broken", "width: [1, 2\ncell: lstm\n")
    assert toy.groundup("pretrain", "model=broken") == 2
    assert stderr_of(capsys).startswith(f"error: {file}, line 2: not valid YAML: ")


def test_mistake_in_an_experiment_names_the_experiment(toy, capsys):
    toy.write("experiment/one", "# @package _global_\ndefaults:\n  - override /model: nosuch\n")
    assert toy.groundup("pretrain", "experiment=one") == 2
    line = stderr_of(capsys)
    assert "model=nosuch: no such choice. model can be: big, small" in line
    assert line.count("\n") == 1


def test_several_mistakes_are_counted(toy, capsys):
    assert toy.groundup("pretrain", "model.dropout=2", "model.width=0") == 2
    assert stderr_of(capsys).endswith("(1 more like this)\n")


def test_missing_configuration_folder(toy, capsys, monkeypatch):
    monkeypatch.setenv("GROUNDUP_CONF", str(toy.root / "nowhere"))
    assert toy.groundup("pretrain") == 2
    assert "has no pretrain.yaml. Set GROUNDUP_CONF" in stderr_of(capsys)


def test_flags_that_exclude_each_other(toy, capsys):
    assert toy.groundup("pretrain", "-m", "--cfg", "job") == 2
    assert stderr_of(capsys) == "error: -m and --cfg cannot be combined\n"
    for flag in ("-cn", "-cp", "--config-name"):
        assert toy.groundup("pretrain", flag, "foo") == 2
        assert stderr_of(capsys).endswith(
            " foo: the verb names the file that is read. Keys of your own go into "
            "conf/experiment/NAME.yaml, chosen by experiment=NAME; GROUNDUP_CONF=FOLDER is another conf/\n"
        )
    assert toy.groundup("pretrain", "--experimental-rerun", "x.pickle") == 2
    assert "not supported" in stderr_of(capsys)


def test_full_error_shows_the_traceback_of_a_mistake_too(toy, capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert toy.groundup("pretrain", "model.dropuot=0.3") == 2
    text = stderr_of(capsys)
    assert "Traceback (most recent call last)" in text
    assert text.endswith("Try model.dropout=0.3\n")
