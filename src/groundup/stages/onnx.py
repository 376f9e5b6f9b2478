"""``format=onnx``: a run's network as a graph for other programs, checked against torch before it gets its name."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.recurrent import Recurrent
from groundup.stages.network import NetworkRun
from groundup.system.files import replacing
from groundup.tasks.base import Task

log = logging.getLogger(__name__)
TOLERANCE = 1e-4
LARGEST = 2_000_000_000  # bytes; a file of this format holds no more
LONGEST = 512  # tokens that a model without a limit is checked with
BATCHES = (1, 7)
OPSET = 18


class Graph(nn.Module):
    """A task as what a graph computes: int64 (B, T) in, the task's ``graph`` out. ``attention_mask``: 1 = real token."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, *inputs: Tensor) -> Tensor:
        batch = dict(zip(self.task.graph_inputs, inputs, strict=True))
        return self.task.graph({**batch, "attention_mask": batch["attention_mask"] != 0})


def export(run: NetworkRun, output: Path) -> None:
    """Writes the graph to ``output``, whole and checked or not at all, and tokenizer.json and labels.json beside it.

    Raises UserError for a run that is no one graph, and for a graph that does not compute what torch does.
    """
    if run.task.model.reads_characters:
        raise UserError("model.characters is not part of a graph. Use a run without it")
    graph = Graph(run.task).eval()
    size = sum(parameter.numel() for parameter in graph.parameters()) * 4
    if size > LARGEST:
        raise UserError(
            f"{run.folder.path} has {size:,} bytes of weights, and a .onnx holds {LARGEST:,}. Try a smaller run"
        )
    limit = limit_of(run.task)
    with torch.no_grad():
        graph(*inputs_of(run.task, 2, min(5, limit)))  # what a task has no graph for is said here
    with replacing(output) as temporary:
        write(graph, temporary, limit)
        if found := run.task.decision_thresholds():
            put_metadata(temporary, decision_thresholds=json.dumps(found, ensure_ascii=False))
        worst = check(graph, temporary, limit)
    log.info("%s: %.1f MB, as torch computes it to %.1e", output, output.stat().st_size / 1e6, worst)


def limit_of(task: Task) -> int:
    """The most tokens that it is checked with: all that the model has room for."""
    return task.model.max_length or LONGEST


def write(graph: Graph, file: Path, limit: int) -> None:
    """Batch and length stay open."""
    task = graph.task
    given = inputs_of(task, 2, min(9, limit))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)
        if any(isinstance(part, Recurrent) for part in task.model.modules()):
            # The newer exporter unrolls a recurrence over the length that it saw.
            axes = {name: {0: "batch", 1: "length"} for name in task.graph_inputs}
            axes["logits"] = {0: "batch"} if graph(*given).dim() < 3 else {0: "batch", 1: "length"}
            torch.onnx.export(
                graph,
                given,
                str(file),
                dynamo=False,
                input_names=list(task.graph_inputs),
                output_names=["logits"],
                dynamic_axes=axes,
                opset_version=OPSET,
            )
            return
        shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=limit)}
        program = torch.onnx.export(
            graph,
            given,
            dynamo=True,
            input_names=list(task.graph_inputs),
            output_names=["logits"],
            dynamic_shapes=((shape,) * len(given),),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.save(str(file), external_data=False)


def put_metadata(file: Path, **values: str) -> None:
    """Adds to what ``get_modelmeta().custom_metadata_map`` of onnxruntime tells of a graph."""
    import onnx

    model = onnx.load(str(file))
    onnx.helper.set_model_props(model, values)
    onnx.save(model, str(file))


def inputs_of(task: Task, rows: int, length: int) -> tuple[Tensor, ...]:
    """Made-up texts (B, T) of uneven length, the same at each call: ids, mask, and types where it reads them."""
    generator = torch.Generator().manual_seed(rows * 10_000 + length)
    ids = torch.randint(task.facts.vocab_size, (rows, length), generator=generator)
    real = torch.randint(1, length + 1, (rows, 1), generator=generator)
    real[0] = length
    mask = (torch.arange(length) < real).long()
    types = torch.randint(0, 2, (rows, length), generator=generator)
    found = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types * mask}
    return tuple(found[name] for name in task.graph_inputs)


def cases(limit: int) -> Iterator[tuple[int, int]]:
    """(rows, length) that a graph is checked with."""
    lengths = sorted({1, min(2, limit), min(33, limit), limit})
    return ((rows, length) for rows in BATCHES for length in lengths)


def check(graph: Graph, file: Path, limit: int) -> float:
    """The largest difference between onnxruntime and torch. Raises UserError above ``TOLERANCE``, or for another answer."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows, length in cases(limit):
        given = inputs_of(graph.task, rows, length)
        with torch.inference_mode():
            ours = graph(*given)
        names = zip(graph.task.graph_inputs, given, strict=True)
        theirs = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in names})[0])
        if ours.dim() > 2:  # what a model says of padding means nothing
            real = given[1] != 0
            ours, theirs = ours[real], theirs[real]
        finite = ours.isfinite()
        apart = float((ours - theirs)[finite].abs().max()) if finite.any() else 0.0
        same = torch.equal(finite, theirs.isfinite()) and answers_agree(ours, theirs)
        if not (apart <= TOLERANCE and same):
            raise UserError(
                f"onnxruntime and torch differ by {apart:.1e} for {rows} texts of {length} tokens, so nothing was written. "
                "Please report this with the run's config.yaml"
            )
        worst = max(worst, apart)
    return worst


def answers_agree(ours: Tensor, theirs: Tensor) -> bool:
    """Whether the likeliest class of each row is the same, but for what is a tie within the tolerance."""
    if ours.dim() < 2:
        return True
    some = ours.isfinite().all(-1)  # what can be no answer is minus infinity
    ours, theirs = ours[some], theirs[some]
    best = theirs.argmax(-1, keepdim=True)
    return bool((ours.amax(-1, keepdim=True) - ours.gather(-1, best) <= 2 * TOLERANCE).all())
