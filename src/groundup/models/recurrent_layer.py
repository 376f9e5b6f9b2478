"""One recurrent layer over the fused kernels of torch, in one or two directions."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from groundup.models.norm import Norm, make_norm

Cell = Literal["lstm", "gru", "rnn"]
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@cache
def recurs_in_bfloat16() -> bool:
    """Whether this processor has an LSTM of bfloat16: oneDNN has none without AVX-512, and fails when it is asked."""
    return not torch.backends.mkldnn.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class LockedDropout(nn.Dropout):
    """Dropout on (N, L, D) with one mask for all L steps. Source: Gal and Ghahramani 2016."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return x * super().forward(x.new_ones(x.shape[0], 1, x.shape[2]))


class RecurrentLayer(nn.Module):
    """One layer, its input normalised or not. Two directions are two modules of half the width; the second reads each
    text reversed.

    ``weight_drop`` drops entries of the hidden-to-hidden matrix, once a call, so all steps see the same matrix; the
    parameter keeps its plain name and value. Shapes: x (N, L, D_in) -> (N, L, D).
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        cell: Cell,
        bidirectional: bool,
        norm: Norm | Literal["none"],
        weight_drop: float,
    ):
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell {cell!r}: choose lstm, gru or rnn")
        self.weight_drop = weight_drop
        self.norm = nn.Identity() if norm == "none" else make_norm(norm, width_in)
        self.parts = 2 if cell == "lstm" else 1  # of a state: hidden, and the cell of an LSTM
        each = width // 2 if bidirectional else width
        self.forwards = CELLS[cell](width_in, each, batch_first=True)
        self.backwards = CELLS[cell](width_in, each, batch_first=True) if bidirectional else None
        for rnn in self.directions():
            self.initialize(rnn)

    def directions(self) -> list[nn.RNNBase]:
        return [self.forwards] if self.backwards is None else [self.forwards, self.backwards]

    @staticmethod
    def initialize(rnn: nn.RNNBase) -> None:
        """Inputs keep their variance, hidden states their length (Saxe et al. 2014), and an LSTM starts by
        remembering: forget gate bias 1 (Jozefowicz et al. 2015)."""
        for name, parameter in rnn.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.normal_(parameter, std=rnn.input_size**-0.5)
            elif name.startswith("weight_hh"):
                for gate in parameter.data.split(rnn.hidden_size):
                    nn.init.orthogonal_(gate)
            elif name.startswith("bias"):
                nn.init.zeros_(parameter)
                if isinstance(rnn, nn.LSTM) and name.startswith("bias_ih"):
                    nn.init.ones_(parameter.data[rnn.hidden_size : 2 * rnn.hidden_size])
            else:
                raise TypeError(f"no rule how {name} starts")

    def dropped(self, rnn: nn.RNNBase) -> Tensor | None:
        """The hidden-to-hidden matrix of one pass, where training drops entries of it."""
        if not self.training or not self.weight_drop:
            return None
        return nn.functional.dropout(rnn.get_parameter("weight_hh_l0"), self.weight_drop)

    @staticmethod
    def run(rnn: nn.RNNBase, matrix: Tensor | None, x: Any, state: Any = None):
        if torch.is_autocast_enabled("cpu") and not recurs_in_bfloat16() and x[0].device.type == "cpu":
            x = x.float()
            if state is not None:
                state = state.float() if isinstance(state, Tensor) else tuple(part.float() for part in state)
            with torch.autocast("cpu", enabled=False):
                return RecurrentLayer.run(rnn, matrix, x, state)
        return rnn(x, state) if matrix is None else functional_call(rnn, {"weight_hh_l0": matrix}, (x, state))

    def forward(self, x: Tensor, reverse=lambda x: x.flip(1)) -> Tensor:
        """``reverse``: turns each row's real tokens around (and back)."""
        x = self.norm(x)
        y, _ = self.run(self.forwards, self.dropped(self.forwards), x)
        if self.backwards is None:
            return y
        z, _ = self.run(self.backwards, self.dropped(self.backwards), reverse(x))
        return torch.cat((y, reverse(z)), dim=-1)

    def step(self, x: Any, before: tuple[Tensor, ...], matrix: Tensor | None, lengths: Tensor | None = None):
        """From left to right from a state: x (N, L, D_in) -> (N, L, D), and the state after the last real token.

        ``matrix``: from ``dropped``.
        """
        x, columns = self.norm(x), x.shape[1]
        if lengths is not None:  # the state in the middle of a row is what only a packed sequence gives
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        before = tuple(part.unsqueeze(0) for part in before)
        y, after = self.run(self.forwards, matrix, x, before if self.parts == 2 else before[0])
        if lengths is not None:
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=columns)
        after = after if self.parts == 2 else (after,)
        return y, tuple(part.squeeze(0) for part in after)
