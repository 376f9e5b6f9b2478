"""Small real runs, made once and used by many tests."""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path

import pytest
from seed import SEED

from groundup import cli

SUBJECTS = {
    "garden": "roses tulips soil seeds watering pruning hedge compost blossom spade".split(),
    "kitchen": "flour butter oven simmer garlic whisk recipe saucepan dough spices".split(),
    "sea": "harbour sails tide anchor gulls lighthouse waves fishing island storm".split(),
}
FILLER = "the a we saw then with some old and many before near our".split()


def write_reviews(path: Path, rows: int, seed: int) -> Path:
    """A .csv of short texts whose words tell their subject, of uneven length and uneven classes."""
    generator = random.Random(seed)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "subject"])
        for _ in range(rows):
            subject = generator.choices(list(SUBJECTS), weights=[3, 2, 1])[0]
            words = generator.choices(SUBJECTS[subject], k=generator.randint(2, 6))
            words += generator.choices(FILLER, k=generator.randint(1, 9))
            generator.shuffle(words)
            writer.writerow([" ".join(words), subject])
    return path


@pytest.fixture(scope="session")
def reviews(tmp_path_factory) -> Path:
    """A folder with train.csv, dev.csv and test.csv."""
    folder = tmp_path_factory.mktemp("reviews")
    for seed, (name, rows) in enumerate({"train": 240, "dev": 60, "test": 80}.items()):
        write_reviews(folder / f"{name}.csv", rows, seed)
    return folder


@pytest.fixture(scope="session")
def data_overrides(reviews) -> list[str]:
    """Those files as the data of a run."""
    return [
        "data=files",
        f"data.root={reviews}",
        "data.train=train.csv",
        "data.validation=dev.csv",
        "data.test=test.csv",
        "data.text=review",
    ]


SMALL = ["size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", f"threads={os.environ['OMP_NUM_THREADS']}"]


@pytest.fixture(scope="session")
def groundup(tmp_path_factory):
    """Runs a command line in this process, in a folder of its own, and returns that folder. Training follows ``SEED``."""

    def call(*arguments: str, code: int = 0, folder: Path | None = None) -> Path:
        folder = folder or tmp_path_factory.mktemp("run")
        usual = [f"seed={SEED}"] if arguments[0] in ("pretrain", "finetune", "distill") else []
        if arguments[0] == "baseline" and not any(word.startswith(("logger", "wandb")) for word in arguments):
            usual = ["logger=none"]  # W&B takes longer than most of them
        assert cli.run([arguments[0], *usual, *arguments[1:], f"hydra.run.dir={folder}"]) == code
        return folder

    return call


@pytest.fixture(scope="session")
def pretrained(groundup, data_overrides) -> Path:
    """A masked language model of an encoder."""
    return groundup(
        "pretrain", *data_overrides, *SMALL, "task=masked_lm", "model=transformer_encoder", "budget.steps=12",
        "validate_every=6", "batching.length=32", "batching.batch_size=8",
    )  # fmt: skip


@pytest.fixture(scope="session")
def language_model(groundup, data_overrides) -> Path:
    """A causal language model of an LSTM."""
    return groundup(
        "pretrain", *data_overrides, *SMALL, "model=lstm_decoder", "budget.steps=12", "validate_every=6",
        "batching.length=32", "batching.batch_size=8",
    )  # fmt: skip


@pytest.fixture(scope="session")
def finetuned(groundup, data_overrides, pretrained) -> Path:
    """A classifier that starts from ``pretrained``."""
    return groundup(
        "finetune", *data_overrides, "data.label=subject", *SMALL[2:], f"init_from={pretrained}",
        "budget.epochs=12", "validate_every=30", "optimizer.lr=3e-3", "baselines=true",
    )  # fmt: skip


@pytest.fixture
def read_json():
    return lambda path: json.loads(Path(path).read_text(encoding="utf-8"))
