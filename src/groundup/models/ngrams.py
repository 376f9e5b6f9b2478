"""Small strong encoders that look at short stretches of a text: filters over n-grams, and a bag of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import ArgumentError
from groundup.models.backbone import EncoderBackbone
from groundup.models.layers import Dropout, plus
from groundup.models.recurrent_layer import Ragged
from groundup.ranges import Count, Rate

PRIME, FACTOR = 2**31 - 1, 1_000_003  # of the hash: products stay below 2**63
START = 0.4  # length of an embedding at the start: a tied head is then close to uniform


class NgramFilters(nn.Module):
    """Filters of each size from ``shortest`` to ``longest`` at every position, the window around it, then ReLU.

    The sizes share ``width`` evenly. What lies outside of a text is zero. Shapes: x (N, L, E) -> (N, L, D).
    """

    def __init__(self, width_in: int, width: int, shortest: int, longest: int):
        super().__init__()
        sizes = range(shortest, longest + 1)
        each, rest = divmod(width, len(sizes))
        convolutions = [nn.Conv1d(width_in, each + (place < rest), size) for place, size in enumerate(sizes)]
        for convolution, size in zip(convolutions, sizes, strict=True):
            nn.init.normal_(convolution.weight, std=(size * width_in) ** -0.5)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
        self.convolutions: Any = nn.ModuleList(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mT  # (N, E, L)
        found = []
        for convolution in self.convolutions:
            (size,) = convolution.kernel_size
            found.append(convolution(F.pad(x, ((size - 1) // 2, size // 2))))
        return torch.cat(found, dim=1).relu().mT


class CNNEncoder(EncoderBackbone):
    """Convolutions of several sizes over embeddings. With ``task.pooling=max`` it is the classifier of Kim 2014.

    ``width``: of the hidden vectors, all filters together; ``shortest``, ``longest``: tokens that a filter sees.
    ``embedding_width``: None: ``width``. ``dropout``: on the embeddings. ``position_ids`` say nothing to it.

    Raises ArgumentError for sizes in the wrong order, or more of them than filters.
    """

    reads_both_ways = False

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 128,
        shortest: Count = 2,
        longest: Count = 4,
        embedding_width: Count | None = None,
        dropout: Rate = 0.1,
    ):
        super().__init__()
        if shortest > longest:
            raise ArgumentError(f"shortest={shortest} is longer than longest={longest}", f"shortest={longest}")
        if width <= longest - shortest:
            raise ArgumentError(f"width={width} has no filter for each size", f"width={longest - shortest + 1}")
        self.vocab_size, self.width = vocab_size, width
        self.embedding = nn.Embedding(vocab_size, embedding_width or width)
        nn.init.normal_(self.embedding.weight, std=START * self.embedding.embedding_dim**-0.5)
        self.dropout = Dropout(dropout)
        self.blocks: Any = nn.ModuleList([NgramFilters(self.embedding.embedding_dim, width, shortest, longest)])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is None and document_ids is None:
            return self.blocks[0](self.dropout(plus(self.embedding(input_ids), features)))
        ragged = Ragged.layout(attention_mask, document_ids)
        x = plus(self.embedding(ragged.gather(input_ids)), None if features is None else ragged.gather(features))
        x = self.dropout(x) * ragged.real.unsqueeze(-1)
        return ragged.scatter(self.blocks[0](x), input_ids.shape)


class BagOfNgrams(EncoderBackbone):
    """Each token's embedding plus those of the n-grams that end there. With ``task.pooling=mean`` it is like fastText.

    ``longest``: tokens of an n-gram. N-grams have no entries of their own: ``buckets`` embeddings are shared by hash.
    ``dropout``: on the sum. ``position_ids`` say nothing to it. Source: Joulin et al. 2017.
    """

    reads_both_ways = False

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 128,
        longest: Count = 2,
        buckets: Count = 1 << 16,
        dropout: Rate = 0.1,
    ):
        super().__init__()
        self.vocab_size, self.width, self.longest = vocab_size, width, longest
        self.embedding = nn.Embedding(vocab_size, width)
        self.ngrams = nn.Embedding(buckets, width) if longest > 1 else None
        for table in (self.embedding, self.ngrams):
            if table is not None:
                nn.init.normal_(table.weight, std=START * width**-0.5)
        self.dropout = Dropout(dropout)
        self.blocks: list[nn.Module] = []

    def levels(self) -> list[list[nn.Module]]:
        return [[self.embedding, *([] if self.ngrams is None else [self.ngrams])]]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is None and document_ids is None:
            return self.dropout(plus(self.sum(input_ids), features))
        ragged = Ragged.layout(attention_mask, document_ids)
        hidden = plus(self.sum(ragged.gather(input_ids)), None if features is None else ragged.gather(features))
        hidden = hidden * ragged.real.unsqueeze(-1)
        return ragged.scatter(self.dropout(hidden), input_ids.shape)

    def sum(self, ids: Tensor) -> Tensor:
        """(N, L) texts that begin on the left -> (N, L, D)."""
        x, code = self.embedding(ids), ids + 1
        for size in range(2, self.longest + 1):  # n-grams of this size, by the token that they end with
            if size > ids.shape[1]:
                break
            code = (code[:, :-1] * FACTOR + ids[:, size - 1 :] + 1) % PRIME
            assert self.ngrams is not None
            x = x + F.pad(self.ngrams((code + size) % self.ngrams.num_embeddings), (0, 0, size - 1, 0))
        return x
