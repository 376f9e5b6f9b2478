"""Graphs of every task with an encoder against torch: batches of 1 and 7, of 1 token to all that the model has room for.

    python benchmarks/graphs.py --folder /tmp/graphs

Each run is trained for some steps, exported by ``groundup export format=onnx``, and its graph compared once more. Bar: at most
1e-4, and the same answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from groundup import cli
from groundup.stages import onnx
from groundup.stages.loading import load_network

TASKS = {
    "classification": ["data=python_docs_topic"],
    "tagging": ["data=python_docs_entities", "task=tagging"],
    "regression, pairs as one text": ["data=python_docs_related", "task=regression", "task.pair=joint"],
    "question answering": ["data=python_docs_qa", "task=question_answering"],
    "masked_lm": ["data=python_docs", "task=masked_lm", "batching=packed", "batching.length=128"],
}
MODELS = ["transformer_encoder", "bilstm_encoder", "cnn_encoder"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    asked = parser.parse_args()
    print("| task | model | tokens at most | largest difference | file |\n|---|---|---:|---:|---:|")
    for task in asked.only:
        for model in MODELS:
            run, file = asked.folder / f"{task} {model}", asked.folder / f"{task} {model} graph" / "model.onnx"
            common = [f"model={model}", "size=tiny", f"budget.steps={asked.steps}", f"threads={asked.threads}"]
            common += ["logger=none", "+trainer.limit_val_batches=2", "+trainer.limit_test_batches=2"]
            assert cli.run(["finetune", *TASKS[task], *common, f"hydra.run.dir={run}"]) == 0
            assert cli.run(["export", f"run={run}", "format=onnx", f"output={file}", f"threads={asked.threads}"]) == 0
            graph = onnx.Graph(load_network(run, use="network").task).eval()
            limit = onnx.limit_of(graph.task)
            worst = onnx.check(graph, file, limit)  # raises where an answer differs
            print(f"| {task} | {model} | {limit:,} | {worst:.1e} | {file.stat().st_size / 1e6:.1f} MB |", flush=True)


if __name__ == "__main__":
    main()
