"""What may be chosen together trains, and every other combination is refused with what to type instead.

Every task meets every model and every way of making batches, and every model meets every cell. Not all of it at once: what a
cell does to hidden states no task can tell, and a batch of rows does not show how they were chosen.
"""

from __future__ import annotations

import json
import math
import random
from functools import cache, partial
from itertools import chain, combinations, product
from pathlib import Path

import pytest
import torch
from families import names_of
from seed import SEED

from groundup.config.build import instantiate
from groundup.config.check import check
from groundup.config.compose import compose_with_choices
from groundup.config.files import conf_dir, groups
from groundup.data.datamodule import TextDataModule
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.stages.build import build_data, build_optimization, build_task, check_model_fits
from groundup.stages.stored import check_stored
from groundup.training.checkpoints import Checkpoints
from groundup.training.fit import fit, make_trainer
from groundup.training.groups import parameter_groups

RECURRENT = {  # choice -> where its cell stands
    "bilstm_encoder": ["model.cell"],
    "lstm_encoder": ["model.cell"],
    "lstm_decoder": ["model.cell"],
    "lstm_encoder_decoder": ["model.encoder.cell", "model.decoder.cell"],
}


def models(kind: str) -> dict[str, list[str]]:
    """Name -> overrides: every model of a kind, recurrent ones with every cell."""
    found = {name: [f"model={name}"] for name in names_of(kind)}
    for name in [name for name in found if name in RECURRENT]:
        for cell in ("gru", "rnn"):
            found[f"{name} cell={cell}"] = [f"model={name}", *(f"{key}={cell}" for key in RECURRENT[name])]
    return found


ENCODERS, DECODERS = models("encoder"), models("decoder")
ENCODER_DECODERS = {
    **models("encoder_decoder"),
    "input feeding": ["model=lstm_encoder_decoder", "model.decoder.input_feeding=true"],
}
WRITERS = {**ENCODER_DECODERS, **DECODERS}
PACKED = {
    "packed": ["batching=packed", "batching.length=16", "batching.batch_size=4"],
    "packed, documents apart": ["batching=packed", "batching.length=16", "batching.mask_documents=true"],
}
LABELLED = {
    "bucketed": ["batching=bucketed", "batching.batch_size=4"],
    "token_budget": ["batching=token_budget", "batching.max_length=32", "batching.tokens=128"],
}
FULL = {"masked_lm", "causal_lm", "classification", "translation"}  # tasks that meet every cell, too
TASKS = {  # task -> models and batchings that go with it
    "masked_lm": (ENCODERS, PACKED),
    "causal_lm": (DECODERS, PACKED),
    "classification": ({**ENCODERS, **DECODERS}, LABELLED),
    "tagging": ({**ENCODERS, **DECODERS}, LABELLED),
    "multilabel": ({**ENCODERS, **DECODERS}, LABELLED),
    "regression": ({**ENCODERS, **DECODERS}, LABELLED),
    "question_answering": (ENCODERS, LABELLED),
    "span_corruption": (ENCODER_DECODERS, {"packed": PACKED["packed"]}),
    "denoising": (ENCODER_DECODERS, {"packed": PACKED["packed"]}),
    "translation": (WRITERS, LABELLED),
    "summarization": (WRITERS, LABELLED),
}
STEPS = 4
PAIRS = ["data.source=text", "data.target=text", "task.decoding.max_new_tokens=8"]
WORDS = ["data.label=null", "data.tokens=tokens", "data.tags=tags"]
NUMBERS = ["data.label=null", "data.score=score", "data.text_pair=text_pair"]
ASKED = ["data.label=null", "data.question=question", "data.context=text", "data.answers=answers"]
GIVEN = {
    "translation": PAIRS,
    "summarization": PAIRS,
    "tagging": WORDS,
    "regression": NUMBERS,
    "question_answering": ASKED,
}  # what else a task must be told
LEGAL = {
    f"{task}, {model}, {batching}": [f"task={task}", *GIVEN.get(task, ()), *models[model], *batchings[batching]]
    for task, (models, batchings) in TASKS.items()
    for model, batching in product(models, batchings)
    if ("cell=" not in model or task in FULL) and (batching != "token_budget" or model == next(iter(models)))
}
ARCHITECTURES = ("transformer_encoder", "transformer_decoder", "transformer_encoder_decoder")
OPTIONAL = ("ema", "early_stopping", "freeze")
CALLBACKS = ["none", *chain.from_iterable(combinations(("default", *OPTIONAL), n) for n in (1, 2, 4))]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> list[str]:
    """Overrides that every combination shares: small rows in files, a small model, no noise."""
    folder = tmp_path_factory.mktemp("rows")
    words = "the sea garden kitchen tide soil oven roses anchor flour gulls seeds whisk".split()
    generator = random.Random(0)
    for split in ("train", "dev"):
        with open(folder / f"{split}.jsonl", "w") as file:
            for number in range(60):
                tokens = generator.choices(words, k=generator.randint(3, 20))
                row = {"text": " ".join(tokens), "label": "abc"[number % 3], "tokens": tokens, "question": tokens[1]}
                row |= {"text_pair": " ".join(tokens[: number % 4]), "score": number % 4}
                row["answers"] = {"text": [tokens[0]], "answer_start": [0]}
                file.write(json.dumps({**row, "tags": [f"B-{token[0]}" for token in tokens]}) + "\n")
    return [
        "data=files", f"data.train={folder / 'train.jsonl'}", f"data.validation={folder / 'dev.jsonl'}", "data.label=label",
        "tokenizer=word", "size=nano", "wandb.mode=disabled", f"seed={SEED}",
    ]  # fmt: skip


def build(overrides: list[str]):
    """Config, data and task of a command line, through the same checks as the command."""
    cfg, choices = compose_with_choices("finetune", overrides)
    check(cfg, "finetune", overrides, choices)
    check_model_fits(cfg)
    data = build_data(cfg, instantiate(cfg.data, "data"))
    task = build_task(cfg, data.facts, data.target_tokenizer, build_optimization(cfg, STEPS))
    data.prepare()
    data.check_lengths(task.model.max_length)
    return cfg, data, task


@pytest.fixture(scope="module")
def builds(base):
    """Builds a command line, one that it has built before not again."""
    return cache(lambda *words: bool(build([*base, *words])))


def train(cfg, data, task, run: Path) -> dict[str, torch.Tensor]:
    """Trains and returns the weights of before."""
    before = {name: value.clone() for name, value in task.state_dict().items()}
    callbacks = {name: instantiate(node, f"callbacks.{name}") for name, node in (cfg.callbacks or {}).items()}
    checkpoints = Checkpoints(run / "checkpoints")
    trainer = make_trainer(
        partial(instantiate, cfg.trainer, "trainer"),
        data.order_fingerprint,
        checkpoints,
        callbacks,
        [],
        STEPS,
        None,
        cfg.seed,
    )
    fit(trainer, task, TextDataModule(data, task.collator(), STEPS))
    assert trainer.global_step == STEPS
    assert all(value.isfinite().all() for value in task.state_dict().values())
    assert math.isfinite(task.validation.metrics["loss"].value)
    return before


@pytest.mark.parametrize("name", LEGAL)
def test_legal_combination_trains(name, base, tmp_path):
    cfg, data, task = build([*base, *LEGAL[name], "callbacks=none", "optimizer=muon_adamw", "scheduler=constant"])
    choices = len(data.facts.labels) if data.facts.labels else data.facts.vocab_size
    choices = 2 if cfg.task._target_.endswith("MultiLabel") else choices  # of each label: yes or no
    if "task=question_answering" in LEGAL[name]:  # one of the words, or none: 12 on average
        choices = 12
    at_random = math.log(choices) if data.facts.scale is None else 1  # nats; of numbers, their variance
    with torch.no_grad():
        losses = [task.eval().loss(batch) for batch in data.loader("validation", task.collator())]
    found = float(sum(loss.total for loss in losses) / sum(loss.count for loss in losses))
    assert found == pytest.approx(at_random, abs=0.4)
    held = [id(p) for group in parameter_groups(task, lr=1.0) for p in group["params"]]
    assert sorted(held) == sorted({id(parameter) for parameter in task.parameters()})
    folder = RunFolder(tmp_path)
    data.tokenizer.save(folder.tokenizer)
    if data.facts.target_vocab_size is not None:
        data.target_tokenizer.save(folder.target_tokenizer)
    check_stored(folder, cfg, {"state_dict": task.state_dict(), "facts": data.facts.as_dict()}, tmp_path)
    before = train(cfg, data, task.train(), tmp_path)
    unmoved = [name for name, parameter in task.named_parameters() if torch.equal(before[name], parameter)]
    assert unmoved == []


def files(group: str) -> list[str]:
    return groups(conf_dir())[group]


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [pair for pair in product(files("optimizer"), files("scheduler")) if "muon_adamw" in pair or "constant" in pair],
)
def test_every_optimizer_and_every_scheduler_trains(optimizer, scheduler, base, tmp_path):
    """A schedule scales the learning rates of an optimizer's groups; one of them has groups of two kinds."""
    words = ["batching.batch_size=4", "callbacks=none", f"optimizer={optimizer}", f"scheduler={scheduler}"]
    cfg, data, task = build([*base, *words])
    before = train(cfg, data, task, tmp_path)
    moved = [not torch.equal(before[name], parameter) for name, parameter in task.named_parameters()]
    assert all(moved)


@pytest.mark.parametrize("chosen", CALLBACKS, ids=lambda chosen: "+".join(chosen) if chosen != "none" else chosen)
def test_every_set_of_callbacks_works_together(chosen, base, tmp_path):
    words = f"callbacks=[{','.join(chosen)}]" if chosen != "none" else "callbacks=none"
    cfg, data, task = build([*base, "batching.batch_size=4", words])
    before = train(cfg, data, task, tmp_path)
    still = [name for name, parameter in task.named_parameters() if torch.equal(before[name], parameter)]
    body = [name for name, _ in task.named_parameters() if name.startswith("model.")]
    assert still == (body if "freeze" in chosen else [])
    assert {file.name for file in (tmp_path / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "model",
    ["transformer_encoder", "bilstm_encoder", "transformer_decoder", "lstm_decoder", "transformer_encoder_decoder"],
)
@pytest.mark.parametrize("batching", ["packed", "bucketed", "token_budget"])
def test_every_other_combination_says_what_to_try(task, model, batching, base, builds):
    models, batchings = TASKS[task]
    given = GIVEN.get(task, [])
    overrides = [*base, f"task={task}", *given, f"model={model}", f"batching={batching}"]
    fits, reads = any(f"model={model}" in words for words in models.values()), batching in batchings
    if fits and reads:
        builds(*overrides[len(base) :])
        return
    with pytest.raises(UserError) as refusal:
        build(overrides)
    said = str(refusal.value)
    assert "\n" not in said
    advised = [f"model={name}" for name in ARCHITECTURES] if not fits else []
    advised = [word for word in advised if f"model={model}" != word and any(word in w for w in models.values())]
    assert all(word in said for word in advised or [f"batching={next(iter(batchings))}"])
    builds(
        f"task={task}", *given, *next(iter(models.values())), f"batching={next(iter(batchings))}"
    )  # the advice holds


def test_how_words_are_spelled_is_for_tasks_on_words(base):
    build([*base, "task=tagging", *WORDS, "model=bilstm_encoder", "model.characters=cnn"])
    with pytest.raises(UserError, match=r"task=classification does not. Try task=tagging, or model\.characters=null"):
        build([*base, "model=bilstm_encoder", "model.characters=cnn"])


@pytest.mark.parametrize("model", ["transformer_decoder", "lstm_decoder", "lstm_encoder"])
def test_first_position_of_a_one_way_reader_cannot_stand_for_the_text(model, base):
    with pytest.raises(UserError, match=r"task\.pooling=cls.*task\.pooling=mean"):
        build([*base, f"model={model}", "task.pooling=cls"])


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last", "attention"])
@pytest.mark.parametrize("model", ["transformer_encoder", "bilstm_encoder"])
def test_every_pooling_reads_the_whole_text(model, pooling, base):
    _, data, task = build([*base, f"model={model}", f"task.pooling={pooling}"])
    batch = next(iter(data.loader("validation", task.collator())))
    ids = batch["input_ids"][:1, batch["attention_mask"][0]]
    changed = ids.clone()
    changed[0, 2] = changed[0, 3] + 1 if changed[0, 2] != changed[0, 3] + 1 else changed[0, 3] + 2
    with torch.no_grad():
        torch.nn.init.normal_(task.eval().head.linear.weight)
        for parameter in task.parameters():  # blocks start as the identity
            if not parameter.any() and parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.1)
        scores = [
            task.logits({"input_ids": row, "attention_mask": torch.ones_like(row, dtype=torch.bool)})
            for row in (ids, changed)
        ]
    assert not torch.allclose(*scores, atol=1e-5)
