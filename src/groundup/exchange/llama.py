"""Llama, and Qwen2, which is Llama with biases on queries, keys and values. Sources: Touvron et al. 2023; Yang et al. 2024."""

from __future__ import annotations

from dataclasses import replace

from groundup.exchange.family import Family, Head, Key, Weight

_LAYER = "layers.{}"
_QKV = tuple(f"{_LAYER}.self_attn.{name}_proj" for name in "qkv")

LLAMA = Family(
    name="llama",
    model="transformer_decoder",
    prefix="model.",
    fixed={
        "norm": "rms",
        "norm_order": "pre",
        "embedding_norm": False,
        "position": "rope",
        "feed_forward": "swiglu",
        "bias": "none",
        "qk_norm": False,
        "cross_attention": False,
    },
    keys=(
        Key("hidden_size", "width"),
        Key("num_hidden_layers", "layers"),
        Key("num_attention_heads", "heads"),
        Key("num_key_value_heads", "kv_heads", missing=0),  # 0: as many as heads
        Key("head_dim", "head_width", missing=0),  # 0: hidden_size / num_attention_heads
        Key("intermediate_size", "feed_forward_width"),
        Key("max_position_embeddings", "max_length"),
        Key("rms_norm_eps", "norm_eps", missing=1e-6),
        Key("rope_theta", "rope_theta", missing=10_000.0),
    ),
    only={
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rope_scaling": None,
        "pretraining_tp": 1,
        "use_sliding_window": False,
    },
    body=(
        Weight("embedding.weight", ("embed_tokens.weight",)),
        Weight("blocks.{}.attention_norm.weight", (f"{_LAYER}.input_layernorm.weight",)),
        Weight("blocks.{}.attention.qkv.weight", tuple(f"{name}.weight" for name in _QKV), split="qkv"),
        Weight("blocks.{}.attention.out.weight", (f"{_LAYER}.self_attn.o_proj.weight",)),
        Weight("blocks.{}.feed_forward_norm.weight", (f"{_LAYER}.post_attention_layernorm.weight",)),
        Weight(
            "blocks.{}.feed_forward.up.weight",
            (f"{_LAYER}.mlp.gate_proj.weight", f"{_LAYER}.mlp.up_proj.weight"),
            split="halves",
        ),
        Weight("blocks.{}.feed_forward.down.weight", (f"{_LAYER}.mlp.down_proj.weight",)),
        Weight("final_norm.weight", ("norm.weight",)),
    ),
    heads={
        "LlamaForCausalLM": Head("causal_lm", {}, tied="lm_head.weight"),
        "LlamaModel": Head("causal_lm", {}, tied="lm_head.weight"),
    },
    special={"unk": "<unk>", "bos": "<s>", "eos": "</s>"},
    tied=False,
    ignored=("rotary_emb.inv_freq",),
)
QWEN2 = replace(
    LLAMA,
    name="qwen2",
    fixed={**LLAMA.fixed, "bias": "qkv"},
    only={name: value for name, value in LLAMA.only.items() if name not in ("attention_bias", "mlp_bias")},
    body=(
        *LLAMA.body,
        Weight("blocks.{}.attention.qkv.bias", tuple(f"{name}.bias" for name in _QKV), split="qkv"),
    ),
    heads={name.replace("Llama", "Qwen2"): head for name, head in LLAMA.heads.items()},
    special={"eos": "<|endoftext|>"},
)
