"""``groundup export format=onnx``: a graph that answers as torch does, or no file at all."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from seed import SEED

from groundup.data.facts import Facts, Scale
from groundup.errors import UserError
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.recurrent import RecurrentEncoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.stages import onnx
from groundup.stages.loading import load_network
from groundup.tasks.masked_lm import MaskedLM
from groundup.tasks.multilabel import MultiLabel
from groundup.tasks.question_answering import QuestionAnswering
from groundup.tasks.regression import Regression
from groundup.tasks.span_corruption import SpanCorruption
from groundup.tasks.tagging import Tagging

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def bilstm(groundup, data_overrides):
    words = [*data_overrides, "data.label=subject", "wandb.mode=disabled", "threads=1", "budget.steps=2"]
    return groundup("finetune", *words, "size=nano", "model=bilstm_encoder", "tokenizer.vocab_size=300")


@pytest.fixture(scope="module")
def exported(groundup, finetuned, bilstm, language_model, tmp_path_factory):
    """Run -> its graph."""
    found = {}
    for name, run in {"transformer": finetuned, "bilstm": bilstm, "decoder": language_model}.items():
        output = tmp_path_factory.mktemp(name) / "model.onnx"
        from groundup import cli

        assert cli.run(["export", f"run={run}", "format=onnx", f"output={output}", "threads=1"]) == 0
        found[name] = run, output
    return found


@pytest.mark.parametrize("name", ["transformer", "bilstm", "decoder"])
def test_a_graph_answers_as_the_run_does_for_any_batch_and_length(name, exported):
    run, output = exported[name]
    task = load_network(run, use="evaluate").task
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(3)
    for rows, length in ((1, 1), (1, 40), (7, 1), (5, 23)):
        ids = generator.integers(0, task.facts.vocab_size, (rows, length))
        mask = (np.arange(length) < generator.integers(1, length + 1, (rows, 1))).astype(np.int64)
        (theirs,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        with torch.inference_mode():
            ours = task.graph(
                {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask) == 1}
            ).numpy()
        keep = mask == 1 if ours.ndim > 2 else slice(None)
        assert np.abs(ours - theirs)[keep].max() <= 1e-4


SPECIAL = {f"{role}_id": place for place, role in enumerate(("pad", "unk", "bos", "eos", "sep", "mask", "cls"))}
OTHERS = {
    "a tagger, BiLSTM": (Tagging, RecurrentEncoder, {"labels": ("O", "B-PER", "I-PER"), "label_counts": (5, 3, 2)}),
    "masked words, BiLSTM": (MaskedLM, RecurrentEncoder, {}),
    "answers of a text": (QuestionAnswering, TransformerEncoder, {}),
    "a number": (Regression, RecurrentEncoder, {"scale": Scale(2.5, 1.5, 0.0, 5.0)}),
    "a number, of one token": (
        partial(Regression, pooling="cls"),
        TransformerEncoder,
        {"scale": Scale(2.5, 1.5, 0.0, 5.0)},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_graphs_of_other_tasks_answer_as_torch_does(name, tmp_path):
    kind, model, more = OTHERS[name]
    torch.manual_seed(SEED)
    sizes = {"heads": 2, "max_length": 24, "zero_init": False} if model is TransformerEncoder else {}
    task = kind(model(40, width=16, layers=1, **sizes), Facts(vocab_size=40, **SPECIAL, **more), None)  # type: ignore[arg-type]
    for parameter in task.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    graph, limit = onnx.Graph(task.eval()).eval(), 24
    onnx.write(graph, tmp_path / "model.onnx", limit)
    assert onnx.check(graph, tmp_path / "model.onnx", limit) <= 1e-4  # batches of 1 and 7, of 1 token to the limit


def test_thresholds_that_a_validation_chose_are_told_beside_the_graph(tmp_path):
    labels, chosen = ("tea", "苦味", "milk"), [0.25, 0.5, 0.75]
    facts = Facts(vocab_size=40, **SPECIAL, labels=labels, label_counts=(3, 2, 1))
    task = MultiLabel(RecurrentEncoder(40, width=16, layers=1), facts, None, threshold="validation")  # type: ignore[arg-type]
    task.thresholds.copy_(torch.tensor(chosen))
    onnx.export(SimpleNamespace(task=task), tmp_path / "model.onnx")  # type: ignore[arg-type]
    told = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).get_modelmeta().custom_metadata_map
    assert json.loads(told["decision_thresholds"]) == dict(zip(labels, chosen, strict=True))


def test_tokenizer_and_labels_lie_beside_it(exported, finetuned):
    _, output = exported["transformer"]
    for name in ("tokenizer.json", "labels.json"):
        assert (output.parent / name).read_text(encoding="utf-8") == (finetuned / name).read_text(encoding="utf-8")
    assert sorted(file.name for file in output.parent.iterdir()) == ["labels.json", "model.onnx", "tokenizer.json"]


def test_a_graph_that_answers_otherwise_leaves_no_file(finetuned, tmp_path, capsys, monkeypatch):
    from groundup import cli

    monkeypatch.setattr(onnx, "write", lambda graph, file, limit: wrong(graph, file))
    output = tmp_path / "deep" / "model.onnx"
    assert cli.run(["export", f"run={finetuned}", "format=onnx", f"output={output}", "threads=1"]) == 2
    assert "onnxruntime and torch differ" in capsys.readouterr().err
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def wrong(graph, file):
    """A graph of the right shape that says 1 to everything."""
    import onnx as format

    helper, kind = format.helper, format.TensorProto
    ids, mask = (helper.make_tensor_value_info(name, kind.INT64, ["B", "T"]) for name in graph.task.graph_inputs)
    out = helper.make_tensor_value_info("logits", kind.FLOAT, ["B", "C"])
    classes = len(graph.task.facts.labels)
    nodes = [
        helper.make_node("ReduceSum", ["input_ids", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["real"], to=kind.FLOAT),
        helper.make_node("Mul", ["real", "zeros"], ["none"]),
        helper.make_node("Add", ["none", "ones"], ["logits"]),
    ]
    fixed = [
        helper.make_tensor("axis", kind.INT64, [1], [1]),
        helper.make_tensor("zeros", kind.FLOAT, [classes], [0.0] * classes),
        helper.make_tensor("ones", kind.FLOAT, [classes], [1.0] * classes),
    ]
    made = helper.make_graph(nodes, "wrong", [ids, mask], [out], fixed)
    format.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(file))


def test_what_cannot_be_exported_is_refused_in_one_line(exported, finetuned, groundup, tmp_path, capsys):
    from groundup import cli

    def refused(*words: str) -> str:
        assert cli.run(["export", *words]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    sides = {"encoder": TransformerEncoder, "decoder": partial(TransformerDecoder, cross_attention=True)}
    pair = EncoderDecoder(40, **{name: partial(side, width=8, layers=1, heads=2) for name, side in sides.items()})
    spans = SpanCorruption(pair, Facts(vocab_size=40, **SPECIAL), None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="an encoder-decoder is no one graph"):
        onnx.export(SimpleNamespace(task=spans), tmp_path / "pair.onnx")  # type: ignore[arg-type]
    (tmp_path / "labels.json").write_text(json.dumps(["mine"]), encoding="utf-8")
    assert "belongs to something else" in refused(f"run={finetuned}", f"output={tmp_path / 'model.onnx'}")
    assert "write a .onnx" in refused(f"run={finetuned}", f"output={tmp_path / 'model.pt'}")
    assert "must be one of onnx" in refused(f"run={finetuned}", f"output={tmp_path / 'm.onnx'}", "format=latex")
    quantized = groundup("compress", f"run={finetuned}", "method=quantize", "threads=1")
    assert "is quantized" in refused(f"run={quantized}", f"output={tmp_path / 'x' / 'm.onnx'}")
    assert "is quantized" in refused(f"run={quantized}", "format=hf", f"output={tmp_path / 'hf'}")
