"""Embeddings and a stack of recurrent layers."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.models.norm import Norm
from groundup.models.ragged import Ragged
from groundup.models.recurrent_layer import Cell, LockedDropout, RecurrentLayer


class Recurrent(Backbone):
    """What encoder and decoder share: embeddings and a stack of recurrent layers.

    ``width``: of the hidden vectors; a bidirectional encoder gives half of it to each direction. ``dropout``: on
    the embeddings, between layers and on the output, anew for each token or, with ``locked_dropout``, one mask for all
    steps of a text (Gal and Ghahramani 2016). ``embedding_dropout``: whole words of the vocabulary.
    ``weight_drop``: on the hidden-to-hidden matrices (Merity et al. 2018). ``norm``: of each layer's input.
    ``residual``: each layer after the first adds to its input. ``fed``: features that the first layer reads beside the
    embedding.
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
        fed: int = 0,
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
        inputs = [embedding_width + fed] + [width] * (layers - 1)
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
        """Passes (N, L, D) through the layers; ``run(i, layer, x)`` runs one, dropout included."""
        for i, layer in enumerate(self.blocks):
            y = run(i, layer, x)
            x = x + y if self.residual and i else y
        return x

    def read(self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None) -> Tensor:
        """Whole texts from empty states: (B, T) ids -> hidden (B, T, D)."""
        if attention_mask is None and document_ids is None:
            return self.stack(self.embed(input_ids), lambda i, layer, x: self.dropout(layer(x)))
        ragged = Ragged.layout(attention_mask, document_ids)
        x = self.embed(ragged.gather(input_ids))
        hidden = self.stack(x, lambda i, layer, x: self.dropout(layer(x, ragged.reverse)))
        return ragged.scatter(hidden, input_ids.shape)
