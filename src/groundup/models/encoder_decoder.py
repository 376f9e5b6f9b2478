"""An encoder reads the source, a decoder writes the target: P(y | x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.ranges import Count, Rate


class EncoderDecoder(Backbone):
    """Any encoder of ours with any decoder that looks at a memory. Source: Sutskever et al. 2014; Vaswani et al. 2017.

    ``encoder`` and ``decoder`` are called with their ``vocab_size``: that of the source, and ``target_vocab_size`` (None:
    they have one vocabulary). ``shared_embedding``: one table for both sides (Press and Wolf 2017), so also for the
    output where the head is tied to ``decoder``; it needs one vocabulary, as tokens of two have equal ids by chance
    alone. Where the two widths differ, ``bridge`` maps the encoder's to the decoder's. ``dropout``: of a side that was given none.

    Raises UserError for parts that do not fit together.
    """

    kind = "encoder_decoder"

    def __init__(
        self,
        vocab_size: Count,
        encoder: Callable[..., Any],
        decoder: Callable[..., Any],
        target_vocab_size: Count | None = None,
        shared_embedding: bool = True,
        dropout: Rate = 0.0,
    ):
        super().__init__()
        self.encoder = encoder(vocab_size=vocab_size, **without_own(encoder, dropout))
        self.decoder = decoder(vocab_size=target_vocab_size or vocab_size, **without_own(decoder, dropout))
        if self.encoder.kind != "encoder":
            raise UserError(
                f"model.encoder is a {type(self.encoder).__name__}, and that is no encoder. "
                "Try model.encoder._target_=groundup.models.transformer.TransformerEncoder"
            )
        if not getattr(self.decoder, "cross_attention", False):
            raise UserError("model.decoder cannot look at the encoder's output. Try model.decoder.cross_attention=true")
        self.vocab_size, self.width = self.decoder.vocab_size, self.decoder.width
        limits = [part.max_length for part in (self.encoder, self.decoder) if part.max_length is not None]
        self.max_length = min(limits, default=None)
        if shared_embedding:
            if target_vocab_size is not None:
                raise UserError(
                    f"source and target have vocabularies of their own ({vocab_size} and {target_vocab_size} tokens), so "
                    "they cannot share one embedding. Try model.shared_embedding=false"
                )
            self.share_embedding()
        self.bridge: nn.Module = nn.Identity()
        if self.encoder.width != self.width:
            self.bridge = nn.Linear(self.encoder.width, self.width, bias=False)
            nn.init.normal_(self.bridge.weight, std=self.encoder.width**-0.5)

    def share_embedding(self) -> None:
        source, target = self.encoder.embedding, self.decoder.embedding
        if source.embedding_dim != target.embedding_dim:
            raise UserError(
                f"source and target have embedding widths of {source.embedding_dim} and {target.embedding_dim}, so they "
                "cannot share one embedding. Try model.shared_embedding=false"
            )
        self.encoder.embedding = target  # one module under two names: whatever is loaded or trained, it stays one

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]  # looked up, so that it has no third name
        return self.decoder.embedding

    @property
    def blocks(self) -> list[nn.Module]:  # type: ignore[override]
        return [*self.encoder.blocks, *self.decoder.blocks]

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Source (B, S) -> the memory (B, S, D), in the decoder's width. ``attention_mask``: True = real token."""
        return self.bridge(self.encoder(input_ids, attention_mask=attention_mask))

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Source (B, S) and target (B, U) -> hidden (B, U, D) and the memory (B, S, D).

        ``attention_mask`` (B, S) is about the source; None = nothing is padded. The target needs none: what stands
        behind its last real token is seen by nothing before it.
        """
        memory = self.encode(input_ids, attention_mask)
        hidden, _ = self.decoder(decoder_input_ids, memory=memory, memory_mask=attention_mask)
        return hidden, memory

    def attention_weights(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor | None:
        """How much each target position looks at each source token: (B, U, S), rows sum to one; None without attention.

        Of the decoder's top layer, the mean over its heads.
        """
        attention = self.decoder.top_attention
        if attention is None:
            return None
        looks: list[tuple] = []
        with attention.register_forward_pre_hook(lambda _, arguments: looks.append(arguments)):
            self.forward(input_ids, decoder_input_ids, attention_mask)  # not __call__: compiled code runs no new hook
        return torch.cat([attention.weights(*look) for look in looks], dim=1)


def without_own(side: Callable[..., Any], dropout: float) -> dict[str, float]:
    """``dropout`` as an argument for a side that was given none."""
    return {} if not dropout or "dropout" in getattr(side, "keywords", {}) else {"dropout": dropout}
