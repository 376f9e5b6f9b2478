"""``experiment=classifier`` with its defaults on ready sets and on small ones made of them: gain, time and peak memory.

    python benchmarks/classifier.py --root ../shared/data
    python benchmarks/classifier.py --root ../shared/data --sets trec6 trec6_500 --set threads=1

Against the bag of words of the same run, and against the linear experts alone, which are put together by weights of their
own; on the same test rows, paired. Finished runs are not run again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from once import metric, run_once, state

from groundup.metrics.classification import ACCURACY, judge_classes
from groundup.metrics.estimate import Estimate
from groundup.metrics.paired import difference
from groundup.runs.folder import RunFolder

READY = ("trec6", "sst2_sentences", "chnsenticorp", "ag_news")
LINEAR = ("bag_of_words", "naive_bayes", "words_and_characters", "surface")
COST = "cost.json"


@dataclass(frozen=True)
class Small:
    """``rows`` of the train split of ``source``, drawn with a fixed seed, of these ``labels`` alone; test as it is."""

    source: str
    rows: int
    labels: tuple[str, ...] = ()
    train: str = "train"

    def read(self, root: Path, split: str) -> list[dict[str, str]]:
        with gzip.open(root / self.source / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return [row for row in rows if not self.labels or row["label"] in self.labels]

    def write(self, root: Path, folder: Path) -> list[str]:
        """Files in ``folder``, and the overrides that name them."""
        folder.mkdir(parents=True, exist_ok=True)
        drawn = random.Random(1).sample(self.read(root, self.train), self.rows)
        for name, rows in (("train", drawn), ("test", self.read(root, "test"))):
            with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
                table = csv.DictWriter(file, ["text", "label"], extrasaction="ignore")
                table.writeheader()
                table.writerows(rows)
        return ["data=files", f"data.train={folder}/train.csv", f"data.test={folder}/test.csv"]


SMALL = {
    "trec6_500": Small("trec6", 500),
    "sst2_sentences_1000": Small("sst2", 1000, train="train_sentences"),
    "ag_news_500": Small("ag_news", 500),
    "chnsenticorp_2000": Small("chnsenticorp", 2000),
    "ag_news_two_5000": Small("ag_news", 5000, labels=("Business", "Sci/Tech")),  # the two that are most alike
}


def run_measured(run: Path, overrides: list[str]) -> dict[str, float]:
    """Runs the pipeline, if it is not done, and keeps what it cost: minutes of the clock and of the processor, peak GB."""
    if state(run) != "done":
        begun = time.perf_counter()
        command = [sys.executable, "-m", "groundup", "pipeline", *overrides, f"hydra.run.dir={run}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"exit {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
        cost = {
            "minutes": (time.perf_counter() - begun) / 60,
            "processor_minutes": (used.ru_utime + used.ru_stime) / 60,
            "peak_gb": used.ru_maxrss * 1024 / 1e9,
        }
        (run / COST).write_text(json.dumps(cost), encoding="utf-8")
    return json.loads((run / COST).read_text(encoding="utf-8"))


def gain(ours: Path, theirs: Path) -> Estimate:
    """Accuracy of one run minus that of another on the same test rows, with its 95 % interval."""
    mine, other = (RunFolder(run).read_predictions() for run in (ours, theirs))
    everything = slice(0, len(mine))
    return difference(*([(everything, judge_classes(rows))] for rows in (mine, other)), ACCURACY, len(mine))


def one_set(name: str, arguments: argparse.Namespace) -> tuple[str, float, float]:
    """Its line of the table; all together minus the bag of words, and minus the linear experts alone, in points."""
    folder = arguments.logs / name
    small = SMALL.get(name)
    data = small.write(arguments.root, folder / "data") if small else [f"data={name}", f"data.root={arguments.root}"]
    run = folder / "pipeline"
    cost = run_measured(run, ["experiment=classifier", f"budget.minutes={arguments.minutes}", *data, *arguments.set])
    members = ",".join(str(run / expert) for expert in LINEAR)
    linear = run_once(folder / "linear", "ensemble", [f"members=[{members}]"])
    whole = run / "ensemble"
    more, above = gain(whole, run / "bag_of_words"), gain(whole, linear)
    shown = [f"{metric(one, 'test/accuracy'):.4f}" for one in (run / "bag_of_words", linear, run / "network", whole)]
    cells = [
        name,
        *shown,
        *(f"{100 * one.value:+.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]" for one in (more, above)),
    ]
    cells += [f"{cost['minutes']:.1f}", f"{cost['processor_minutes']:.1f}", f"{cost['peak_gb']:.2f}"]
    return f"| {' | '.join(cells)} |", 100 * more.value, 100 * above.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("../shared/data"), help="folder with NAME/SPLIT.jsonl.gz")
    parser.add_argument("--sets", nargs="+", choices=[*READY, *SMALL], default=[*READY, *SMALL])
    parser.add_argument("--minutes", type=float, default=20, help="budget.minutes of each")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for each pipeline")
    parser.add_argument("--logs", type=Path, default=Path("logs/benchmarks/classifier"))
    arguments = parser.parse_args()
    arguments.root, arguments.logs = arguments.root.resolve(), arguments.logs.resolve()

    print(
        "| set | bag of words | linear experts | network | all together | minus bag of words | minus linear experts |",
        end="",
    )
    print(" minutes | of the processor | peak GB |\n" + "|---" * 10 + "|")
    gains = []
    for name in arguments.sets:
        line, *found = one_set(name, arguments)
        gains.append(found)
        print(line, flush=True)
    more, above = (statistics.mean(column) for column in zip(*gains, strict=True))
    print(f"mean gain over the bag of words {more:+.2f} points, over the linear experts {above:+.2f}")


if __name__ == "__main__":
    main()
