"""How a recurrent decoder looks at an encoder's output: with one head, on top of its layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from groundup.models.attention import Visible, attend, look

Score = Literal["dot", "general", "additive"]


class MemoryAttention(nn.Module):
    """Attention and the attentional vector ``tanh(W [context; hidden])``, where context = sum of weight x memory.

    Scores of a hidden vector h and a memory vector m: ``dot`` h . m, ``general`` h . W m (both Luong et al. 2015),
    ``additive`` v . tanh(W h + U m) (Bahdanau et al. 2015).
    Shapes: memory (B, S, D) -> ``project`` -> keys and values (B, S, D); hidden (B, T, D) -> (B, T, D).
    """

    def __init__(self, width: int, score: Score):
        super().__init__()
        if score not in ("dot", "general", "additive"):
            raise ValueError(f"attention {score!r}: choose none, dot, general or additive")
        self.score = score
        self.key = nn.Identity() if score == "dot" else nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False) if score == "additive" else None
        self.energy = nn.Linear(width, 1, bias=False) if score == "additive" else None
        self.combine = nn.Linear(2 * width, width, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Once a source: what queries are compared with, and what is taken from."""
        return self.key(memory), memory

    def forward(self, hidden: Tensor, key: Tensor, value: Tensor, seen: Visible) -> Tensor:
        # Rows that share a source ask it together (see ``Memory``).
        together = hidden.reshape(len(key), -1, hidden.shape[-1])
        if self.score == "additive":
            context = self.weights(together, key, value, seen) @ value
        else:
            context = attend(together.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), seen, scale=1.0)  # one head
        return self.combine(torch.cat((context.view_as(hidden), hidden), dim=-1)).tanh()

    def weights(self, hidden: Tensor, key: Tensor, value: Tensor, seen: Visible) -> Tensor:
        """(B, T, S), rows sum to one; arguments as for ``forward``."""
        if self.query is None or self.energy is None:
            scores = hidden @ key.mT
        else:  # in place: the sum (B, T, S, D) is the largest tensor of all, and only its tanh is needed later
            scores = self.energy((self.query(hidden).unsqueeze(2) + key.unsqueeze(1)).tanh_()).squeeze(-1)
        return look(scores.unsqueeze(1), seen).squeeze(1)
