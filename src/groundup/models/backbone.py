"""All that is asked of a model: by a task and its head, by decoding, by the optimizer and by FSDP.

A model of a new kind derives from one of the three classes below. What has a default here may be left alone;
``check_backbone`` names what is missing of the rest. B rows, T tokens a row, D features, V entries of the vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.cache import DecoderState

Kind = Literal["encoder", "decoder", "encoder_decoder"]


class Backbone(nn.Module):
    """Token ids in, hidden vectors out; the task brings the head. The constructor takes ``vocab_size`` by this name."""

    kind: ClassVar[Kind]
    free_arguments: ClassVar[frozenset[str]] = frozenset({"dropout", "max_length"})  # change no tensor of the model
    additions: ClassVar[frozenset[str]] = frozenset()  # arguments, each of a module of that name; None: there is none
    vocab_size: int  # V, of the tokens that it reads (an encoder-decoder: that it writes)
    width: int  # D, of the hidden vectors
    embedding: nn.Embedding  # V rows of any width; a tied head multiplies by them
    blocks: Sequence[nn.Module]  # its layers, from the input to the output; FSDP spreads each by itself
    max_length: int | None = None  # the most tokens that it has positions for; None: no limit
    norm_eps: float | None = None  # of its norms, for a head that has one; None: the norm's own
    reads_both_ways: bool = False  # whether the first hidden vector knows the whole text
    reads_characters: bool = False  # whether forward takes how words are spelled, too: ``characters`` (B, T, L)

    def levels(self) -> list[list[nn.Module]]:
        """Its parts from the input to the output, for ``layer_decay``: lower levels learn more slowly.

        A parameter belongs to the first level that holds it. What no level holds learns as fast as the head.
        """
        return [[self.embedding], *([block] for block in self.blocks)]


class EncoderBackbone(Backbone):
    """Reads a text as a whole."""

    kind = "encoder"
    reads_both_ways = True

    @abstractmethod
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """(B, T) ids -> hidden (B, T, D).

        ``attention_mask`` (B, T) bool: True = real token; None = all are. Padding may stand anywhere and changes nothing.
        ``position_ids`` (B, T): None = 0, 1, 2, ... ``document_ids`` (B, T): each document is read as if alone.
        ``features`` (B, T, E): what else a task knows of each token, added to its embedding.
        """


class DecoderBackbone(Backbone):
    """Reads a text from left to right: a token knows itself, those before it and, where there is one, the memory.

    One that can look at an encoder's output, the memory, does so where its argument ``cross_attention`` is true.
    """

    kind = "decoder"
    cross_attention: bool = False  # whether it looks at a memory; it then needs one

    @property
    def top_attention(self) -> nn.Module | None:
        """For pictures: the highest module that looks at the memory. It has a method ``weights`` that takes the arguments
        of its forward, and says where that looks: (B, T, S), rows sum to one."""
        return None

    @abstractmethod
    def initial_state(
        self,
        batch_size: int,
        max_length: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> DecoderState:
        """A state before the first token, with room for ``max_length`` of them, padding included."""

    @abstractmethod
    def forward(
        self,
        input_ids: Tensor,
        state: DecoderState | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, DecoderState | None]:
        """(B, T) ids -> hidden (B, T, D) and the state after them. Without a state none comes back: training.

        The other arguments are those of an encoder. ``attention_mask`` is about these T tokens; the state remembers
        those before. ``position_ids`` None = counting on from ``state.length``. ``memory`` (B, S, D) and
        ``memory_mask`` (B, S) are needed once: the state keeps them.
        """


class EncoderDecoderBackbone(Backbone):
    """An encoder reads the source, a decoder writes the target; ``vocab_size``, ``width`` and the like are those of the decoder."""

    kind = "encoder_decoder"
    encoder: EncoderBackbone
    decoder: DecoderBackbone  # writes, with the memory that ``encode`` gives

    @abstractmethod
    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Source (B, S) -> the memory (B, S, D), in the decoder's width. ``attention_mask``: True = real token."""

    @abstractmethod
    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Source (B, S) and target (B, T) -> hidden (B, T, D) and the memory (B, S, D).

        ``attention_mask`` (B, S) is about the source; None = nothing is padded. The target needs none: what stands
        behind its last real token is seen by nothing before it.
        """

    def attention_weights(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor | None:
        """For pictures: how much each target position looks at each source token, (B, T, S), rows sum to one.

        None where it cannot be said.
        """
        return None


def check_backbone(model: nn.Module) -> None:
    """Raises UserError that names what ``model`` lacks of its class above."""
    name = type(model).__name__
    kinds = (EncoderBackbone, DecoderBackbone, EncoderDecoderBackbone)
    bases = [base for base in kinds if isinstance(model, base)]
    if len(bases) != 1:
        choices = ", ".join(base.__name__ for base in kinds)
        raise UserError(f"{name} must derive from one of {choices} (groundup.models.backbone)")
    declared = [fact for base in (*bases, Backbone) for fact in base.__annotations__]
    missing = [fact for fact in declared if not hasattr(model, fact)]
    methods = [
        method for method in vars(bases[0]) if getattr(getattr(type(model), method), "__isabstractmethod__", False)
    ]
    if missing or methods:
        lacks = ", ".join([*missing, *(f"{method}()" for method in methods)])
        raise UserError(f"{name} lacks {lacks}, which every {bases[0].__name__} has (groundup.models.backbone)")
    whole = cast(Backbone, model)
    if (rows := whole.embedding.num_embeddings) != whole.vocab_size:
        raise UserError(f"{name} has an embedding of {rows} rows, but vocab_size={whole.vocab_size}")
