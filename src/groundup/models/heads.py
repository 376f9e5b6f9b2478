"""From hidden vectors to logits: pooling, heads, and a pointer that copies."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import ArgumentError
from groundup.models.attention import make_mask
from groundup.models.backbone import Backbone
from groundup.models.kernels import masked_softmax
from groundup.models.layers import RMSNorm, embedding_std, make_norm
from groundup.ranges import Rate

Transform = Literal["none", "rms", "bert"]


class Head(nn.Module):
    """From hidden vectors to what a task scores. Its matrices are the optimizer's group ``head``."""


class LanguageModelHead(Head):
    """Logits over the vocabulary: hidden (..., D) -> (..., V).

    ``tied``: the matrix is the backbone's embedding (Press and Wolf 2017); it is looked up there, not registered here,
    so there is one copy in every state_dict and the tie cannot break. Where the hidden width is not the embedding's, a
    linear map lies between. ``transform``: a dense layer, GELU and a norm first, as BERT has it for masked tokens: ``rms``
    with our norm and no biases; ``bert`` with a LayerNorm and biases, also of the output, as in its weights.
    """

    def __init__(self, backbone: Backbone, tied: bool = True, transform: Transform = "none"):
        super().__init__()
        self.tied = tied
        width = backbone.embedding.embedding_dim if tied else backbone.width
        self.transform: nn.Module | None = None
        bert = transform == "bert"
        self.bias = nn.Parameter(torch.zeros(backbone.vocab_size)) if bert else None
        if transform != "none" or width != backbone.width:
            dense = nn.Linear(backbone.width, width, bias=bert)
            nn.init.normal_(dense.weight, std=backbone.width**-0.5)
            self.transform = dense
        if transform != "none":
            norm = make_norm("layer", width, backbone.norm_eps) if bert else RMSNorm(width)
            self.transform = nn.Sequential(dense, nn.GELU(), norm)
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
        return F.linear(self.features(hidden), self.matrix, self.bias)


class ClassificationHead(Head):
    """Dropout and a linear map: hidden (..., D) -> logits (..., classes), close to uniform at the start."""

    def __init__(self, width: int, classes: int, dropout: Rate = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.linear(self.dropout(hidden))


PoolingKind = Literal["cls", "mean", "max", "last", "attention", "pooler"]


def pooling_for(kind: PoolingKind, model: Backbone) -> Pooling:
    """The pooling of this kind for hidden states of ``model``.

    Raises ArgumentError for a kind that takes the first position, if the model has not read the whole text there.
    """
    if kind in ("cls", "pooler") and not model.reads_both_ways:
        raise ArgumentError(
            f"pooling={kind} takes the first position, and there a {type(model).__name__} has not seen the whole text",
            "pooling=mean",
        )
    return Pooling(kind, model.width)


class Pooling(nn.Module):
    """``cls``: first real token. ``last``: last real token. ``mean``, ``max``: over real tokens. ``attention``: a mean
    with learned weights (Yang et al. 2016). ``pooler``: a dense layer and tanh on top of ``cls``, as BERT
    has it. A row without real tokens gives zeros, or its first token.

    Shapes: hidden (B, T, D), attention_mask (B, T) bool or None -> (B, D).
    """

    def __init__(self, kind: PoolingKind, width: int):
        super().__init__()
        if kind not in get_args(PoolingKind):
            raise ValueError(f"pooling {kind!r}: choose {', '.join(get_args(PoolingKind))}")
        self.kind = kind
        self.score = nn.Linear(width, 1, bias=False) if kind == "attention" else None
        self.dense = nn.Linear(width, width) if kind == "pooler" else None
        if self.dense is not None:
            nn.init.normal_(self.dense.weight, std=width**-0.5)
            nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if attention_mask is None:
            attention_mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        if self.kind in ("cls", "last", "pooler"):
            order = torch.arange(hidden.shape[1], device=hidden.device) + 1
            at = (attention_mask * (order if self.kind == "last" else order.flip(0))).argmax(-1)
            chosen = hidden[torch.arange(hidden.shape[0], device=hidden.device), at]  # len() is no open size of a graph
            return chosen if self.dense is None else self.dense(chosen).tanh()
        real = attention_mask.unsqueeze(-1)
        if self.kind == "max":
            return hidden.masked_fill(~real, float("-inf")).amax(1).masked_fill(~real.any(1), 0.0)
        if self.score is None:
            weights = real.to(hidden.dtype) / real.sum(1, keepdim=True).clamp(min=1)
        else:
            # The lowest finite number: a row of padding only stays a number, and is zeroed by ``* real``.
            scores = self.score(hidden).masked_fill(~real, torch.finfo(hidden.dtype).min)
            weights = scores.softmax(1) * real
        return (weights.to(hidden.dtype) * hidden).sum(1)


class CopySource(NamedTuple):
    """What is pointed at: its ``ids`` (B, S), the encoder's output for them (B, S, D), that output as keys, and ``mask``
    (B, S), True = real token; None: all are."""

    ids: Tensor
    memory: Tensor
    key: Tensor
    mask: Tensor | None

    def rows(self, index: Tensor) -> CopySource:
        return CopySource(*(None if part is None else part[index] for part in self))  # type: ignore[arg-type]


class Pointer(nn.Module):
    """``p(w) = (1 - c) p_vocabulary(w) + c x (attention to the places where the source has w)``.

    c, the share that is copied, follows from the hidden vector and from what it looks at. Source: the pointer-generator
    of See et al. 2017, here with an attention head of its own, so that it goes on top of any decoder.
    """

    def __init__(self, width: int):
        super().__init__()
        self.key = nn.Linear(width, width, bias=False)
        self.share = nn.Linear(2 * width, 1)
        nn.init.normal_(self.key.weight, std=width**-0.5)
        nn.init.zeros_(self.share.weight)
        nn.init.zeros_(self.share.bias)

    def source(self, ids: Tensor, memory: Tensor, mask: Tensor | None) -> CopySource:
        """Once a batch: ids (B, S), the encoder's output (B, S, D) and its mask."""
        return CopySource(ids, memory, self.key(memory), mask)

    def attend(self, hidden: Tensor, source: CopySource) -> tuple[Tensor, Tensor]:
        """Hidden (B, T, D) -> what it points at, (B, T, S), rows sum to one; and the share c (B, T, 1)."""
        scores = hidden @ source.key.mT * hidden.shape[-1] ** -0.5
        mask = make_mask(1, source.ids.shape[1], False, source.mask)
        weights = masked_softmax(scores.unsqueeze(1), mask).squeeze(1)
        return weights, self.share(torch.cat((hidden, weights @ source.memory), dim=-1)).sigmoid()

    @staticmethod
    def mix(logits: Tensor, weights: Tensor, share: Tensor, ids: Tensor) -> Tensor:
        """Logits (N, V), weights (N, S), shares (N, 1), source tokens (N, S) -> log-probabilities (N, V) float32."""
        written = logits.float().softmax(-1) * (1 - share)
        mixed = written.scatter_add(1, ids, (weights * share).to(written.dtype))
        return mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log()

    def next(self, source: CopySource, logits: Tensor, hidden: Tensor, origin: Tensor) -> Tensor:
        """For decoding: logits (N, V) and hidden (N, D) of rows that grew from the sources ``origin`` (N,), as many from
        each, side by side -> log-probabilities (N, V)."""
        source = source.rows(origin.unique_consecutive())
        each = len(origin) // len(source.ids)
        weights, share = self.attend(hidden.view(-1, each, hidden.shape[-1]), source)
        return self.mix(logits, weights.flatten(0, 1), share.flatten(0, 1), source.ids.repeat_interleave(each, dim=0))
