"""One command with several seeds, and the mean of a metric.

    python benchmarks/seeds.py --metric validation/loss pretrain experiment=shakespeare_cpu data.root=../shared/data

Interrupt it and start it again as you like: finished runs are not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from once import mean_and_range, metric, run_once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["pretrain", "finetune"])
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, as for groundup")
    parser.add_argument("--metric", action="append", help="a name in metrics.json; may be given several times")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--logs", type=Path, default=Path("logs/benchmarks/seeds"))
    arguments = parser.parse_intermixed_args()
    names = arguments.metric or ["validation/loss"]

    runs = [
        run_once(arguments.logs / f"{arguments.verb}-{seed}", arguments.verb, [*arguments.overrides, f"seed={seed}"])
        for seed in arguments.seeds
    ]
    print(f"| seed | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for seed, run in zip(arguments.seeds, runs, strict=True):
        print(f"| {seed} | " + " | ".join(f"{metric(run, name):.4f}" for name in names) + " |")
    print("| mean | " + " | ".join(mean_and_range([metric(run, name) for run in runs]) for name in names) + " |")


if __name__ == "__main__":
    main()
