"""Sentences a second of a finished translation run on its own test split: greedy and beam 5, and their BLEU.

    python benchmarks/decoding.py RUN --batch-size 100

From raw text to raw text, in one process: tokenizing, encoding, decoding, spelling. Each method goes through the
split ``--rounds`` times; the median counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # what the command sets

import torch

from groundup.config.build import instantiate
from groundup.config.compose import compose
from groundup.metrics.generation import references_of
from groundup.metrics.overlap import bleu
from groundup.stages.build import prepare_process
from groundup.stages.loading import load_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--split", default="test")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()

    prepare_process(arguments.threads)
    loaded = load_run(arguments.run)
    rows = list(instantiate(loaded.config.data, "data").rows(arguments.split))
    sources = [{"source": row["source"]} for row in rows]
    print("| method | sentences/s: median (lowest to highest) | BLEU |\n|---|---|---|")
    for name, overrides in {"greedy": ["decoding=greedy"], "beam 5": ["decoding=beam", "decoding.beam_size=5"]}.items():
        loaded = load_run(arguments.run, decoding=compose("predict", [*overrides, "run=x", "input=x"]).decoding)
        rates = []
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            found = list(loaded.answer(sources, arguments.batch_size))
            rates.append(len(rows) / (time.perf_counter() - started))
        score = bleu([one["prediction"] for one in found], [references_of(row) for row in rows])
        speed = f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
        print(f"| {name} | {speed} | {score.value:.2f} [{score.low:.2f}, {score.high:.2f}] |", flush=True)
    print(f"{len(rows)} rows, batches of {arguments.batch_size}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
