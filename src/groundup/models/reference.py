"""The equations of an LSTM, to be read. ``models/recurrent.py`` runs the fused kernels; a test holds them equal."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTMCell(nn.Module):
    """One step of a long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000)::

        i = sigmoid(W_i x + U_i h + b_i)    input gate: how much of the new content is written
        f = sigmoid(W_f x + U_f h + b_f)    forget gate: how much of the old cell is kept
        g = tanh   (W_g x + U_g h + b_g)    new content
        o = sigmoid(W_o x + U_o h + b_o)    output gate: how much of the cell is shown
        c' = f * c + i * g                  the cell: a sum, so gradients pass through many steps
        h' = o * tanh(c')                   the hidden state

    ``weight_ih`` stacks W_i, W_f, W_g, W_o (4H, D); ``weight_hh`` the U (4H, H); the bias is split in two, as in
    ``torch.nn.LSTM``, whose weights can be copied over. Shapes: x (B, D), h and c (B, H) -> h', c' (B, H).
    """

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(4 * width, width_in) * width_in**-0.5)
        self.weight_hh = nn.Parameter(torch.randn(4 * width, width) * width**-0.5)
        self.bias_ih = nn.Parameter(torch.zeros(4 * width))
        self.bias_hh = nn.Parameter(torch.zeros(4 * width))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        gates = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def unroll(self, x: Tensor) -> Tensor:
        """Reads (B, T, D) from left to right, starting from zeros -> (B, T, H)."""
        h = c = x.new_zeros(len(x), self.weight_hh.shape[1])
        outputs = []
        for step in x.unbind(1):
            h, c = self(step, h, c)
            outputs.append(h)
        return torch.stack(outputs, 1)
