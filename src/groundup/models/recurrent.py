"""LSTM, GRU and plain RNN: as an encoder (read both ways) or a decoder (left to right)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.attention import Visible, visible
from groundup.models.cache import Memory, RecurrentState
from groundup.models.linear import FusedLinear
from groundup.models.memory_attention import MemoryAttention
from groundup.models.norm import Norm
from groundup.models.pooling import Pooling
from groundup.models.ragged import Ragged
from groundup.models.recurrent_layer import Cell, RecurrentLayer
from groundup.models.recurrent_stack import Recurrent
from groundup.ranges import Count, Rate


class RecurrentEncoder(Recurrent):
    """Reads a text in both directions (``bidirectional``), so each hidden vector knows all of it. Padding never leaks.

    Source: Graves and Schmidhuber 2005.
    """

    kind = "encoder"

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 256,
        layers: Count = 2,
        cell: Cell = "lstm",
        bidirectional: bool = True,
        embedding_width: Count | None = None,
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
    """Reads from left to right; with ``cross_attention`` it also knows an encoder's output, the memory.

    It starts from a learned map of the memory's last and first vectors, which hold both final states of a BiLSTM.
    ``attention`` (see ``MemoryAttention``; ``none``: the start is all it knows) looks at all of the memory from the top
    layer. ``input_feeding``: what that gave goes into the first layer's next step, so that a step knows where the one
    before looked; the price is a loop over steps instead of one fused kernel. Both only with ``cross_attention``.

    Raises UserError for input feeding with nothing to feed.
    Source: Sundermeyer et al. 2012; Sutskever et al. 2014; Luong et al. 2015 (attention on top, input feeding).
    """

    kind = "decoder"

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 256,
        layers: Count = 2,
        cell: Cell = "lstm",
        embedding_width: Count | None = None,
        norm: Norm | Literal["none"] = "none",
        residual: bool = False,
        dropout: Rate = 0.0,
        locked_dropout: bool = False,
        embedding_dropout: Rate = 0.0,
        weight_drop: Rate = 0.0,
        cross_attention: bool = False,
        attention: Literal["none", "dot", "general", "additive"] = "general",
        input_feeding: bool = False,
    ):
        if input_feeding and (not cross_attention or attention == "none"):
            raise UserError(
                "input_feeding feeds back what attention to an encoder says, and here is none. Try "
                + ("model.decoder.attention=general" if cross_attention else "model.input_feeding=false")
            )
        super().__init__(
            vocab_size, width, layers, cell, False, embedding_width, norm, residual,
            dropout, locked_dropout, embedding_dropout, weight_drop, fed=width if input_feeding else 0,
        )  # fmt: skip
        self.cross_attention, self.input_feeding = cross_attention, input_feeding
        self.parts = self.blocks[0].parts  # of a layer's state
        self.top_attention: MemoryAttention | None = None
        self.start: Any = None
        if cross_attention:
            self.start = FusedLinear(2 * width, [width] * (layers * self.parts), bias=True)
            nn.init.normal_(self.start.weight, std=(2 * width) ** -0.5)
            nn.init.zeros_(self.start.bias)
            if attention != "none":
                self.top_attention = MemoryAttention(width, attention)

    def initial_state(self, batch_size: int, max_length: int | None = None, device=None, dtype=None) -> RecurrentState:
        """Nothing read: zeros, until a memory comes. ``max_length`` is there for the protocol: this state never grows."""
        weight = self.embedding.weight
        zeros = torch.zeros(batch_size, self.width, device=device or weight.device, dtype=dtype or weight.dtype)
        return RecurrentState([(zeros,) * self.parts for _ in self.blocks])

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
        if document_ids is not None and (state is not None or self.cross_attention):
            raise ValueError("document_ids are for whole windows; a state or a memory is for one document a row")
        if self.cross_attention and (state is None or state.length == 0):
            if memory is None:
                raise ValueError("a decoder with cross_attention needs a memory on its first call")
            before = self.begin(memory, memory_mask)
        elif memory is not None and not self.cross_attention:
            raise ValueError("this decoder has no cross_attention, so it cannot look at a memory")
        elif state is None:
            return self.read(input_ids, attention_mask, document_ids), None
        else:
            before = state
        hidden, layers = self.go_on(input_ids, before, attention_mask, last=state is not None)
        if state is None:
            return hidden, None
        return hidden, RecurrentState(layers, before.length + input_ids.shape[1], before.memory)

    def begin(self, memory: Tensor, memory_mask: Tensor | None) -> RecurrentState:
        """The state that a memory (B, S, D) leads to."""
        ends = [Pooling(kind, self.width)(memory, memory_mask) for kind in ("last", "cls")]
        parts = self.start(torch.cat(ends, dim=-1)).split(self.width, dim=-1)
        layers = [
            (parts[i].tanh(), *parts[i + 1 : i + self.parts])  # a hidden state is bounded, an LSTM's cell is not
            for i in range(0, len(parts), self.parts)
        ]
        if self.input_feeding:
            layers.append((torch.zeros_like(layers[0][0]),))
        if self.top_attention is None:
            return RecurrentState(layers)
        return RecurrentState(layers, memory=Memory([self.top_attention.project(memory)], memory_mask))

    def go_on(self, input_ids, state: RecurrentState, attention_mask, last: bool) -> tuple[Tensor, list[tuple]]:
        """Reads on from a state. With padding, a row's state is that after its last real token, where it is wanted."""
        run = self.step_by_step if self.input_feeding else self.all_at_once
        if attention_mask is None:
            return run(self.embed(input_ids), state, None)
        ragged = Ragged.layout(attention_mask, None)
        hidden, after = run(self.embed(ragged.gather(input_ids)), state, ragged.lengths if last else None)
        return ragged.scatter(hidden, input_ids.shape), after

    def all_at_once(self, x: Tensor, state: RecurrentState, lengths: Tensor | None) -> tuple[Tensor, list[tuple]]:
        after = []

        def run(i: int, layer: RecurrentLayer, x: Tensor) -> Tensor:
            packed = None if lengths is None else lengths.clamp(min=1).cpu()
            y, new = layer.step(x, state.layers[i], layer.dropped(layer.forwards), packed)
            # a row of padding only keeps its state
            after.append(new if lengths is None else choose(lengths > 0, new, state.layers[i]))
            return self.dropout(y)

        hidden = self.stack(x, run)
        if self.top_attention is None:
            return hidden, after
        return self.dropout(self.top_attention(hidden, *self.known(state))), after

    def step_by_step(self, x: Tensor, state: RecurrentState, lengths: Tensor | None) -> tuple[Tensor, list[tuple]]:
        """Each step reads, beside its token, the attentional vector of the step before."""
        assert self.top_attention is not None
        before, after, vectors, known = state.layers, [], [], self.known(state)
        # Drawn before the loop, so that what is locked, or dropped from a matrix, is so for all steps.
        matrices = [layer.dropped(layer.forwards) for layer in self.blocks]
        ones = x.new_ones(*x.shape[:2], self.width)
        masks = [self.dropout(ones) for _ in range(len(self.blocks) + 1)] if self.training else None

        def drop(i: int, y: Tensor) -> Tensor:
            return y if masks is None else y * masks[i][:, t : t + 1]

        def run(i: int, layer: RecurrentLayer, x: Tensor) -> Tensor:
            y, new = layer.step(x, before[i], matrices[i])
            after.append(new)
            return drop(i, y)

        for t in range(x.shape[1]):
            after, fed = [], before[-1][0].unsqueeze(1)
            hidden = self.stack(torch.cat((x[:, t : t + 1], fed), dim=-1), run)
            vectors.append(drop(-1, self.top_attention(hidden, *known)))
            after.append((vectors[-1].squeeze(1),))
            if lengths is not None:
                after = [choose(t < lengths, new, old) for new, old in zip(after, before, strict=True)]
            before = after
        return torch.cat(vectors, dim=1), before

    @staticmethod
    def known(state: RecurrentState) -> tuple[Tensor, Tensor, Visible]:
        """Keys, values, and which of them are real."""
        assert state.memory is not None
        key, value = state.memory.layers[0]
        return key, value, visible(1, key.shape[1], False, state.memory.mask, device=key.device)


def choose(rows: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The new parts of a state in these ``rows`` (N,) bool, the old ones elsewhere."""
    return tuple(torch.where(rows.unsqueeze(-1), *pair) for pair in zip(new, old, strict=True))
