"""Classification against TF-IDF logistic regression on the same split: random weights, and pretrained ones.

    python benchmarks/classification.py --tasks python_docs_topic --recipe transformer
    python benchmarks/classification.py --root ../shared/data --tasks trec6 sst2_sentences ag_news
    python benchmarks/classification.py --root ../shared/data --tasks trec6 --pretrain budget.steps=6000 --finetune budget.epochs=8

``python_docs_topic`` is pretrained on ``python_docs``; the others on the text of their own training split plus WikiText-2,
never on labels, never on test text. Weights are chosen on the validation split; the test split is only measured.
Finished runs are not run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from once import mean_and_range, metric, run_once

from groundup.metrics.classification import ACCURACY, judge_classes
from groundup.metrics.estimate import Estimate
from groundup.metrics.paired import difference
from groundup.runs.folder import RunFolder

TASKS = ("python_docs_topic", "trec6", "sst2_sentences", "ag_news")
FILES = {"sst2_sentences": "sst2/train_sentences"}  # where the training split is not NAME/train

WORDS = ["tokenizer=wordpiece", "tokenizer.lowercase=true"]
# A bidirectional LSTM reads 2 to 3 times as many tokens a second on a CPU as a Transformer of its quality at this size.
BILSTM = {
    "model": ["model=bilstm_encoder", "size.width=256", *WORDS],
    "pretrain": ["optimizer=adamw", "optimizer.lr=2e-3", "budget.steps=1500", "validate_every=500"],
    "finetune": ["task.pooling=max", "task.dropout=0.3", "model.dropout=0.3", "budget.epochs=6", "validate_every=100"],
}
# The Transformer of experiment=demo, for all labels.
TRANSFORMER = {
    "model": ["model=transformer_encoder", "size.layers=2", *WORDS, "tokenizer.vocab_size=4096"],
    "pretrain": ["batching.length=64", "batching.batch_size=48", "budget.steps=900", "validate_every=300"],
    "finetune": ["model.dropout=0.2", "optimizer.lr=3e-3", "budget.epochs=3", "validate_every=100"],
}
RECIPES = {"bilstm": BILSTM, "transformer": TRANSFORMER}
MASKED = ["task=masked_lm", "task.mask_rate=0.3"]
CHOOSE = ["monitor=validation/accuracy"]
BAG_OF_WORDS = "bag-of-words logistic regression"


def corpus(task: str, root: Path) -> list[str]:
    """Overrides that pretrain on a task's own training text plus WikiText-2, validated on the task's validation text."""
    if task == "python_docs_topic":
        return ["data=python_docs"]
    own = FILES.get(task, f"{task}/train")
    return [
        "data=files",
        f"data.root={root}",
        f"data.train=[{own}.jsonl.gz,wikitext2/train.txt.gz]",
        f"data.validation={own.rpartition('/')[0]}/validation.jsonl.gz",
    ]


def one_seed(task: str, seed: int, arguments: argparse.Namespace) -> dict[str, Path]:
    """The same model with the same fine-tuning, from random and from pretrained weights."""
    folder, recipe = arguments.logs / task / arguments.recipe, RECIPES[arguments.recipe]
    data = [f"data={task}"] + ([] if task == "python_docs_topic" else [f"data.root={arguments.root}"])
    finetune = [*data, f"seed={seed}", *recipe["finetune"], *CHOOSE, *arguments.finetune]
    pretrain = [*corpus(task, arguments.root), *MASKED, *recipe["model"], *recipe["pretrain"], *arguments.pretrain]
    pretrained = run_once(folder / "pretraining", "pretrain", pretrain)  # one for all seeds: it takes most of the time
    finetune.append("baselines=true")
    runs = {"pretrained": run_once(folder / f"pretrained-{seed}", "finetune", [*finetune, f"init_from={pretrained}"])}
    if not arguments.pretrained_only:
        runs["random"] = run_once(folder / f"random-{seed}", "finetune", [*finetune, *recipe["model"]])
    return runs


def row(task: str, runs: list[dict[str, Path]]) -> str:
    """One line of the table: test accuracy of the baselines, and mean and range over seeds of the model."""
    baselines = json.loads((runs[0]["pretrained"] / "baselines.json").read_text(encoding="utf-8"))
    majority, bar = (baselines[name]["test/accuracy"]["value"] for name in ("majority class", BAG_OF_WORDS))
    scores = {start: [metric(run[start], "test/accuracy") for run in runs] for start in runs[0]}
    means = {start: sum(values) / len(values) for start, values in scores.items()}
    gain, random = "-", "-"
    if "random" in scores:
        paired = gain_of(runs[0])
        gain = f"{100 * (means['pretrained'] - means['random']):+.1f} "
        gain += f"(first seed [{100 * paired.low:+.1f}, {100 * paired.high:+.1f}])"
        random = mean_and_range(scores["random"])
    above = f"{100 * (means['pretrained'] - bar):+.1f}"
    return f"| {task} | {majority:.4f} | {bar:.4f} | {random} | {mean_and_range(scores['pretrained'])} | {gain} | {above} |"


def gain_of(run: dict[str, Path]) -> Estimate:
    """Accuracy of the pretrained model minus that of the random one on the same rows, with its 95 % interval."""
    ours, theirs = (RunFolder(run[start]).read_predictions() for start in ("pretrained", "random"))
    everything = slice(0, len(ours))
    sides = ([(everything, judge_classes(rows))] for rows in (ours, theirs))
    return difference(*sides, ACCURACY, len(ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("../shared/data"), help="folder with NAME/SPLIT.jsonl.gz")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pretrain", nargs="+", default=[], metavar="KEY=VALUE", help="after the ones in this file")
    parser.add_argument("--finetune", nargs="+", default=[], metavar="KEY=VALUE", help="the same for every model")
    parser.add_argument("--recipe", choices=RECIPES, default="bilstm")
    parser.add_argument("--pretrained-only", action="store_true", help="leave out the runs from random weights")
    parser.add_argument("--logs", type=Path, default=Path("logs/benchmarks/classification"))
    arguments = parser.parse_args()
    arguments.root, arguments.logs = arguments.root.resolve(), arguments.logs.resolve()

    table = []
    for task in arguments.tasks:
        table.append(row(task, [one_seed(task, seed, arguments) for seed in arguments.seeds]))
        print(table[-1], flush=True)
    print(f"\nTest accuracy, seeds {', '.join(map(str, arguments.seeds))}: mean (lowest to highest)\n")
    print(
        "| task | majority | TF-IDF | random weights | pretrained | points by pretraining | pretrained minus TF-IDF |"
    )
    print("|---" * 7 + "|")
    print("\n".join(table))


if __name__ == "__main__":
    main()
