"""What small models reach beside the runs that they come from: distill, quantize, prune, export.

    python benchmarks/small_models.py --seeds 1 2 3 --folder /tmp/small
    python benchmarks/small_models.py --seeds 1 --folder /tmp/small --only quantize prune onnx

For each seed a teacher is trained (``finetune``, tiny, python_docs_topic) unless it is in the folder already; then a student of
nano by ``distill`` and the same one on labels alone (``alpha=0``); then the teacher is quantized and pruned, and its graph is
timed by onnxruntime. Prints a line of JSON for each, and at the end means.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, median

import torch

from groundup import cli
from groundup.runs.checkpoints import load_checkpoint
from groundup.stages import onnx
from groundup.stages.beside import SECONDS
from groundup.stages.loading import load_network

COMMON = ["data=python_docs_topic", "logger=none"]
SCORE = "test/accuracy"


def made(folder: Path, *words: str) -> Path:
    """The run of this command; one that is done already is taken."""
    status = folder / "status.json"
    if not (status.is_file() and json.loads(status.read_text())["state"] == "done"):
        assert cli.run([*words, f"hydra.run.dir={folder}"]) == 0
    return folder


def beside(run: Path) -> dict:
    """The two rows of its report, and how they compare."""
    before, after = json.loads((run / "beside.json").read_text())["rows"]
    faster = {count: round(before["seconds"][count] / after["seconds"][count], 2) for count in after["seconds"]}
    share = {key: round(after[key] / before[key], 3) for key in ("bytes", "parameters")}
    scores = {"before": round(before[SCORE]["value"], 4), "after": round(after[SCORE]["value"], 4)}
    return {
        **scores,
        "share of": share,
        "times faster": faster,
        "ms": {k: round(v * 1e3, 2) for k, v in after["seconds"].items()},
    }


def linear_bytes(before: Path, after: Path) -> float:
    """Bytes of the linear maps' matrices and scales, as a share of what they were."""
    one, other = (load_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"] for run in (before, after))
    small = [name for name, value in other.items() if value.dtype == torch.int8]
    scales = [f"{name.removesuffix('weight')}scale" for name in small]
    return sum(other[name].nbytes for name in small + scales) / sum(one[name].nbytes for name in small)


def times_faster(slow, fast) -> float:
    """How much longer ``slow`` takes than ``fast``: the median over pairs, after one of each to warm up; they take turns, so
    that whatever else the machine does meets both alike."""
    ratios, end = [], time.perf_counter() + 4 * SECONDS
    while time.perf_counter() < end or len(ratios) < 10:
        marks = [time.perf_counter()]
        for call in (slow, fast):
            call()
            marks.append(time.perf_counter())
        ratios.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    return median(ratios[1:])


def graph(run: Path, output: Path, threads: int) -> dict:
    """Exports the run, and how far and how fast its graph is."""
    import onnxruntime

    assert cli.run(["export", f"run={run}", "format=onnx", f"output={output}", f"threads={threads}"]) == 0
    module = onnx.Graph(load_network(run, use="evaluate").task).eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(output), options, providers=["CPUExecutionProvider"])
    found = {
        "difference": onnx.check(module, output, onnx.limit_of(module.task)),
        "MB": round(output.stat().st_size / 1e6, 2),
    }
    for rows in (1, 16):
        given = onnx.inputs_of(module.task, rows, 64)
        named = {name: value.numpy() for name, value in zip(module.task.graph_inputs, given, strict=True)}
        with torch.inference_mode():
            ratio = times_faster(lambda given=given: module(*given), lambda named=named: session.run(None, named))
        found[f"times faster, {rows}"] = round(ratio, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parts = ["distill", "quantize", "prune", "onnx"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    given = parser.parse_args()
    threads, found = f"threads={given.threads}", {}
    for seed in given.seeds:
        folder = given.folder / str(seed)
        words = [*COMMON, f"seed={seed}", threads]
        teacher = made(folder / "teacher", "finetune", *words)
        if "distill" in given.only:
            for name, more in {"distill": [], "labels alone": ["alpha=0"]}.items():
                student = made(
                    folder / name.replace(" ", "_"), "distill", *words, f"teacher={teacher}", "size=nano", *more
                )
                found.setdefault(name, []).append(beside(student))
        if "quantize" in given.only:
            small = made(folder / "quantized", "compress", f"run={teacher}", "method=quantize", threads)
            share = round(linear_bytes(teacher, small), 3)
            found.setdefault("quantize", []).append({**beside(small), "linear bytes": share})
        if "prune" in given.only:
            small = made(folder / "pruned", "compress", f"run={teacher}", "method=prune", "amount=0.5", threads)
            found.setdefault("prune", []).append(beside(small))
        if "onnx" in given.only:
            found.setdefault("onnx", []).append(graph(teacher, folder / "onnx" / "model.onnx", given.threads))
    for name, rows in found.items():
        for seed, row in zip(given.seeds, rows, strict=True):
            print(json.dumps({"what": name, "seed": seed, **row}))
        if "after" in rows[0]:
            before, after = (mean(row[key] for row in rows) for key in ("before", "after"))
            print(f"{name}: {before:.4f} -> {after:.4f}, {after / before:.1%}")


if __name__ == "__main__":
    main()
