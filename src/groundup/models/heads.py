"""From hidden states to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.backbone import Backbone
from groundup.models.initialize import embedding_std
from groundup.models.norm import RMSNorm
from groundup.ranges import Rate


class LanguageModelHead(nn.Module):
    """Logits over the vocabulary: hidden (..., D) -> (..., V).

    ``tied``: the matrix is the backbone's embedding (Press and Wolf 2017); it is looked up there, not registered here,
    so there is one copy in every state_dict and the tie cannot break. Where the hidden width is not the embedding's, a
    linear map lies between. ``transform``: a dense layer, GELU and a norm first, as BERT
    has it for masked tokens.
    """

    def __init__(self, backbone: Backbone, tied: bool = True, transform: bool = False):
        super().__init__()
        self.tied = tied
        width = backbone.embedding.embedding_dim if tied else backbone.width
        self.transform = None
        if transform or width != backbone.width:
            dense = nn.Linear(backbone.width, width, bias=False)
            nn.init.normal_(dense.weight, std=backbone.width**-0.5)
            self.transform = nn.Sequential(dense, nn.GELU(), RMSNorm(width)) if transform else dense
        if tied:
            self._tied_to: tuple[Backbone] = (backbone,)  # a tuple hides it from state_dict and parameters
        else:
            self.weight = nn.Parameter(torch.randn(backbone.vocab_size, width) * embedding_std(width))

    @property
    def matrix(self) -> Tensor:
        """(V, width): a row for each token of the vocabulary."""
        return self._tied_to[0].embedding.weight if self.tied else self.weight

    def features(self, hidden: Tensor) -> Tensor:
        """What the matrix is multiplied with, (..., width)."""
        return hidden if self.transform is None else self.transform(hidden)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(self.features(hidden), self.matrix)


class SequenceHead(nn.Module):
    """Dropout and a linear map: pooled (B, D) -> logits (B, outputs), close to uniform at the start."""

    def __init__(self, width: int, outputs: int, dropout: Rate = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.linear(self.dropout(pooled))
