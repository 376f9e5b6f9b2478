"""An encoder reads the source, a decoder writes the target: P(y | x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from groundup.errors import ArgumentError
from groundup.models.backbone import DecoderBackbone, EncoderBackbone, EncoderDecoderBackbone, check_backbone
from groundup.ranges import Count, Rate


class EncoderDecoder(EncoderDecoderBackbone):
    """Any encoder with any decoder that looks at a memory. Source: Sutskever et al. 2014; Vaswani et al. 2017.

    ``encoder`` and ``decoder`` are called with their ``vocab_size``: that of the source, and ``target_vocab_size`` (None:
    they have one vocabulary); and with ``dropout``, unless they come with one. ``shared_embedding``: one table for both
    sides (Press and Wolf 2017), so also for the output where the head is tied to ``decoder``; it needs one vocabulary, as
    tokens of two have equal ids by chance alone. Where the two widths differ, ``bridge`` maps the encoder's to the
    decoder's.

    Raises ArgumentError for parts that do not fit together.
    """

    def __init__(
        self,
        vocab_size: Count,
        encoder: Callable[..., Any],
        decoder: Callable[..., Any],
        target_vocab_size: Count | None = None,
        shared_embedding: bool = True,
        dropout: Rate = 0.1,
    ):
        super().__init__()
        self.encoder = encoder(**{"vocab_size": vocab_size, "dropout": dropout, **given(encoder)})
        self.decoder = decoder(**{"vocab_size": target_vocab_size or vocab_size, "dropout": dropout, **given(decoder)})
        for side, base in (("encoder", EncoderBackbone), ("decoder", DecoderBackbone)):
            part = getattr(self, side)
            if not isinstance(part, base):
                raise ArgumentError(f"{side} is a {type(part).__name__}, and that is no {side}")
            check_backbone(part)
        if not self.decoder.cross_attention:
            raise ArgumentError("decoder cannot look at the encoder's output", "decoder.cross_attention=true")
        self.vocab_size, self.width = self.decoder.vocab_size, self.decoder.width
        limits = [part.max_length for part in (self.encoder, self.decoder) if part.max_length is not None]
        self.max_length = min(limits, default=None)
        if shared_embedding:
            if target_vocab_size is not None:
                raise ArgumentError(
                    f"shared_embedding: source and target have vocabularies of their own ({vocab_size} and "
                    f"{target_vocab_size} tokens), so they cannot share one embedding",
                    "shared_embedding=false",
                )
            self.share_embedding()
        self.bridge: nn.Module = nn.Identity()
        if self.encoder.width != self.width:
            self.bridge = nn.Linear(self.encoder.width, self.width, bias=False)
            nn.init.normal_(self.bridge.weight, std=self.encoder.width**-0.5)

    def share_embedding(self) -> None:
        source, target = self.encoder.embedding, self.decoder.embedding
        if source.embedding_dim != target.embedding_dim:
            raise ArgumentError(
                f"shared_embedding: source and target have embedding widths of {source.embedding_dim} and "
                f"{target.embedding_dim}, so they cannot share one embedding",
                "shared_embedding=false",
            )
        self.encoder.embedding = target  # one module under two names: whatever is loaded or trained, it stays one

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]  # looked up, so that it has no third name
        return self.decoder.embedding

    @property
    def blocks(self) -> list[nn.Module]:  # type: ignore[override]
        return [*self.encoder.blocks, *self.decoder.blocks]

    def levels(self) -> list[list[nn.Module]]:
        """All of the encoder lies below the blocks of the decoder."""
        source, target = self.encoder.levels(), self.decoder.levels()
        levels = [[*source[0], *target[0]], *source[1:], *target[1:]]
        levels[len(source) - 1].append(self.encoder)
        return levels

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.bridge(self.encoder(input_ids, attention_mask=attention_mask))

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        memory = self.encode(input_ids, attention_mask)
        hidden, _ = self.decoder(decoder_input_ids, memory=memory, memory_mask=attention_mask)
        return hidden, memory

    def attention_weights(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor | None:
        """Of the decoder's top layer, the mean over its heads: (B, T, S)."""
        attention: Any = self.decoder.top_attention
        if attention is None:
            return None
        calls: list[tuple] = []
        with attention.register_forward_pre_hook(lambda _, arguments: calls.append(arguments)):
            self.forward(input_ids, decoder_input_ids, attention_mask)  # not __call__: compiled code runs no new hook
        return torch.cat([attention.weights(*call) for call in calls], dim=1)


def given(side: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that a side comes with, as a ``functools.partial``."""
    return getattr(side, "keywords", {})
