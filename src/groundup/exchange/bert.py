"""BERT and RoBERTa: post-norm encoders with learned positions. Sources: Devlin et al. 2019; Liu et al. 2019."""

from __future__ import annotations

from dataclasses import replace

from groundup.exchange.family import Family, Head, Key, Weight, both

_LAYER = "encoder.layer.{}"

_POOLED = (*both("pooling.dense", "bert.pooler.dense"), *both("linear", "classifier"))
BERT = Family(
    name="bert",
    model="transformer_encoder",
    prefix="bert.",
    fixed={
        "norm": "layer",
        "norm_order": "post",
        "embedding_norm": True,
        "position": "learned",
        "bias": "all",
        "qk_norm": False,
        "kv_heads": None,
        "head_width": None,
        "characters": None,
    },
    keys=(
        Key("hidden_size", "width"),
        Key("num_hidden_layers", "layers"),
        Key("num_attention_heads", "heads"),
        Key("intermediate_size", "feed_forward_width"),
        Key("hidden_act", "feed_forward", {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}),
        Key("max_position_embeddings", "max_length"),
        Key("layer_norm_eps", "norm_eps", missing=1e-12),
        Key("hidden_dropout_prob", "dropout", missing=0.1),
    ),
    only={"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False},
    body=(
        Weight("embedding.weight", ("embeddings.word_embeddings.weight",)),
        Weight("position.weight", ("embeddings.position_embeddings.weight",)),
        *both("embedding_norm", "embeddings.LayerNorm"),
        *both(
            "blocks.{}.attention.qkv",
            *(f"{_LAYER}.attention.self.{name}" for name in ("query", "key", "value")),
            split="qkv",
        ),
        *both("blocks.{}.attention.out", f"{_LAYER}.attention.output.dense"),
        *both("blocks.{}.attention_norm", f"{_LAYER}.attention.output.LayerNorm"),
        *both("blocks.{}.feed_forward.up", f"{_LAYER}.intermediate.dense"),
        *both("blocks.{}.feed_forward.down", f"{_LAYER}.output.dense"),
        *both("blocks.{}.feed_forward_norm", f"{_LAYER}.output.LayerNorm"),
    ),
    segments=Weight("segments.weight", ("embeddings.token_type_embeddings.weight",)),
    heads={
        "BertForMaskedLM": Head(
            "masked_lm",
            {"transform": "bert"},
            (
                *both("transform.0", "cls.predictions.transform.dense"),
                *both("transform.2", "cls.predictions.transform.LayerNorm"),
                Weight("bias", ("cls.predictions.bias",)),
            ),
            tied="cls.predictions.decoder.weight",
        ),
        "BertForSequenceClassification": Head(
            "classification",
            {"pooling": "pooler"},
            _POOLED,
        ),
        "BertForSequenceClassification/multi_label_classification": Head(
            "multilabel",
            {"pooling": "pooler"},
            _POOLED,
            settings={"problem_type": "multi_label_classification"},
        ),
        "BertForSequenceClassification/regression": Head(
            "regression",
            {"pooling": "pooler", "clip": False},
            _POOLED,
            settings={"problem_type": "regression", "id2label": {"0": "score"}, "label2id": {"score": 0}},
        ),
        "BertForTokenClassification": Head("tagging", {"crf": False}, both("linear", "classifier")),
    },
    special={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    ignored=("position_ids", "cls.predictions.decoder.bias", "cls.seq_relationship", "pooler.dense"),
)
BERT.heads["BertForPreTraining"] = BERT.heads["BertModel"] = BERT.heads["BertForMaskedLM"]  # type: ignore[index]
ROBERTA = replace(
    BERT,
    name="roberta",
    prefix="roberta.",
    only={**BERT.only, "pad_token_id": 1},  # which decides where positions begin
    body=tuple(one._replace(skipped=2) if one.ours == "position.weight" else one for one in BERT.body),
    heads={
        "RobertaForMaskedLM": Head(
            "masked_lm",
            {"transform": "bert"},
            (
                *both("transform.0", "lm_head.dense"),
                *both("transform.2", "lm_head.layer_norm"),
                Weight("bias", ("lm_head.bias",)),
            ),
            tied="lm_head.decoder.weight",
        ),
        "RobertaForSequenceClassification": Head(
            "classification",
            {"pooling": "pooler"},
            (*both("pooling.dense", "classifier.dense"), *both("linear", "classifier.out_proj")),
        ),
        "RobertaForTokenClassification": Head("tagging", {"crf": False}, both("linear", "classifier")),
    },
    special={
        "pad": "<pad>",
        "unk": "<unk>",
        "cls": "<s>",
        "sep": "</s>",
        "mask": "<mask>",
        "bos": "<s>",
        "eos": "</s>",
    },
    ignored=("position_ids", "lm_head.decoder.bias", "pooler.dense"),
)
