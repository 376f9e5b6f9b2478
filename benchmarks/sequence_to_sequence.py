"""Translation and summarization: several models and seeds of one experiment, one table.

    python benchmarks/sequence_to_sequence.py dates_en_zh
    python benchmarks/sequence_to_sequence.py multi30k_en_de --root ../shared/data
    python benchmarks/sequence_to_sequence.py tatoeba_en_zh --root ../shared/data --pretrain
    python benchmarks/sequence_to_sequence.py aeslc_subject --root ../shared/data

``--pretrain``: also from weights pretrained on the monolingual sides of the training split: the encoder by masked
language modelling on the sources, the decoder by causal language modelling on the targets. Finished runs are not run
again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from once import run_once

MODELS = {
    "Transformer": [],
    "LSTM": ["model=lstm_encoder_decoder"],
    "decoder alone": ["model=transformer_decoder"],
}
SHOWN = (
    "bleu",
    "chrf",
    "exact_match",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "exact_match_new_years",
    "exact_match_new_formats",
)
# The parts of tatoeba_en_zh's models, each with the vocabulary it has there.
ENCODER = ["task=masked_lm", "task.mask_rate=0.3", "tokenizer.vocab_size=6000", "data.text=en"]
DECODER = ["task=causal_lm", "tokenizer=char", "data.text=zh"]
PARTS = {
    "Transformer": (["model=transformer_encoder", "size.layers=3"], ["model=transformer_decoder", "size.layers=3"]),
    "LSTM": (["model=bilstm_encoder", "model.layers=3"], ["model=lstm_decoder", "model.layers=3"]),
}


def pretrained_parts(model: str, arguments: argparse.Namespace) -> list[str]:
    """Overrides that start from an encoder and a decoder pretrained on one side of the training pairs each."""
    files = ["data=files", f"data.root={arguments.root}", "data.train=tatoeba_en_zh/train.jsonl.gz"]
    files += ["data.validation=tatoeba_en_zh/validation.jsonl.gz", "batching.length=64", "batching.batch_size=48"]
    overrides = []
    for part, side, words in zip(("encoder", "decoder"), (ENCODER, DECODER), PARTS[model], strict=True):
        settings = [*files, *side, *words, "budget.epochs=10", "validate_every=200", *arguments.set]
        run = run_once(arguments.logs / "tatoeba_en_zh" / f"{model}-{part}", "pretrain", settings)
        overrides.append(f"init_from.{part}={run}")
    return overrides


def line(name: str, runs: list[dict]) -> str:
    """Mean over seeds of each metric of the test split; the interval is that of the first seed."""
    cells = []
    for metric in (f"test/{shown}" for shown in SHOWN):
        if metric not in runs[0]:
            continue
        values = [run[metric]["value"] for run in runs]
        low, high = runs[0][metric].get("ci95") or (None, None)
        interval = "" if low is None else f" [{low:.4g}, {high:.4g}]"
        spread = f" ({min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
        cells.append(f"{metric.removeprefix('test/')} {statistics.mean(values):.4g}{spread}{interval}")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--root", type=Path, help="folder with NAME/SPLIT.jsonl.gz")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["Transformer"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--pretrain", action="store_true", help="tatoeba_en_zh: also from pretrained parts")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for every run")
    parser.add_argument("--logs", type=Path, default=Path("logs/benchmarks/sequence_to_sequence"))
    arguments = parser.parse_args()
    arguments.logs = arguments.logs.resolve()
    root = [] if arguments.root is None else [f"data.root={arguments.root.resolve()}"]
    arguments.root = arguments.root and arguments.root.resolve()
    if arguments.pretrain and arguments.experiment != "tatoeba_en_zh":
        parser.error("--pretrain is for tatoeba_en_zh")

    table: dict[str, list[dict]] = {}
    for model in arguments.models:
        starts = {"random weights": []}
        if arguments.pretrain:
            starts["pretrained"] = pretrained_parts(model, arguments)
        for start, parts in starts.items():
            for seed in arguments.seeds:
                folder = arguments.logs / arguments.experiment / f"{model}-{start}-{seed}".replace(" ", "_")
                words = [f"experiment={arguments.experiment}", *root, *MODELS[model], f"seed={seed}", *parts]
                run = run_once(folder, "finetune", [*words, *arguments.set])
                table.setdefault(f"{model}, {start}", []).append(json.loads((run / "metrics.json").read_text("utf-8")))
                for name, found in json.loads((run / "baselines.json").read_text("utf-8")).items():
                    table.setdefault(name, [found])
    print("\n".join(line(name, runs) for name, runs in table.items()))


if __name__ == "__main__":
    main()
