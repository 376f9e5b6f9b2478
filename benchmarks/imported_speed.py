"""Fine-tuning an imported BERT of 6 layers x 384 here, and the same folder by Transformers' own ``Trainer`` (bar 1.5x).

    .venv/bin/pip install -c constraints.txt -e '.[bench]' accelerate
    python benchmarks/imported_speed.py --root ../shared/data --data ag_news

The folder is written by Transformers: a WordPiece vocabulary learned from the rows, weights at random. Both sides read the same
rows, in batches of 32, cut at 128 tokens, on as many threads. The Trainer has its stock settings, and pads each batch to its
longest row; ``grouped`` is the same with ``train_sampling_strategy="group_by_length"``. Neither saves nor validates.
``--attention-dropout``: theirs within attention, which ours lacks; 0 lets both compute the same.
Each side is a process; they take turns of some steps, and the one whose turn it is not sleeps.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.update(WANDB_MODE="offline", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
import transformers as hf
from built import build
from exchange import learned
from padding import Turn
from torch import Tensor

from groundup import cli

SIZE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
ENOUGH = 100_000  # steps; a side is stopped from outside


@dataclass(frozen=True)
class Given:
    """What both sides start from: ``model``, a folder of Transformers'; ``rows``, a file of texts and labels."""

    model: Path
    rows: Path
    work: Path
    threads: int
    steps: int
    batch_size: int
    max_length: int
    cpu_time: bool

    def turn(self, line: Connection) -> Turn:
        return Turn(line, self.steps, time.process_time if self.cpu_time else time.perf_counter)


def prepare(folder: Path, source: Path, count: int, vocabulary: int, attention_dropout: float) -> tuple[Path, Path]:
    """Writes the rows and the model."""
    rows = folder / "rows.jsonl"
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows.write_text("".join(itertools.islice(lines, count)), encoding="utf-8")
    texts = [json.loads(line)["text"] for line in rows.read_text("utf-8").splitlines()]
    tokenizer = learned("bert", texts, vocabulary)
    torch.manual_seed(1)
    config = hf.BertConfig(vocab_size=len(tokenizer), attention_probs_dropout_prob=attention_dropout, **SIZE)
    hf.BertForMaskedLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model", rows


def ours(line: Connection, given: Given) -> None:
    """``groundup import``, then ``groundup finetune init_from=`` with its default callbacks, logger, optimizer and schedule."""
    assert cli.run(["import", f"path={given.model}", f"hydra.run.dir={given.work / 'imported'}"]) == 0
    words = [
        f"init_from={given.work / 'imported'}",
        f"data.train={given.rows}",
        "data=files",
        "data.text=text",
        "data.label=label",
        f"batching.batch_size={given.batch_size}",
        f"batching.max_length={given.max_length}",
        f"checkpoint_every={ENOUGH}",
        f"threads={given.threads}",
    ]
    built = build("finetune", words, given.work / "run", ENOUGH)
    line.send(sum(p.numel() for p in built.task.parameters()))
    turn = given.turn(line)
    built.task.on_train_batch_end = lambda outputs, batch, index: turn.step(batch)
    built.fit()


def theirs(line: Connection, given: Given, sampling: str = "random") -> None:
    """``transformers.Trainer``."""
    torch.set_num_threads(given.threads)
    hf.logging.set_verbosity_error()
    rows = [json.loads(text) for text in given.rows.read_text("utf-8").splitlines()]
    names = sorted({row["label"] for row in rows})
    tokenizer = hf.AutoTokenizer.from_pretrained(given.model)
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=given.max_length)["input_ids"]
    examples = [{"input_ids": ids, "label": names.index(row["label"])} for ids, row in zip(encoded, rows, strict=True)]
    model = hf.AutoModelForSequenceClassification.from_pretrained(given.model, num_labels=len(names))
    line.send(model.num_parameters())
    turn = given.turn(line)
    last: dict[str, Tensor] = {}

    class Counting(hf.Trainer):
        def training_step(self, model, inputs, *more):  # type: ignore[no-untyped-def]
            last.update(inputs)
            return super().training_step(model, inputs, *more)

    class AtStepEnd(hf.TrainerCallback):
        def on_step_end(self, *state, **more):  # type: ignore[no-untyped-def]
            turn.step(last)

    settings = hf.TrainingArguments(
        output_dir=str(given.work), per_device_train_batch_size=given.batch_size, max_steps=ENOUGH, use_cpu=True,
        train_sampling_strategy=sampling, report_to=[], save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    collator = hf.DataCollatorWithPadding(tokenizer)
    more = {"data_collator": collator, "processing_class": tokenizer, "callbacks": [AtStepEnd()]}
    Counting(model=model, args=settings, train_dataset=examples, **more).train()


SIDES = {"groundup": ours, "Trainer": theirs, "Trainer, grouped": partial(theirs, sampling="group_by_length")}


def side(name: str, line: Connection, given: Given) -> None:
    """The process of a side."""
    SIDES[name](line, given)


def report(turns: dict[str, list[tuple[float, int, int]]], memory: dict[str, float], steps: int) -> None:
    """Prints a row a side, with how many times slower than ours it is: the median over pairs of turns."""
    print("| loop | real tokens/s, median turn | slowest to fastest | padding | ms a step | memory | ours is faster |")
    print("|---" + "|---:" * 6 + "|")
    rates = {name: [real / seconds for seconds, real, _ in all_turns] for name, all_turns in turns.items()}
    for name, all_turns in turns.items():
        seconds, real, positions = zip(*all_turns, strict=True)
        ratio = statistics.median(one / other for one, other in zip(rates["groundup"], rates[name], strict=True))
        print(
            f"| {name} | {statistics.median(rates[name]):,.0f} | {min(rates[name]):,.0f} to {max(rates[name]):,.0f} | "
            f"{1 - sum(real) / sum(positions):.1%} | {1e3 * statistics.median(seconds) / steps:.0f} | "
            f"{memory[name]:,.0f} MB | {ratio:.2f}x |"
        )


def largest_memory(process: int) -> float:
    """Of a process so far, MB (Linux)."""
    (line,) = (one for one in Path(f"/proc/{process}/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("GROUNDUP_DATA_ROOT", "../shared/data"))
    parser.add_argument("--data", choices=["ag_news", "chnsenticorp"], default="ag_news")
    parser.add_argument("--rows", type=int, default=8000, help="the first so many of its train split")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--attention-dropout", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=10, help="in a turn")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each side, after one to warm up")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of each process, for a machine that has other work, too"
    )
    asked = parser.parse_args()
    spawn, sides, turns = multiprocessing.get_context("spawn"), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        source = asked.root.resolve() / asked.data / "train.jsonl.gz"
        made = prepare(Path(folder), source, asked.rows, asked.vocabulary, asked.attention_dropout)
        for number, name in enumerate(SIDES):  # one after the other: each is ready before the next begins to prepare
            here, there = spawn.Pipe()
            work = Path(folder) / str(number)
            given = Given(*made, work, asked.threads, asked.steps, asked.batch_size, asked.max_length, asked.cpu_time)
            process = spawn.Process(target=side, args=(name, there, given), daemon=True)
            process.start()
            there.close()
            sides[name], turns[name] = (process, here), []
            print(f"{name}: {here.recv():,} parameters", flush=True)
        for _ in range(asked.rounds + 1):
            for name, (_, line) in sides.items():
                line.send("your turn")
                turns[name].append(line.recv())
        memory = {name: largest_memory(process.pid) for name, (process, _) in sides.items()}
        for process, _ in sides.values():
            process.kill()
            process.join()
    print(f"{asked.data}: {asked.rounds} turns of {asked.steps} steps each, {asked.threads} threads")
    report({name: all_turns[1:] for name, all_turns in turns.items()}, memory, asked.steps)


if __name__ == "__main__":
    main()
