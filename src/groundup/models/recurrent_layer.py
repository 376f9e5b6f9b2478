"""One recurrent layer, in one or two directions, and how texts of different lengths are laid out for it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from groundup.models.kernels import recurrence
from groundup.models.layers import Norm, make_norm
from groundup.ranges import Rate

Cell = Literal["lstm", "gru", "rnn"]
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}  # ``kernels.PlainLSTM`` has the equations


class LockedDropout(nn.Dropout):
    """Dropout on (N, L, D) with one mask for all L steps. Source: Gal and Ghahramani 2016."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return x * super().forward(x.new_ones(x.shape[0], 1, x.shape[2]))


class RecurrentLayer(nn.Module):
    """One layer, its input normalised or not. Two directions are two modules of half the width; the second reads each
    text reversed.

    ``weight_drop`` (Merity et al. 2018) drops entries of the hidden-to-hidden matrix, once a call: all steps see one; the
    parameter keeps its plain name and value. Shapes: x (N, L, D_in) -> (N, L, D).
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        bidirectional: bool = False,
        *,
        cell: Cell = "lstm",
        norm: Norm | Literal["none"] = "none",
        weight_drop: Rate = 0.0,
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

    def forward(self, x: Tensor, reverse=lambda x: x.flip(1)) -> Tensor:
        """``reverse``: turns each row's real tokens around (and back)."""
        x = self.norm(x)
        y, _ = recurrence(self.forwards, x, weight_hh=self.dropped(self.forwards))
        if self.backwards is None:
            return y
        z, _ = recurrence(self.backwards, reverse(x), weight_hh=self.dropped(self.backwards))
        return torch.cat((y, reverse(z)), dim=-1)

    def step(self, x: Any, before: tuple[Tensor, ...], weight_hh: Tensor | None, lengths: Tensor | None = None):
        """From left to right from a state: x (N, L, D_in) -> (N, L, D), and the state after the last real token.

        ``weight_hh``: from ``dropped``.
        """
        x, columns = self.norm(x), x.shape[1]
        if lengths is not None:  # the state in the middle of a row is what only a packed sequence gives
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        before = tuple(part.unsqueeze(0) for part in before)
        y, after = recurrence(self.forwards, x, before if self.parts == 2 else before[0], weight_hh)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=columns)
        after = after if self.parts == 2 else (after,)
        return y, tuple(part.squeeze(0) for part in after)


class Ragged(NamedTuple):
    """A batch (B, T) with holes, laid out again as (N, L): each row one text, its real tokens first.

    A recurrent layer that reads the new rows from the left meets padding only after the last real token, and one that
    reads them reversed as well: nothing leaks, and the fused kernels run at full speed. (``PackedSequence`` is as
    correct, but its CPU kernels take 2.6 times as long, and 7 times in bf16.)
    """

    tokens: Tensor  # (N, L) which flat token of the batch stands here; padding repeats token 0
    slots: Tensor  # (B * T,) where each flat token went; padding points at slot 0
    lengths: Tensor  # (N,)
    backwards: Tensor  # (N * L,) flat slots with each row's real tokens reversed; its own inverse

    @classmethod
    def layout(cls, attention_mask: Tensor | None, document_ids: Tensor | None) -> Ragged:
        """Padding may stand anywhere. With ``document_ids`` (B, T) each document is a row of its own, so it starts
        from an empty state and ends before the next begins."""
        if attention_mask is None:
            assert document_ids is not None, "without holes or documents there is nothing to lay out"
            attention_mask = torch.ones_like(document_ids, dtype=torch.bool)
        real, (B, T), device = attention_mask, attention_mask.shape, attention_mask.device
        if document_ids is None:
            row, column = torch.arange(B, device=device)[:, None].expand(B, T), real.long().cumsum(1) - 1
            rows, columns = B, T
        else:
            # Compare with the document of the last real token, so that a hole does not split a document.
            at = torch.where(real, torch.arange(T, device=device), -1).cummax(1).values
            before = at.roll(1, 1).index_fill_(1, torch.zeros(1, dtype=torch.long, device=device), -1)
            same = (document_ids == document_ids.gather(1, before.clamp(min=0))) & (before >= 0)
            starts = (real & ~same).flatten()
            row = (starts.cumsum(0) - 1).view(B, T)
            count = real.flatten().cumsum(0) - 1
            first = torch.where(starts, count, 0).cummax(0).values
            column = (count - first).view(B, T)
            rows = int(starts.sum())
            columns = int(torch.where(real, column, 0).max()) + 1 if rows else 1
            rows = max(rows, 1)
        slots = torch.where(real, row * columns + column, rows * columns).flatten()
        tokens = slots.new_zeros(rows * columns + 1).scatter_(0, slots, torch.arange(B * T, device=device))
        lengths = slots.new_zeros(rows + 1).scatter_add_(0, slots // columns, torch.ones_like(slots))[:-1]
        step = torch.arange(columns, device=device)
        turned = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)
        backwards = (turned + torch.arange(rows, device=device)[:, None] * columns).flatten()
        return cls(
            tokens[:-1].view(rows, columns),
            torch.where(real.flatten(), slots, 0),
            lengths,
            backwards,
        )

    @property
    def real(self) -> Tensor:
        """(N, L) bool: which tokens are no padding."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]

    def gather(self, values: Tensor) -> Tensor:
        """(B, T, ...) -> (N, L, ...)."""
        return values.flatten(0, 1)[self.tokens]

    def scatter(self, hidden: Tensor, shape: torch.Size) -> Tensor:
        """(N, L, D) -> (B, T, D); what stands at padding is of no meaning."""
        return hidden.flatten(0, 1).index_select(0, self.slots).view(*shape, -1)

    def reverse(self, x: Tensor) -> Tensor:
        """(N, L, D) with the real tokens of each row in reverse order."""
        return x.flatten(0, 1).index_select(0, self.backwards).view_as(x)
