"""Real tokens a second and padding, against the Trainer of Hugging Face transformers with its defaults (bar 2x, 10 %).

    .venv/bin/pip install -c constraints.txt -e '.[bench]'
    python benchmarks/padding.py --root ../shared/data

SST-2 phrases, at most 64 tokens, batches of 64, an encoder of 4 layers x 128 on either side, the same WordPiece ids.
Two processes take turns of some steps on all cores; the one whose turn it is not sleeps.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.update(WANDB_MODE="offline", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from built import Built, build
from torch import Tensor

SETTINGS = [
    "data=sst2",
    "model=transformer_encoder",
    "size=tiny",
    "tokenizer=wordpiece",
    "tokenizer.vocab_size=8192",
    "tokenizer.lowercase=true",
    "batching=bucketed",
    "batching.batch_size=64",
    "batching.max_length=64",
]


class Turn:
    """One side's end of the line: it trains only while it has the turn, and reports each turn it had."""

    def __init__(self, line: Connection, steps: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.line, self.steps, self.clock = line, steps, clock
        self._begin()

    def _begin(self) -> None:
        self.line.recv()
        self.done, self.real, self.positions, self.started = 0, 0, 0, self.clock()

    def step(self, batch: dict[str, Tensor]) -> None:
        """Counts a batch that was just trained on; waits at the end of a turn."""
        positions, mask = batch["input_ids"].numel(), batch.get("attention_mask")
        self.done += 1
        self.positions += positions
        self.real += positions if mask is None else int(mask.sum())  # without padding there is no mask
        if self.done == self.steps:
            self.line.send((self.clock() - self.started, self.real, self.positions))
            self._begin()


def sst2(root: str, folder: Path) -> Built:
    return build("finetune", [*SETTINGS, f"data.root={root}"], folder, steps=100_000)


def ours(line: Connection, root: str, folder: Path, steps: int) -> None:
    """``groundup finetune data=sst2`` with its default callbacks, logger, optimizer and schedule."""
    built = sst2(root, folder)
    line.send(sum(p.numel() for p in built.task.parameters()))
    turn = Turn(line, steps)
    built.task.on_train_batch_end = lambda outputs, batch, index: turn.step(batch)
    built.fit()


def theirs(line: Connection, root: str, folder: Path, steps: int) -> None:
    """transformers.Trainer: random batches padded to their longest row, fused AdamW, BERT of the same size."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
    )
    from transformers import TrainingArguments as Arguments

    data = sst2(root, folder).data
    examples = data.examples("train")
    rows = [
        {"input_ids": e["input_ids"].tolist(), "label": e["labels"]}
        for e in (examples[0, i] for i in range(len(examples)))
    ]
    data.tokenizer.save(folder / "tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    size = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=tokenizer.vocab_size, max_position_embeddings=64, **size)
    )
    line.send(model.num_parameters())
    turn = Turn(line, steps)
    last: dict[str, Tensor] = {}

    class Counting(Trainer):
        def training_step(self, model, inputs, *more):  # type: ignore[no-untyped-def]
            last.update(inputs)
            return super().training_step(model, inputs, *more)

    class AtStepEnd(TrainerCallback):
        def on_step_end(self, *state, **more):  # type: ignore[no-untyped-def]
            turn.step(last)

    settings = Arguments(
        output_dir=str(folder), per_device_train_batch_size=64, max_steps=100_000, learning_rate=5e-4, warmup_steps=100,
        report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, optim="adamw_torch_fused", seed=1,
    )  # fmt: skip
    Counting(
        model=model, args=settings, train_dataset=rows, processing_class=tokenizer, callbacks=[AtStepEnd()]
    ).train()


def report(turns: dict[str, list[tuple[float, int, int]]], steps: int) -> bool:
    """Prints one row a side and the ratio of real tokens a second; whether both bars are met."""
    rates, padding = {}, {}
    print("| loop | real tokens/s, median turn | slowest to fastest | positions/s | padding | ms a step |")
    print("|---" * 6 + "|")
    for name, all_turns in turns.items():
        seconds, real, positions = zip(*all_turns[1:], strict=True)  # the first turn warms up
        rates[name] = [r / s for r, s in zip(real, seconds, strict=True)]
        padding[name] = 1 - sum(real) / sum(positions)
        print(
            f"| {name} | {statistics.median(rates[name]):,.0f} | {min(rates[name]):,.0f} to {max(rates[name]):,.0f} | "
            f"{sum(positions) / sum(seconds):,.0f} | {padding[name]:.1%} | {1e3 * statistics.median(seconds) / steps:.0f} |"
        )
    ratio = statistics.median(o / t for o, t in zip(rates["ours"], rates["theirs"], strict=True))
    print(
        f"ours / theirs, median over pairs of turns: {ratio:.2f} (bar 2); our padding {padding['ours']:.1%} (bar 10 %)"
    )
    return ratio >= 2 and padding["ours"] <= 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root", default=os.environ.get("GROUNDUP_DATA_ROOT", "../shared/data"), help="folder that holds sst2/"
    )
    parser.add_argument("--steps", type=int, default=50, help="in a turn")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side, after one to warm up")
    arguments = parser.parse_args()
    spawn, sides, turns = multiprocessing.get_context("spawn"), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for side in (ours, theirs):  # one after the other: each is ready before the next begins to prepare
            here, there = spawn.Pipe()
            work = (there, str(Path(arguments.root).resolve()), Path(folder) / side.__name__, arguments.steps)
            process = spawn.Process(target=side, args=work, daemon=True)
            process.start()
            there.close()
            sides[side.__name__], turns[side.__name__] = (process, here), []
            print(f"{side.__name__}: {here.recv():,} parameters", flush=True)
        for _ in range(arguments.rounds + 1):
            for name, (_, line) in sides.items():
                line.send("your turn")
                turns[name].append(line.recv())
        for process, _ in sides.values():
            process.kill()
            process.join()
    print(f"{arguments.rounds} turns of {arguments.steps} steps each, all {os.cpu_count()} cores")
    raise SystemExit(0 if report(turns, arguments.steps) else 1)


if __name__ == "__main__":
    main()
