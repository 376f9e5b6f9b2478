"""The Transformer, read from both sides (encoder) or from left to right (decoder)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.attention import CrossAttention, SelfAttention, Visible, check_heads, visible
from groundup.models.backbone import Backbone
from groundup.models.cache import KeyValueCache, Memory
from groundup.models.feed_forward import Activation, FeedForward
from groundup.models.initialize import embedding_std, initialize
from groundup.models.norm import Norm, make_norm
from groundup.models.position import AddedPosition, Position, Rotary, alibi_slopes
from groundup.ranges import Count, Rate


class Block(nn.Module):
    """Attention, attention to the memory (if any), feed-forward; each on its own residual branch.

    ``pre``: ``x + branch(norm(x))`` (Xiong et al. 2020). ``post``: ``norm(x + branch(x))`` (Vaswani et al. 2017).
    Shapes: x (B, T, D) -> (B, T, D).
    """

    def __init__(
        self,
        attention: SelfAttention,
        feed_forward: FeedForward,
        cross_attention: CrossAttention | None,
        norms: list[nn.Module],
        pre: bool,
        dropout: float,
    ):
        super().__init__()
        self.pre = pre
        self.attention, self.attention_norm = attention, norms[0]
        self.feed_forward, self.feed_forward_norm = feed_forward, norms[1]
        self.cross_attention: Any = cross_attention
        self.cross_attention_norm: Any = None if cross_attention is None else norms[2]
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, seen: Visible, rotary=None, cache=None, memory=None, memory_seen=None) -> Tensor:
        x = self.branch(x, self.attention_norm, lambda x: self.attention(x, seen, rotary, cache))
        if memory is not None:
            x = self.branch(x, self.cross_attention_norm, lambda x: self.cross_attention(x, *memory, memory_seen))
        return self.branch(x, self.feed_forward_norm, self.feed_forward)

    def branch(self, x: Tensor, norm: nn.Module, layer) -> Tensor:
        change = layer(norm(x) if self.pre else x)
        if self.dropout.training:  # elsewhere the call does nothing, at the price of a kernel
            change = self.dropout(change)
        return x + change if self.pre else norm(x + change)


class Transformer(Backbone):
    """What encoder and decoder share: embeddings, positions, blocks.

    ``kv_heads``: heads of keys and values, default as many as ``heads``. ``feed_forward_width``: default 4 x width
    (swiglu 8/3). ``max_length``: positions in the tables, no limit for ``alibi`` and ``none``. ``dropout``: on the
    embeddings and the residual branches, never inside attention. ``zero_init``: every branch starts at zero, so a
    fresh model is its embeddings.

    Raises UserError for numbers that do not fit together.
    """

    slopes: Tensor | None

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 128,
        layers: Count = 4,
        heads: Count = 4,
        kv_heads: Count | None = None,
        feed_forward: Activation = "gelu",
        feed_forward_width: Count | None = None,
        norm: Norm = "rms",
        norm_order: Literal["pre", "post"] = "pre",
        position: Position = "rope",
        max_length: Count = 1024,
        qk_norm: bool = False,
        zero_init: bool = True,
        dropout: Rate = 0.0,
        cross_attention: bool = False,
    ):
        super().__init__()
        if cross_attention and self.kind == "encoder":
            raise UserError("cross_attention is a decoder's look at an encoder; an encoder has none. Leave it out")
        self.vocab_size, self.width = vocab_size, width
        self.head_dim = check_heads(width, heads, kv_heads or heads)
        self.kv_heads, self.cross_attention = kv_heads or heads, cross_attention
        self.max_length = max_length if position in ("rope", "learned", "sinusoidal") else None

        self.embedding = nn.Embedding(vocab_size, width)
        self.rotary = Rotary(self.head_dim, max_length) if position == "rope" else None
        self.position = None
        if position in ("learned", "sinusoidal"):
            self.position = AddedPosition(position, width, max_length, std=embedding_std(width))
        self.register_buffer("slopes", alibi_slopes(heads) if position == "alibi" else None, persistent=False)
        # Brings the small embeddings to unit size, so that their own size is free to suit the tied head.
        self.embedding_norm = make_norm(norm, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks: Any = nn.ModuleList(
            Block(
                SelfAttention(width, heads, kv_heads, qk_norm),
                FeedForward(width, feed_forward, feed_forward_width),
                CrossAttention(width, heads, kv_heads) if cross_attention else None,
                [make_norm(norm, width) for _ in range(3 if cross_attention else 2)],
                norm_order == "pre",
                dropout,
            )
            for _ in range(layers)
        )
        self.final_norm = make_norm(norm, width) if norm_order == "pre" else nn.Identity()
        initialize(self, residuals=layers * (3 if cross_attention else 2), zero=zero_init)

    def embed(self, input_ids: Tensor, position_ids: Tensor | None, start: int):
        """(B, T) ids -> (B, T, D) and the tables of rotation, or None."""
        x = self.embedding(input_ids)
        if self.position is not None:
            x = self.position(x, position_ids, start)
        rotary = None if self.rotary is None else self.rotary.tables(position_ids, start, input_ids.shape[1])
        x = self.embedding_norm(x)
        return self.dropout(x) if self.dropout.training else x, rotary


class TransformerEncoder(Transformer):
    """Every token sees every token. Source: Devlin et al. 2019."""

    kind = "encoder"

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) ids -> hidden (B, T, D).

        ``attention_mask`` (B, T) bool: True = real token; None = all are. ``position_ids`` None = 0, 1, 2, ...;
        ``document_ids`` (B, T): tokens see their own document only.
        """
        T = input_ids.shape[1]
        x, rotary = self.embed(input_ids, position_ids, 0)
        seen = visible(T, T, False, attention_mask, document_ids, self.slopes, input_ids.device)
        for block in self.blocks:
            x = block(x, seen, rotary)
        return self.final_norm(x)


class TransformerDecoder(Transformer):
    """Every token sees itself and what came before; with ``cross_attention`` also an encoder's output, the memory."""

    kind = "decoder"

    @property
    def top_attention(self) -> CrossAttention | None:
        """Where the top layer looks at the memory."""
        return self.blocks[-1].cross_attention

    def initial_state(self, batch_size: int, max_length: int, device=None, dtype=None) -> KeyValueCache:
        """An empty cache for ``max_length`` tokens, prompt and padding included."""
        weight = self.embedding.weight
        shape = (len(self.blocks), 2, batch_size, max_length, self.kv_heads, self.head_dim)
        space = torch.empty(math.prod(shape), device=device or weight.device, dtype=dtype or weight.dtype)
        return KeyValueCache(shape, space)

    def forward(
        self,
        input_ids: Tensor,
        state: KeyValueCache | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, KeyValueCache | None]:
        """(B, T) ids -> hidden (B, T, D) and the state, which holds these tokens too (None stays None: training).

        ``attention_mask`` (B, T) is about these T tokens; the state remembers those before. ``position_ids`` None =
        counting on from ``state.length``; prompts padded in front want their own. ``memory`` (B, S, D) and
        ``memory_mask`` (B, S) are needed once: the state keeps them.
        """
        T = input_ids.shape[1]
        start = 0 if state is None else state.length
        if state is not None and document_ids is not None:
            raise ValueError("document_ids are for whole windows; a state is for one document a row")
        key_mask = attention_mask if state is None else state.key_mask(attention_mask, T)
        x, rotary = self.embed(input_ids, position_ids, start)
        seen = visible(T, start + T, True, key_mask, document_ids, self.slopes, input_ids.device)
        known, memory_seen = self.look_at(memory, memory_mask, state, T)
        for i, block in enumerate(self.blocks):
            cache = None if state is None else partial(state.write, i)
            x = block(x, seen, rotary, cache, None if known is None else known.layers[i], memory_seen)
        if state is not None:
            state.advance(T)
        return self.final_norm(x), state

    def look_at(self, memory, memory_mask, state, queries: int) -> tuple[Memory | None, Visible | None]:
        """The memory's keys and values: from the state, or projected now and left there."""
        if not self.cross_attention:
            if memory is not None:
                raise ValueError("this decoder has no cross_attention, so it cannot look at a memory")
            return None, None
        known = None if state is None else state.memory
        if known is None:
            if memory is None:
                raise ValueError("a decoder with cross_attention needs a memory on its first call")
            known = Memory([block.cross_attention.project(memory) for block in self.blocks], memory_mask)
            if state is not None:
                state.memory = known
        source = known.layers[0][0]
        return known, visible(queries, source.shape[2], False, known.mask, device=source.device)
