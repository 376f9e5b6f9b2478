"""Names of other programs: each is answered by what can be typed here, and what that sets is what was typed."""

from __future__ import annotations

import shlex

import pytest

from groundup import cli
from groundup.config import composable, mistakes, suggest, translate
from groundup.config.compose import compose_with_choices
from groundup.config.foreign import CHOICES, KEYS, NOTES, by_name

# Command lines that between them have every key of ours.
SETTINGS = {
    "pretrain": [[], ["model=lstm_decoder"], ["task=masked_lm", "model=transformer_encoder"], ["task=span_corruption"]],
    "finetune": [[], ["data=files"], ["task=translation"], ["task=question_answering"]],
    "generate": [["run=x"]],
    "predict": [["run=x", "input=a", "output=b"]],
    "evaluate": [["run=x"]],
    "report": [[]],
}


@pytest.fixture(autouse=True)
def shipped(monkeypatch, tmp_path):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def remembered():
    """Each configuration is composed once for all tests here."""
    composable.forget()
    yield
    composable.forget()


def tried(advice: str) -> list[str]:
    """The words after Try; none where nothing is advised."""
    return shlex.split(advice.partition(" Try ")[2].removesuffix("."))


def samples(template) -> list[str]:
    """Values to try a line of the table with."""
    if isinstance(template, dict):
        return ["2" if value == "*" else value for value in template if template[value]]
    text = template if isinstance(template, str) else template[0]
    known = {"scheduler": "cosine", "optimizer": "adam", "model": "bert", "data": "imdb", "tokenizer": "bpe"}
    return [known.get(text.removesuffix("={}"), "accuracy" if "metric" in text else "3")]


# Typed by a newcomer -> how the answer ends.
ENDS = {
    "optimizer=AdamW": "Did you mean optimizer=adamw?",
    "data=IMDB": "Did you mean data=imdb?",
    "hparams_search=optuna": "sweep.trials=20 'optimizer.lr=tag(log,interval(1e-4,1e-2))'",
    "extras.print_config=true": "`--cfg job` prints the whole configuration",
    "task_name=first": "Try run_name=first",
    "optimizer.beta1=0.9": ": both in one list, as in optimizer.betas=[0.9,0.95]",
    "budget.hours=1": "There are budget.steps, budget.tokens, budget.epochs, budget.minutes",
    "model.heads=4 model=bilstm_encoder": "'model.heads': model must be one of transformer_decoder, transformer_encoder, "
    "transformer_encoder_decoder",
    "wandb=false": "error: wandb=false: it has keys of its own. Try logger=none",
    "wandb=no": "error: wandb=no: it has keys of its own. Try logger=none",
    "wandb=x": "error: wandb: it has keys of its own, such as wandb.mode",
    "wandb.name=x": "Try run_name=x",
    "--debug": "debug can be: anomaly, default, limit, overfit. Try debug=default",
    "--config x": "experiment=NAME; `groundup finetune --cfg job` shows what is set",
    "-c x.yaml": "error: --cfg x.yaml: it shows one of job, hydra, all, and reads no file. Try --cfg job",
    "--cfg": "error: --cfg/-c: a value is missing after it",
    "seed=1,2": "error: seed=1,2: several values. For one run each add -m",
    "device=cuda:0": "Try trainer=gpu",
    "dataset=openwebtext": ", ud_ewt, wikitext103, wikitext2, wnut17",
    "metric_for_best_model=f1": "Try monitor=validation/macro_f1",
    "model.dropout=50%": "Try model.dropout=0.5",
    "callbacks=early_stopping callbacks.early_stopping.monitor=val_loss": "Try callbacks.early_stopping.monitor=validation/loss",
    "save_total_limit=2": ": three checkpoints are kept: best, last and the one before",
    "trainer.val_check_interval=0.5": "count optimizer steps; the last step is always validated and saved",
    "budget=20 budget.steps=2": "budget=20: budget has keys of its own, such as budget.steps. Leave out budget=20",
    "text_column=评论 data=files": "error: text_column=评论: no key or group 'text_column'. Try data.text=评论",
    "tokenizer=jieba": "and data.tokens=COLUMN takes lists of words)",
    "model_name_or_path=x": "`groundup import path=FOLDER` makes one of the weights of others",
    "augmentation=null callbacks=[default,ema]": "augmentation can be: cut_off, eda, noise, none. Try augmentation=none",
    "callbacks=[default,swa] callbacks.samples.rxws=3": "did you mean 'callbacks.samples.rows'? Try callbacks.samples.rows=3",
    "callbacks=[default,1]": "callbacks can be: default, early_stopping, ema, freeze, none, swa",
    "tokenizer@target_tokenizer=3": "tokenizer can be: byte_bpe, char, unigram, word, wordpiece",
    "model=transformer": "Try model=transformer_encoder",
    "data=_same_as_run": "wikitext103, wikitext2, wnut17",
    "budget.epochs=1 budget.steps=2": "a budget has one unit. Try budget.steps=2 or budget.epochs=1",
}


@pytest.mark.parametrize("words", ENDS)
def test_a_newcomer_is_led_on_before_a_folder_exists(words, capsys, tmp_path):
    assert cli.run(["finetune", *words.split()]) == 2
    assert capsys.readouterr().err.removesuffix("\n").endswith(ENDS[words])
    assert not (tmp_path / "logs").exists()


def test_the_beginning_of_a_choice_is_that_choice(capsys):
    assert cli.run(["evaluate", "run=last", "split=val"]) == 2
    assert capsys.readouterr().err.endswith("or null. Try split=validation\n")


def test_all_that_is_missing_is_named_at_once(capsys):
    assert cli.run(["predict"]) == 2
    assert capsys.readouterr().err == ("error: run: no value (conf/predict.yaml). Try run=last input=... output=...\n")


def where_it_goes(words: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The first command line that has all keys of ``words``: (verb, others, choices), and key -> value."""
    if words[:2] == ["groundup", "resume"]:
        return ("resume",), dict(word.split("=", 1) for word in words[2:])
    for stage, settings in SETTINGS.items():
        for others in settings:
            chosen = [one for word in words for one in translate.choose(word, stage, others)]
            choices = [word for word in chosen if composable.is_choice(word)]
            keys = dict(word.split("=", 1) for word in chosen if word not in choices)
            groups = {word.partition("=")[0] for word in choices}
            if not groups <= set(composable.all_names(stage, others)) or (
                choices and composable.composed(stage, (*others, *choices)) is None
            ):
                continue
            names = composable.all_names(stage, [*others, *choices])
            if all(key in names or key.startswith("hydra.") for key in keys):
                return (stage, *others, *choices), keys
    raise AssertionError(f"{words} can be typed nowhere")


def test_every_line_of_the_table_leads_to_keys_that_take_its_value():
    together: dict[tuple, dict[str, str]] = {}  # what goes into one configuration is composed once
    for template in KEYS.values():
        for value in samples(template):
            for words in translate.fill(template, value):
                place, keys = where_it_goes(words)
                together.setdefault(place, {}).update(keys)
                assert value != "3" or "3" in str(words), "the value is the one that was typed"
    for (stage, *others), keys in together.items():
        cfg, choices = compose_with_choices(stage, [*others, *(f"{key}={value}" for key, value in keys.items())])
        for word in others:
            group, value = word.split("=", 1)
            assert group not in choices or value.startswith("[") or choices[group] == value
        for key, value in keys.items():
            node = cfg
            for part in key.split(".") if not key.startswith("hydra.") else ():
                node = node[part]
            assert key.startswith("hydra.") or str(node).lower() == value.lower(), (key, value, node)


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in CHOICES for names in CHOICES[group] for name in names.split()]
)
def test_every_choice_of_the_table_exists(group, name):
    ours = by_name(CHOICES[group])[name]
    choices = composable.groups()["hydra/launcher" if group == "launcher" else group]
    for kind in ("encoder", "decoder", "encoder_decoder"):
        choice = ours.format(name, kind=kind).split()[0]
        assert choice in choices
    assert name not in choices, "a name that exists needs no translation"


def test_no_name_stands_twice():
    for table in (KEYS, NOTES, *CHOICES.values()):
        names = [name for names in table for name in names.split()]
        assert len(names) == len(set(names))
    assert len(by_name(KEYS)) > 60


# What was typed -> the words after Try, or None where none may be given.
TYPED = {
    "finetune batch_size=16": "batching.batch_size=16",
    "finetune data.batch_size=16": "batching.batch_size=16",
    "finetune max_epochs=3": "budget.epochs=3",
    "finetune trainer.max_epochs=3": "budget.epochs=3",
    "pretrain trainer.max_steps=5": "budget.steps=5",
    "finetune learning_rate=1e-3": "optimizer.lr=1e-3",
    "finetune --lr 0.1": "optimizer.lr=0.1",
    "finetune --lr=0.1": "optimizer.lr=0.1",
    "finetune --size nano": "size=nano",
    "finetune --gpus 1 size=nano": "trainer=gpu",
    "finetune hidden_size=64": "model.width=64",
    "finetune model.hidden_size=64": "model.width=64",
    "finetune hidden_size=64 task=translation": "model.encoder.width=64 model.decoder.width=64",
    "finetune model.heads=2 task=translation": "model.encoder.heads=2 model.decoder.heads=2",
    "finetune model.encoder.num_layers=3 task=translation": "model.encoder.layers=3",
    "finetune trainer.gpus=1": "trainer=gpu",
    "finetune gpus=1": "trainer=gpu",
    "finetune gpus=4": "trainer=ddp trainer.accelerator=gpu trainer.devices=4",
    "finetune output_dir=x": "hydra.run.dir=x",
    "finetune data_dir=x data=imdb": "data.root=x",
    "finetune data_dir=x": None,
    "finetune train=x.csv": "data=files data.train=x.csv",
    "baseline data.train=x.csv": "data=files data.train=x.csv",
    "finetune text_column=评论 data=files": "data.text=评论",
    "report run=logs/x": "folders=[logs/x]",
    "report sweep=last": "folders=[last]",
    "finetune task=qa": "task=question_answering",
    "finetune data.path=x.csv": "data=files data.train=x.csv",
    "finetune debug=true": "debug=default",
    "finetune seq_len=64": "batching.max_length=64",
    "pretrain seq_len=64": "batching.length=64",
    "pretrain eval_steps=0.5": None,
    "pretrain num_labels=3": None,
    "pretrain model=gpt2": "model=transformer_decoder",
    "finetune model=bert": "model=transformer_encoder",
    "pretrain model=lstm": "model=lstm_decoder",
    "finetune model=lstm": "model=lstm_encoder",
    "finetune model=gru task=translation": "model=lstm_encoder_decoder model.encoder.cell=gru model.decoder.cell=gru",
    "finetune model=resnet": None,
    "finetune model.name=roberta": "model=transformer_encoder",
    "finetune task=sentiment": "task=classification",
    "finetune task=mt": "task=translation",
    "finetune task=ner": "task=tagging",
    "finetune model=gru task=tagging": "model=lstm_encoder model.cell=gru",
    "finetune data=xyz": None,
    "finetune data=own.csv": "data=files data.train=own.csv",
    "finetune data=stanfordnlp/imdb": "data=files data.hub=stanfordnlp/imdb",
    "finetune optimizer=lion": None,
    "finetune scheduler=noam": "scheduler=inverse_sqrt",
    "finetune callbacks.ema.decay=0.9": "callbacks=[default,ema] callbacks.ema.decay=0.9",
    "finetune callbacks.step_logger.every=1 callbacks=none": "callbacks=default callbacks.step_logger.every=1",
    "finetune callbacks.ema.decay=0.9 callbacks=none": "callbacks=ema callbacks.ema.decay=0.9",
    "finetune patience=5": "callbacks=[default,early_stopping] callbacks.early_stopping.patience=5",
    "generate num_beams=4 run=x": "decoding=beam decoding.beam_size=4",
    "generate output_dir=x run=x": None,
    "finetune model.cell=gru": None,
    "finetune resume=true": "groundup resume run=last",
    "evaluate last": "run=last",
    "finetune own.csv": "data=files data.train=own.csv",
    "predict own.csv run=x output=y": "input=own.csv",
    "evaluate own.csv run=x": "data.test=own.csv",
    "finetune imdb": "data=imdb",
    "finetune none": None,
    "finetune xyz": None,
    "finetune optimizer.amsgrad=true": "+optimizer.amsgrad=true",
    "finetune modle.dropuot=0.2": "model.dropout=0.2",
    "finetune dropot=0.2": None,
    "generate decoding.top_x=5 run=x": None,
}


WHOLE = ["finetune --lr 0.1", "finetune --size nano", "finetune debug=true", "evaluate last", "finetune own.csv", "finetune xyz",
         "finetune batch_size=16", "finetune model.heads=2 task=translation", "finetune data=stanfordnlp/imdb"]  # fmt: skip


@pytest.mark.parametrize("line", TYPED)
def test_what_a_new_user_types(line, tmp_path):
    (tmp_path / "own.csv").write_text("text,label\na,b\n")
    stage, word, *others = shlex.split(line)
    key, _, value = word.partition("=")
    if word.startswith("-"):
        answer = mistakes.dashed(word, [word, *others], stage)
    elif "=" not in word:
        answer = mistakes.bare_word(word, stage, others)
    elif key in composable.groups():
        answer = suggest.instead_of_choice(key, value, composable.groups()[key], stage, others)
    else:
        answer = suggest.instead_of_key(key, value, stage, others)
    assert tried(answer) == shlex.split(TYPED[line] or ""), answer


@pytest.mark.parametrize("line", WHOLE)
def test_the_command_answers_in_one_line_and_leaves_no_folder(line, capsys, tmp_path):
    (tmp_path / "own.csv").write_text("text,label\na,b\n")
    assert cli.run(shlex.split(line)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert tried(error.strip()) == shlex.split(TYPED[line] or ""), error
    assert not (tmp_path / "logs").exists()


def test_a_slip_of_the_finger_never_leads_to_another_key():
    names = composable.all_names("finetune", ["task=translation"])
    for name in names:
        for place in range(len(name)):
            swapped = name[:place] + name[place + 1 : place + 2] + name[place] + name[place + 2 :]
            for typo in (name[:place] + name[place + 1 :], swapped, name[:place] + name[place] + name[place:]):
                if typo not in names:
                    assert suggest.spelled(typo, names) in (name, None), typo
