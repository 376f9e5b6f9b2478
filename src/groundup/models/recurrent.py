"""LSTM, GRU and plain RNN: as an encoder (read both ways) or a decoder (left to right)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.attention import CrossAttention, Visible, visible
from groundup.models.backbone import Backbone
from groundup.models.cache import Memory, RecurrentState
from groundup.models.norm import Norm
from groundup.models.ragged import Ragged
from groundup.models.recurrent_layer import Cell, LockedDropout, RecurrentLayer

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class Recurrent(Backbone):
    """What encoder and decoder share: embeddings and a stack of recurrent layers.

    ``width``: of the hidden vectors; a bidirectional encoder gives half of it to each direction. ``dropout``: on
    the embeddings, between layers and on the output, anew for each token or, with ``locked_dropout``, one mask for all
    steps of a text (Gal and Ghahramani 2016). ``embedding_dropout``: whole words of the vocabulary.
    ``weight_drop``: on the hidden-to-hidden matrices (Merity et al. 2018). ``norm``: of each layer's input.
    ``residual``: each layer after the first adds to its input.
    """

    max_length = None

    def __init__(
        self,
        vocab_size: int,
        width: int,
        layers: int,
        cell: Cell,
        bidirectional: bool,
        embedding_width: int | None,
        norm: Norm | Literal["none"],
        residual: bool,
        dropout: float,
        locked_dropout: bool,
        embedding_dropout: float,
        weight_drop: float,
    ):
        super().__init__()
        if bidirectional and width % 2:
            raise UserError(f"width={width} cannot be split over two directions. Try width={width + 1}")
        self.vocab_size, self.width, self.residual = vocab_size, width, residual
        self.bidirectional = bidirectional
        self.dropout = LockedDropout(dropout) if locked_dropout else nn.Dropout(dropout)
        self.embedding_dropout = embedding_dropout
        embedding_width = embedding_width or width
        self.embedding = nn.Embedding(vocab_size, embedding_width)
        nn.init.normal_(self.embedding.weight, std=0.1)  # nothing normalises what an LSTM reads
        inputs = [embedding_width] + [width] * (layers - 1)
        self.blocks: Any = nn.ModuleList(
            RecurrentLayer(size, width, cell, bidirectional, norm, weight_drop) for size in inputs
        )

    def embed(self, input_ids: Tensor) -> Tensor:
        table = self.embedding.weight
        if self.training and self.embedding_dropout:
            keep = torch.rand(len(table), 1, device=table.device) >= self.embedding_dropout
            table = table * keep / (1 - self.embedding_dropout)
        return self.dropout(nn.functional.embedding(input_ids, table))

    def stack(self, x: Tensor, run) -> Tensor:
        """Passes (N, L, D) through the layers; ``run(i, layer, x)`` runs one."""
        for i, layer in enumerate(self.blocks):
            y = self.dropout(run(i, layer, x))
            x = x + y if self.residual and i else y
        return x

    def read(self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None) -> Tensor:
        """Whole texts from empty states: (B, T) ids -> hidden (B, T, D)."""
        if attention_mask is None and document_ids is None:
            return self.stack(self.embed(input_ids), lambda i, layer, x: layer(x))
        ragged = Ragged.layout(attention_mask, document_ids)
        hidden = self.stack(self.embed(ragged.gather(input_ids)), lambda i, layer, x: layer(x, ragged.reverse))
        return ragged.scatter(hidden, input_ids.shape)


class RecurrentEncoder(Recurrent):
    """Reads a text in both directions (``bidirectional``), so each hidden vector knows all of it. Padding never leaks.

    Source: Graves and Schmidhuber 2005.
    """

    kind = "encoder"

    def __init__(
        self,
        vocab_size: Positive,
        width: Positive = 256,
        layers: Positive = 2,
        cell: Cell = "lstm",
        bidirectional: bool = True,
        embedding_width: Positive | None = None,
        norm: Norm | Literal["none"] = "none",
        residual: bool = False,
        dropout: Rate = 0.0,
        locked_dropout: bool = False,
        embedding_dropout: Rate = 0.0,
        weight_drop: Rate = 0.0,
    ):
        super().__init__(
            vocab_size, width, layers, cell, bidirectional, embedding_width, norm, residual,
            dropout, locked_dropout, embedding_dropout, weight_drop,
        )  # fmt: skip

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) ids -> hidden (B, T, D). ``attention_mask``, ``document_ids`` (B, T): as for the Transformer, and
        states start anew with each document. ``position_ids`` says nothing to a recurrent model."""
        return self.read(input_ids, attention_mask, document_ids)


class RecurrentDecoder(Recurrent):
    """Reads from left to right; with ``cross_attention`` its top layer looks at an encoder's output, the memory.

    Source: Sundermeyer et al. 2012; attention on top: Luong et al. 2015.
    """

    kind = "decoder"

    def __init__(
        self,
        vocab_size: Positive,
        width: Positive = 256,
        layers: Positive = 2,
        cell: Cell = "lstm",
        embedding_width: Positive | None = None,
        norm: Norm | Literal["none"] = "none",
        residual: bool = False,
        dropout: Rate = 0.0,
        locked_dropout: bool = False,
        embedding_dropout: Rate = 0.0,
        weight_drop: Rate = 0.0,
        cross_attention: bool = False,
    ):
        super().__init__(
            vocab_size, width, layers, cell, False, embedding_width, norm, residual,
            dropout, locked_dropout, embedding_dropout, weight_drop,
        )  # fmt: skip
        self.cross_attention = CrossAttention(width, heads=1) if cross_attention else None

    def initial_state(self, batch_size: int, max_length: int | None = None, device=None, dtype=None) -> RecurrentState:
        """Zeros. ``max_length`` is there for the protocol: this state never grows."""
        weight = self.embedding.weight
        zeros = torch.zeros(batch_size, self.width, device=device or weight.device, dtype=dtype or weight.dtype)
        return RecurrentState([(zeros,) * layer.parts for layer in self.blocks])

    def forward(
        self,
        input_ids: Tensor,
        state: RecurrentState | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, RecurrentState | None]:
        """(B, T) ids -> hidden (B, T, D) and the next state (None stays None: training). Arguments as for the
        Transformer; ``position_ids`` says nothing to a recurrent model."""
        if state is not None and document_ids is not None:
            raise ValueError("document_ids are for whole windows; a state is for one document a row")
        if state is None:
            hidden, after = self.read(input_ids, attention_mask, document_ids), None
        else:
            hidden, layers = self.go_on(input_ids, state, attention_mask)
            after = RecurrentState(layers, state.length + input_ids.shape[1], state.memory)
        return self.look_at(hidden, memory, memory_mask, after), after

    def go_on(self, input_ids, state, attention_mask) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Reads on from a state. With padding, a row's state is the one after its last real token."""
        after = []
        if attention_mask is None:
            ragged, lengths, x = None, None, self.embed(input_ids)
        else:
            ragged = Ragged.layout(attention_mask, None)
            x = self.embed(ragged.gather(input_ids))
            lengths, read_any = ragged.lengths.clamp(min=1).cpu(), (ragged.lengths > 0)[:, None]

        def run(i: int, layer: RecurrentLayer, x: Tensor) -> Tensor:
            y, last = layer.step(x, state.layers[i], lengths)
            if ragged is not None:  # a row of padding only keeps its state
                last = tuple(torch.where(read_any, new, old) for new, old in zip(last, state.layers[i], strict=True))
            after.append(last)
            return y

        hidden = self.stack(x, run)
        return hidden if ragged is None else ragged.scatter(hidden, input_ids.shape), after

    def look_at(self, hidden, memory, memory_mask, state) -> Tensor:
        """Adds what the memory (given now, or kept by the state) says to each hidden vector."""
        if self.cross_attention is None:
            if memory is not None:
                raise ValueError("this decoder has no cross_attention, so it cannot look at a memory")
            return hidden
        known = None if state is None else state.memory
        if known is None:
            if memory is None:
                raise ValueError("a decoder with cross_attention needs a memory on its first call")
            known = Memory([self.cross_attention.project(memory)], memory_mask)
            if state is not None:
                state.memory = known
        key, value = known.layers[0]
        seen: Visible = visible(hidden.shape[1], key.shape[2], False, known.mask, device=key.device)
        return hidden + self.dropout(self.cross_attention(hidden, key, value, seen))
