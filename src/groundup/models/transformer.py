"""The Transformer, read from both sides (encoder) or from left to right (decoder)."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from groundup.errors import ArgumentError
from groundup.models.attention import CrossAttention, SelfAttention, make_mask, split_heads
from groundup.models.backbone import Backbone, DecoderBackbone, EncoderBackbone
from groundup.models.cache import KeyValueCache, Memory
from groundup.models.characters import CharacterFeatures, Characters
from groundup.models.kernels import Mask
from groundup.models.layers import (
    Activation,
    Bias,
    Dropout,
    FeedForward,
    Norm,
    embedding_std,
    initialize,
    make_norm,
    plus,
)
from groundup.models.position import LearnedPosition, Position, Rotary, Segments, SinusoidalPosition, alibi_slopes
from groundup.ranges import Count, Rate

Epsilon = Annotated[float, Field(gt=0, le=0.1)]
Theta = Annotated[float, Field(gt=1)]
Id = Annotated[int, Field(ge=0)]


class Block(nn.Module):
    """Pre-norm Transformer block: ``x + attention(norm(x))``, then ``x + feed_forward(norm(x))``.

    With ``cross_attention``, one more branch between the two looks at a memory: its keys, values and mask.
    ``kv_heads``: heads of keys and values; None: as many as ``heads``. ``qk_norm``, ``head_width``: see ``SelfAttention``.
    ``feed_forward_width``: None: 4 x width (swiglu: 8/3). ``bias``: which of its linear maps add a vector; those of a
    cross-attention do not. ``dropout``: on each branch, never inside attention.
    Shapes: x (B, T, D) -> (B, T, D). Source: Xiong et al. 2020.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        norm: Norm,
        dropout: float,
        cross_attention: bool,
        norm_eps: float | None = None,
        *,
        kv_heads: Count | None = None,
        head_width: Count | None = None,
        qk_norm: bool = True,
        feed_forward: Activation = "relu2",
        feed_forward_width: Count | None = None,
        bias: Bias = "none",
    ):
        super().__init__()
        self.attention_norm = make_norm(norm, width, norm_eps)
        self.attention = SelfAttention(width, heads, kv_heads, qk_norm, dropout, head_width, bias)
        if cross_attention:
            self.cross_attention_norm = make_norm(norm, width, norm_eps)
            self.cross_attention = CrossAttention(width, heads, kv_heads, dropout, head_width)
        self.feed_forward_norm = make_norm(norm, width, norm_eps)
        self.feed_forward = FeedForward(width, feed_forward, feed_forward_width, dropout, bias == "all")

    def forward(self, x: Tensor, mask: Mask, rotary=None, cache=None, memory=None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask, rotary, cache)
        if memory is not None:
            x = x + self.cross_attention(self.cross_attention_norm(x), *memory)
        return x + self.feed_forward(self.feed_forward_norm(x))


class PostNormBlock(Block):
    """The block of 2017: ``norm(x + attention(x))``, then ``norm(x + feed_forward(x))``. Source: Vaswani et al. 2017."""

    def forward(self, x: Tensor, mask: Mask, rotary=None, cache=None, memory=None) -> Tensor:
        x = self.attention_norm(x + self.attention(x, mask, rotary, cache))
        if memory is not None:
            x = self.cross_attention_norm(x + self.cross_attention(x, *memory))
        return self.feed_forward_norm(x + self.feed_forward(x))


class Transformer(Backbone):
    """What encoder and decoder share: embeddings, positions, blocks.

    ``norm_order``: ``pre`` for ``Block``, ``post`` for ``PostNormBlock``; ``block``: the options of a block.
    ``max_length``: positions in the tables, no limit for ``alibi`` and ``none``. ``dropout``: on the embeddings and in
    the blocks. ``norm_eps``: None: as ``make_norm``. ``embedding_norm``: whether a norm follows the embeddings.
    ``rope_theta``: the base of the angles of ``rope``. ``separator``, of an encoder: the token behind each text of a pair,
    of which the second then gets a vector of its own (see ``Segments``). ``zero_init``: every branch starts at zero,
    so a fresh model is its embeddings. ``characters``, of an
    encoder: what each word is made of, read by a network of its own; its vector is added to the embedding.

    Raises ArgumentError for numbers that do not fit together.
    """

    slopes: Tensor | None

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 128,
        layers: Count = 4,
        heads: Count = 4,
        norm: Norm = "rms",
        norm_order: Literal["pre", "post"] = "pre",
        norm_eps: Epsilon | None = None,
        embedding_norm: bool = True,
        position: Position = "rope",
        rope_theta: Theta = 10_000.0,
        separator: Id | None = None,
        max_length: Count = 1024,
        zero_init: bool = True,
        dropout: Rate = 0.1,
        cross_attention: bool = False,
        characters: Characters | None = None,
        head_width: Count | None = None,
        **block: Annotated[Any, Block],
    ):
        super().__init__()
        if characters is not None and self.kind != "encoder":
            raise ArgumentError("the spelling of words is read by encoders. Leave characters out")
        if separator is not None and self.kind != "encoder":
            raise ArgumentError("the two texts of a pair are told apart by encoders", "separator=null")
        if cross_attention and self.kind == "encoder":
            raise ArgumentError("cross_attention is a decoder's look at an encoder; an encoder has none. Leave it out")
        self.vocab_size, self.width, self.cross_attention = vocab_size, width, cross_attention
        self.embedding = nn.Embedding(vocab_size, width)
        self.rotary: Rotary | None = None
        if position == "rope":
            self.rotary = Rotary(split_heads(width, heads, head_width=head_width), max_length, rope_theta)
        self.position: nn.Module | None = None
        if position == "learned":
            self.position = LearnedPosition(max_length, width)
        elif position == "sinusoidal":
            self.position = SinusoidalPosition(max_length, width, std=embedding_std(width))
        self.max_length = max_length if self.rotary is not None or self.position is not None else None
        self.register_buffer("slopes", alibi_slopes(heads) if position == "alibi" else None, persistent=False)
        # Brings the small embeddings to unit size, so that their own size is free to suit the tied head.
        self.embedding_norm = make_norm(norm, width, norm_eps) if embedding_norm else nn.Identity()
        self.segments = None if separator is None else Segments(separator, width)
        self.norm_eps = norm_eps
        self.dropout = Dropout(dropout)
        kind = Block if norm_order == "pre" else PostNormBlock
        self.blocks: Any = nn.ModuleList(
            kind(width, heads, norm, dropout, cross_attention, norm_eps, head_width=head_width, **block)
            for _ in range(layers)
        )
        self.final_norm = make_norm(norm, width, norm_eps) if norm_order == "pre" else nn.Identity()
        initialize(self, residuals=layers * (3 if cross_attention else 2), zero=zero_init)
        self.reads_characters = characters is not None
        self.characters = CharacterFeatures(characters, width, embedding_std(width)) if characters else None

    def levels(self) -> list[list[nn.Module]]:
        embedding, *blocks = super().levels()
        beside = [part for part in (self.position, self.segments, self.characters) if part is not None]
        return [[*embedding, *beside, self.embedding_norm], *blocks]

    def embed(self, input_ids: Tensor, position_ids: Tensor | None, start: int, *added: Tensor | None):
        """(B, T) ids, and (B, T, D) to add to their embeddings -> (B, T, D), and the (cos, sin) of rotary positions or None."""
        x = self.embedding(input_ids)
        for features in added:
            x = plus(x, features)
        if self.position is not None:
            x = self.position(x, position_ids, start)
        rotary = None if self.rotary is None else self.rotary.tables(position_ids, start, input_ids.shape[1])
        return self.dropout(self.embedding_norm(x)), rotary


class TransformerEncoder(Transformer, EncoderBackbone):
    """Every token sees every token. Source: Devlin et al. 2019."""

    additions = frozenset({"characters"})

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        characters: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        T = input_ids.shape[1]
        spelling = None if self.characters is None else self.characters(input_ids, characters)
        segments = None if self.segments is None else self.segments(input_ids)
        x, rotary = self.embed(input_ids, position_ids, 0, spelling, features, segments)
        mask = make_mask(T, T, False, attention_mask, document_ids, self.slopes, input_ids.device)
        for block in self.blocks:
            x = block(x, mask, rotary)
        return self.final_norm(x)


class TransformerDecoder(Transformer, DecoderBackbone):
    """Every token sees itself and what came before; with ``cross_attention`` also an encoder's output, the memory."""

    @property
    def top_attention(self) -> CrossAttention | None:
        return self.blocks[-1].cross_attention if self.cross_attention else None

    def initial_state(self, batch_size: int, max_length: int, device=None, dtype=None) -> KeyValueCache:
        weight = self.embedding.weight
        attention = self.blocks[0].attention
        shape = (len(self.blocks), 2, batch_size, max_length, attention.kv_heads, attention.head_dim)
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
        T = input_ids.shape[1]
        start = 0 if state is None else state.length
        if state is not None and document_ids is not None:
            raise ValueError("document_ids are for whole windows; a state is for one document a row")
        key_mask = attention_mask if state is None else state.key_mask(attention_mask, T)
        x, rotary = self.embed(input_ids, position_ids, start)
        mask = make_mask(T, start + T, True, key_mask, document_ids, self.slopes, input_ids.device)
        memories = self.memories(memory, memory_mask, state, T)
        for i, block in enumerate(self.blocks):
            cache = None if state is None else partial(state.write, i)
            x = block(x, mask, rotary, cache, memories[i])
        if state is not None:
            state.advance(T)
        return self.final_norm(x), state

    def memories(self, memory, memory_mask, state, queries: int) -> list[tuple[Tensor, Tensor, Mask] | None]:
        """What each block sees of the memory: keys and values, (sources, G, S, d) each, and a mask.

        They come from the state, or are projected now and left there.
        """
        if not self.cross_attention:
            if memory is not None:
                raise ValueError("this decoder has no cross_attention, so it cannot look at a memory")
            return [None] * len(self.blocks)
        known = None if state is None else state.memory
        if known is None:
            if memory is None:
                raise ValueError("a decoder with cross_attention needs a memory on its first call")
            known = Memory([block.cross_attention.project(memory) for block in self.blocks], memory_mask)
            if state is not None:
                state.memory = known
        key, _ = known.layers[0]
        mask = make_mask(queries, key.shape[2], False, known.mask, device=key.device)
        return [(key, value, mask) for key, value in known.layers]
