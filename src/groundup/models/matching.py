"""Compares two texts that were read apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.heads import Head
from groundup.ranges import Rate

_ALIGNED = 4  # features of words found in the other text, without their difference


class Matching(Head):
    """Features of a pair: what is alike in its two texts, word by word and as a whole.

    Each token looks for the token of the other text that is most like it, by the cosine of their vectors; weighted means
    of what they find say how much of one text is in the other (Zhang et al. 2020, "BERTScore"; here the weights are
    learned). Beside them stand |u - v| and u * v of the pooled vectors (Conneau et al. 2017).

    ``ordered``: also u and v themselves, and which text has more of the other. Without it neither text is the first: to swap
    them changes nothing. ``features``: how many numbers that is, F.

    Shapes: hidden (2B, T, D), pooled (2B, D), attention_mask (2B, T) bool or None -> (B, F). The first texts of all pairs
    stand before the second ones.
    """

    def __init__(self, width: int, dropout: Rate = 0.0, ordered: bool = False):
        super().__init__()
        self.ordered = ordered
        self.features = (4 * width if ordered else 2 * width) + _ALIGNED + ordered
        self.gain = (2 * width) ** 0.5  # so that four figures of at most 1 weigh as much as the vectors beside them
        self.weight = nn.Linear(width, 1, bias=False)  # how much a token counts
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.weight.weight)  # all tokens alike

    def forward(self, hidden: Tensor, pooled: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        u, v = pooled.chunk(2)
        whole = [(u - v).abs(), u * v, *((u, v) if self.ordered else ())]
        aligned = self.gain * self.alignment(hidden, attention_mask)
        return torch.cat([self.dropout(torch.cat(whole, dim=-1)), aligned], dim=-1)

    def alignment(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """How much is in both texts, between -1 and 1, (B, 4): mean, product and minimum of the two directions' means of the
        most alike tokens, and the cosine of the weighted means of all tokens; with ``ordered`` (B, 5): also how far
        the two directions differ."""
        if attention_mask is None:
            attention_mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        lowest = torch.finfo(hidden.dtype).min
        weights = self.weight(hidden).squeeze(-1).masked_fill(~attention_mask, lowest).softmax(-1)  # (2B, T)
        one, other = F.normalize(hidden, dim=-1).chunk(2)
        (mask_one, mask_other), (w_one, w_other) = attention_mask.chunk(2), weights.chunk(2)
        alike = one @ other.mT  # (B, T, T)
        forth = (w_one * alike.masked_fill(~mask_other[:, None, :], -1.0).amax(2)).sum(1)  # (B,)
        back = (w_other * alike.masked_fill(~mask_one[:, :, None], -1.0).amax(1)).sum(1)
        mean_one, mean_other = (weights[..., None] * hidden).sum(1).chunk(2)
        cosine = F.cosine_similarity(mean_one, mean_other)
        found = [(forth + back) / 2, forth * back, torch.minimum(forth, back), cosine]
        return torch.stack([*found, *([forth - back] if self.ordered else [])], dim=-1)
