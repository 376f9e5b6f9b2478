"""Small tasks on made-up text, without files and without the command line."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from seed import SEED
from torch.utils.data import DataLoader

from groundup.data.batching import Bucketed, Packed
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.tasks.base import Task
from groundup.tasks.causal_lm import CausalLM
from groundup.tasks.classification import Classification
from groundup.tasks.masked_lm import MaskedLM
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

SUBJECTS = {
    "garden": "roses soil seeds hedge compost".split(),
    "kitchen": "flour oven garlic whisk dough".split(),
    "sea": "tide anchor gulls island storm".split(),
}
CLASSES = {"classification": Classification, "masked_lm": MaskedLM, "causal_lm": CausalLM}


def make_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Texts of 1 to 25 words about subjects of uneven frequency; é and 海 are bytes, too."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        subject = generator.choices(list(SUBJECTS), weights=[5, 2, 1])[0]
        words = generator.choices([*SUBJECTS[subject], "the", "é", "海"], k=generator.randint(1, 25))
        rows.append({"text": " ".join(words), "label": subject})
    return rows


@pytest.fixture(scope="session")
def make_data() -> Callable[..., TextData]:
    """The data of a task."""

    def make(task: str, tokenizer: str = "byte_bpe", **batching: Any) -> TextData:
        kind = Bucketed if task == "classification" else Packed
        defaults = {} if task == "classification" else {"length": 16}
        source = GivenRows({"train": make_rows(80, 1), "validation": make_rows(30, 2)})
        spec = TokenizerSpec(tokenizer, vocab_size=300)
        made = kind(**{"batch_size": 8, **defaults, **batching})
        return TextData(source, CLASSES[task].examples, spec, made, None, seed=1)

    return make


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """The task of some data with a two-layer Transformer, always with the same weights."""

    def make(name: str, data: TextData, lr: float = 0.1, dropout: float = 0.0, **words: Any) -> Task:
        torch.manual_seed(SEED)
        model_class = TransformerDecoder if name == "causal_lm" else TransformerEncoder
        model = model_class(data.facts.vocab_size, width=32, layers=2, heads=2, dropout=dropout)
        words = {"dropout": dropout, **words} if name == "classification" else words
        optimizer = torch.optim.SGD if lr >= 0.1 else torch.optim.Adam
        optimize = Optimization(partial(optimizer, lr=lr), Constant(), total_steps=1000)
        return CLASSES[name](model, data.facts, data.tokenizer, **{"optimize": optimize, **words})

    return make


@pytest.fixture(scope="session")
def quiet_trainer() -> Callable[..., Trainer]:
    """A Lightning trainer that writes nothing."""
    return partial(
        Trainer,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        max_epochs=-1,
    )


class Until(Callback):
    """Stops a training once ``reached`` says so; it is asked every ten steps."""

    def __init__(self, reached: Callable[[Task], bool]):
        self.reached = reached

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step % 10 == 0:
            with torch.no_grad():
                trainer.should_stop = self.reached(pl_module.eval())
            pl_module.train()


@pytest.fixture(scope="session")
def learn(train) -> Callable[..., None]:
    """Trains a task on one batch until ``reached(task)``, so that no figure hangs on the number of steps."""

    def run(task: Task, batch: dict, reached: Callable[[Task], bool], most: int = 3000) -> None:
        trainer = train(task, [batch], most, gradient_clip_val=1.0, callbacks=[Until(reached)])
        assert trainer.global_step < most, f"not learned in {most} steps"

    return run


@pytest.fixture(scope="session")
def train(quiet_trainer) -> Callable[..., Trainer]:
    """Trains a task on finished batches, over and over until ``steps`` optimizer steps are done."""

    def run(task: Task, batches: list[dict], steps: int, **words: Any) -> Trainer:
        trainer = quiet_trainer(max_steps=steps, limit_val_batches=0, **words)
        trainer.fit(task, train_dataloaders=DataLoader(batches, batch_size=None))
        return trainer

    return run
