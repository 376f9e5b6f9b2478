"""GPT-2: a pre-norm decoder with learned positions, whose matrices have inputs as rows. Source: Radford et al. 2019."""

from __future__ import annotations

from groundup.exchange.family import Family, Head, Key, Weight, both

GPT2 = Family(
    name="gpt2",
    model="transformer_decoder",
    prefix="transformer.",
    fixed={
        "norm": "layer",
        "norm_order": "pre",
        "embedding_norm": False,
        "position": "learned",
        "bias": "all",
        "qk_norm": False,
        "kv_heads": None,
        "head_width": None,
        "cross_attention": False,
    },
    keys=(
        Key("n_embd", "width"),
        Key("n_layer", "layers"),
        Key("n_head", "heads"),
        Key("n_inner", "feed_forward_width", missing=0),  # 0: 4 x width
        Key(
            "activation_function",
            "feed_forward",
            {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"},
            missing="gelu_new",
        ),
        Key("n_positions", "max_length"),
        Key("layer_norm_epsilon", "norm_eps", missing=1e-5),
        Key("resid_pdrop", "dropout", missing=0.1),
    ),
    only={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
    },
    body=(
        Weight("embedding.weight", ("wte.weight",)),
        Weight("position.weight", ("wpe.weight",)),
        *both("blocks.{}.attention_norm", "h.{}.ln_1"),
        *both("blocks.{}.attention.qkv", "h.{}.attn.c_attn", transposed=True),
        *both("blocks.{}.attention.out", "h.{}.attn.c_proj", transposed=True),
        *both("blocks.{}.feed_forward_norm", "h.{}.ln_2"),
        *both("blocks.{}.feed_forward.up", "h.{}.mlp.c_fc", transposed=True),
        *both("blocks.{}.feed_forward.down", "h.{}.mlp.c_proj", transposed=True),
        *both("final_norm", "ln_f"),
    ),
    heads={
        "GPT2LMHeadModel": Head("causal_lm", {}, tied="lm_head.weight"),
        "GPT2Model": Head("causal_lm", {}, tied="lm_head.weight"),
    },
    special={"eos": "<|endoftext|>"},
    ignored=(".attn.bias", ".attn.masked_bias"),
)
