"""RoBERTa, and heads with labels: classes, several labels, a tag a word. The same logits on either side, and the same answers."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from foreign import bring, byte_level, word_pieces
from tokenizers import processors

from groundup.config.tree import Config
from groundup.data.facts import Facts, Scale
from groundup.errors import UserError
from groundup.models.ngrams import BagOfNgrams
from groundup.stages.export_hf import export_hf
from groundup.stages.importing import look
from groundup.stages.loading import load_network
from groundup.tasks.classification import Classification
from groundup.tasks.regression import Regression

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TAGS = ["O", "B-PER", "I-PER"]
TOPICS = ["tea", "coffee", "milk"]
WORDS = ["with", "file", "raised", "return", "numbers", "inside", "closes", "error"]
CASES = {  # their class -> labels
    "BertForTokenClassification": TAGS,
    "BertForSequenceClassification": TOPICS,
    "RobertaForMaskedLM": [],
    "RobertaForSequenceClassification": TOPICS,
    "RobertaForTokenClassification": TAGS,
}


def theirs(name: str, labels: list[str], **settings):
    """(model with random weights, biases and gains, tokenizer)."""
    names = {
        role: f"[{role[:-6].upper()}]" for role in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    }
    made = word_pieces()
    if roberta := name.startswith("Roberta"):
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        made = byte_level(special)
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        roles = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
        names = dict(zip(roles, special, strict=True)) | {"cls_token": "<s>", "sep_token": "</s>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)
    settings |= {"vocab_size": len(tokenizer), "max_position_embeddings": 66 if roberta else 64, **SIZES}
    if labels:
        settings |= {"id2label": dict(enumerate(labels)), "label2id": {one: n for n, one in enumerate(labels)}}
    if roberta:
        settings |= {"type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**settings))
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=1.5 * parameter.shape[-1] ** -0.5)
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data += 1
    return model.eval(), tokenizer


def cross(folder, name: str, labels: list[str], **settings) -> SimpleNamespace:
    """There, here and back."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    model, tokenizer = theirs(name, labels, **settings)
    model.save_pretrained(folder / "theirs")
    tokenizer.save_pretrained(folder / "theirs")
    run = load_network(bring(folder / "theirs", folder / "run").path, use="evaluate")
    export_hf(run, folder / "ours", None)
    return SimpleNamespace(name=name, model=model, tokenizer=tokenizer, run=run, back=str(folder / "ours"))


@pytest.fixture(scope="module", params=CASES)
def crossed(request, tmp_path_factory):
    return cross(tmp_path_factory.mktemp("crossed"), request.param, CASES[request.param])


def test_logits_are_theirs_in_both_directions(crossed):
    auto = getattr(transformers, f"AutoModelFor{crossed.name.partition('For')[2]}")
    back, pad = auto.from_pretrained(crossed.back).eval(), crossed.tokenizer.pad_token_id
    ids, mask = torch.randint(5, len(crossed.tokenizer), (3, 64)), torch.arange(64) < torch.tensor([[64], [40], [9]])
    ids = ids.masked_fill(~mask, pad)
    with torch.inference_mode():
        expected, returned = (one(ids, attention_mask=mask.long()).logits for one in (crossed.model, back))
        ours = crossed.run.task.graph({"input_ids": ids, "attention_mask": mask})
    keep = mask if expected.dim() > 2 else slice(None)
    assert expected[keep].std() > 0.2  # or equal logits would say little
    torch.testing.assert_close(ours[keep], expected[keep], atol=1e-4, rtol=0)
    torch.testing.assert_close(returned[keep], expected[keep], atol=1e-4, rtol=0)


def test_labels_are_theirs(crossed):
    assert list(crossed.run.labels) == CASES[crossed.name]
    if crossed.run.labels:
        assert [*transformers.AutoConfig.from_pretrained(crossed.back).id2label.values()] == CASES[crossed.name]


def test_what_is_taken_from_o_is_part_of_the_bias_there(crossed, tmp_path):
    if crossed.run.facts.labels[:1] != ("O",):
        pytest.skip("other tasks have no O")
    task = crossed.run.task
    task.outside.fill_(0.75)
    try:
        export_hf(crossed.run, tmp_path / "ours", None)
    finally:
        task.outside.fill_(0.0)
    shifted, plain = (
        transformers.AutoModelForTokenClassification.from_pretrained(folder).classifier.bias
        for folder in (tmp_path / "ours", crossed.back)
    )
    torch.testing.assert_close(plain - shifted, torch.tensor([0.75, 0.0, 0.0]))


def test_a_pipeline_finds_the_tags_and_entities_that_we_predict(crossed):
    if crossed.name != "BertForTokenClassification":
        pytest.skip("other tasks have no entities")
    found = transformers.pipeline(
        "token-classification", model=crossed.back, aggregation_strategy="first", ignore_labels=[]
    )
    texts = [" ".join(pair) for pair in itertools.product(WORDS, WORDS)]
    (ours, whole) = list(crossed.run.answer([{"text": text} for text in texts])), 0
    for text, said, groups in zip(texts, ours, found(texts), strict=True):
        assert said["words"] == text.split()
        tags = [
            tag
            for group in groups
            for tag in [group["entity_group"]] * len(text[group["start"] : group["end"]].split())
        ]
        assert tags == [tag.removeprefix("B-").removeprefix("I-") for tag in said["predicted"]]
        if "I-PER" in said["predicted"][:1] or said["predicted"] == ["O", "I-PER"]:
            continue  # an entity that has no beginning, of which each makes what it likes
        theirs = [(group["start"], group["end"]) for group in groups if group["entity_group"] == "PER"]
        assert theirs == [(one["start"], one["end"]) for one in said["entities"]]
        whole += bool(theirs)
    assert whole  # there were some


def test_several_labels_a_text_are_those_of_a_pipeline(tmp_path):
    both = cross(tmp_path, "BertForSequenceClassification", TOPICS, problem_type="multi_label_classification")
    assert type(both.run.task).__name__ == "MultiLabel"
    found = transformers.pipeline("text-classification", model=both.back, top_k=None)
    texts = [" ".join(pair) for pair in itertools.pairwise(WORDS)]
    for said, theirs in zip(both.run.answer([{"text": text} for text in texts]), found(texts), strict=True):
        assert said["probabilities"] == pytest.approx({one["label"]: one["score"] for one in theirs}, abs=1e-4)
    both.run.task.thresholds.copy_(torch.tensor([0.25, 0.5, 0.75]))  # as a validation may choose them
    export_hf(both.run, tmp_path / "chosen", None)
    told = transformers.AutoConfig.from_pretrained(tmp_path / "chosen").decision_thresholds
    assert told == dict(zip(TOPICS, [0.25, 0.5, 0.75], strict=True))
    assert "tea 0.25, coffee 0.5, milk 0.75" in (tmp_path / "chosen" / "README.md").read_text()


def test_a_number_is_in_the_unit_of_the_data(tmp_path):
    run = cross(tmp_path, "BertForSequenceClassification", TOPICS).run
    run.facts = replace(run.facts, labels=(), label_counts=(), scale=Scale(250.0, 15.0, 0.0, 500.0))
    run.task = Regression(run.task.model, run.facts, run.tokenizer, pooling="pooler").eval()
    torch.nn.init.normal_(run.task.head.linear.weight, std=0.3)
    torch.nn.init.normal_(run.task.head.linear.bias)
    run.config.task = Config({"_target_": "groundup.tasks.regression.Regression", "pooling": "pooler", "clip": False})
    export_hf(run, tmp_path / "number", None)
    texts = [" ".join(pair) for pair in itertools.pairwise(WORDS)]
    expected = [one["predicted"] for one in run.answer([{"text": text} for text in texts])]
    found = transformers.pipeline("text-classification", model=str(tmp_path / "number"))(texts)
    assert [one["score"] for one in found] == pytest.approx(expected, abs=1e-3) and found[0]["label"] == "score"
    assert max(expected) - min(expected) > 1
    with pytest.raises(UserError, match="problem_type=regression"):  # what comes back says nothing of its scores
        look(tmp_path / "number")
    run.config.task |= {"pooling": "mean", "clip": True}
    with pytest.raises(UserError, match=r"task\.pooling=pooler task\.clip=False"):
        export_hf(run, tmp_path / "other", None)


def test_a_model_without_layers_is_no_transformer(tmp_path):
    facts = Facts(40, *range(7), labels=tuple(TOPICS))
    task = Classification(BagOfNgrams(40, width=8, buckets=5), facts, None)  # type: ignore[arg-type]
    run = SimpleNamespace(task=task, folder=SimpleNamespace(path="run"), config=Config({"model": {}, "task": {}}))
    with pytest.raises(UserError, match=r"is of BagOfNgrams for task=classification; .* Choose such a run"):
        export_hf(run, tmp_path / "bag", None)  # type: ignore[arg-type]


def test_a_model_of_one_class_is_refused(tmp_path):
    model, tokenizer = theirs("BertForSequenceClassification", ["only"])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="answers with a number"):
        look(tmp_path)
