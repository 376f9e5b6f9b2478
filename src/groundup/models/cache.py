"""What a decoder remembers between tokens. One protocol, so that one decoding engine serves every family."""

from __future__ import annotations

import math
from typing import Protocol, Self

import torch
from torch import Tensor


class DecoderState(Protocol):
    """``length``: tokens (padding included) read so far. ``reorder(index)``, index (N,): a state whose row i was row
    ``index[i]``; rows may be repeated or left out, so it serves beams, several samples a prompt, and dropping rows that are done.
    ``join(other, room)``: a state with the rows of ``other`` behind its own, and room for so many tokens more; both without
    a memory, and the shorter padded in front.
    """

    length: int

    def reorder(self, index: Tensor) -> Self: ...

    def join(self, other: Self, room: int) -> Self: ...


class Memory:
    """An encoder's output as a decoder's layers see it: keys and values of each layer, projected once.

    There may be fewer sources than rows of text: N rows of S sources, where row r looks at source ``r // (N / S)``. So
    the beams of a source share one memory, which nothing moves while they are reordered among themselves.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], mask: Tensor | None):
        self.layers = layers  # keys and values of each layer, a row for each source
        self.mask = mask  # (sources, tokens of a source) bool

    def reorder(self, index: Tensor, rows: int) -> Memory:
        """The memory of the rows ``index`` (N,), of ``rows`` in all."""
        sources = len(self.layers[0][0])
        source, count = torch.unique_consecutive(index // (rows // sources), return_counts=True)
        if not (count == count[0]).all():
            source = index // (rows // sources)
        if len(source) == sources and (source == torch.arange(sources, device=source.device)).all():
            return self
        mask = None if self.mask is None else self.mask[source]
        return Memory([(key[source], value[source]) for key, value in self.layers], mask)


class KeyValueCache:
    """Keys and values of every layer, allocated once for ``max_length`` slots, and once more when first reordered.

    The decoder writes into it and returns it. Slots of padding stay in it and are masked, so prompts of different
    lengths may be padded on either side. What ``reorder`` returns takes the place of the state, whose own space will
    hold the next one.
    """

    def __init__(self, shape: tuple[int, ...], space: Tensor, spare: Tensor | None = None):
        """shape: (layers, 2, B, max_length, kv_heads, head_dim), keys and values; ``space``, ``spare``: flat, as large
        or larger, the second for the state that comes after ``reorder``."""
        self.space, self.spare = space, spare
        self.store = space[: math.prod(shape)].view(shape)
        slots = self.store.transpose(3, 4)  # by head, as attention reads them
        self.layers = [(slots[layer, 0], slots[layer, 1]) for layer in range(shape[0])]  # (B, G, max_length, d) each
        self.length = 0
        self.mask: Tensor | None = None  # (B, max_length) bool; None: every slot so far is a real token
        self.memory: Memory | None = None

    @property
    def max_length(self) -> int:
        return self.store.shape[3]

    def key_mask(self, attention_mask: Tensor | None, tokens: int) -> Tensor | None:
        """(B, length + tokens): which slots are real, once ``tokens`` more of mask ``attention_mask`` are written."""
        if self.length + tokens > self.max_length:
            raise ValueError(f"cache of {self.max_length} slots cannot take {tokens} more after {self.length}")
        if attention_mask is not None:
            if self.mask is None:
                self.mask = torch.ones(self.store.shape[2], self.max_length, dtype=torch.bool, device=self.store.device)
            self.mask[:, self.length : self.length + tokens] = attention_mask
        return None if self.mask is None else self.mask[:, : self.length + tokens]

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts (B, G, T, d) behind what is there; all of it back. ``advance`` ends the turn for all layers."""
        end = self.length + key.shape[2]
        known = []
        for slots, new in zip(self.layers[layer], (key, value), strict=True):
            slots.narrow(2, self.length, key.shape[2]).copy_(new)
            known.append(slots.narrow(2, 0, end).to(new.dtype))
        return known[0], known[1]

    def advance(self, tokens: int) -> None:
        self.length += tokens

    def reorder(self, index: Tensor) -> KeyValueCache:
        layers, two, rows, *rest = self.store.shape
        shape = (layers, two, len(index), *rest)
        spare = self.spare
        if spare is None or len(spare) < math.prod(shape):
            spare = self.space.new_empty(math.prod(shape))
        moved = KeyValueCache(shape, spare, self.space)
        known = slice(0, self.length)
        torch.index_select(self.store[:, :, :, known], 2, index, out=moved.store[:, :, :, known])
        moved.length = self.length
        moved.mask = None if self.mask is None else self.mask[index]
        moved.memory = None if self.memory is None else self.memory.reorder(index, rows)
        return moved

    def join(self, other: KeyValueCache, room: int) -> KeyValueCache:
        """Slots in front that are padding in every row are given up."""
        parts = [(one, one._unused()) for one in (self, other)]
        length = max(one.length - unused for one, unused in parts)
        layers, two, _, _, *rest = self.store.shape
        rows = [one.store.shape[2] for one, _ in parts]
        shape = (layers, two, sum(rows), length + room, *rest)
        # Zeros, not whatever lies there: a NaN in a slot that is masked would still be one in the sum over all slots.
        joined = KeyValueCache(shape, self.space.new_zeros(math.prod(shape)))
        joined.length = length
        joined.mask = torch.ones(shape[2], shape[3], dtype=torch.bool, device=self.store.device)
        joined.mask[:, :length] = False
        for (one, unused), place in zip(parts, (slice(0, rows[0]), slice(rows[0], None)), strict=True):
            known = slice(length - one.length + unused, length)
            joined.store[:, :, place, known] = one.store[:, :, :, unused : one.length]
            joined.mask[place, known] = True if one.mask is None else one.mask[:, unused : one.length]
        return joined

    def _unused(self) -> int:
        """Slots in front in which no row has a token."""
        return 0 if self.mask is None else int(self.mask[:, : self.length].any(0).long().argmax())


class RecurrentState:
    """The last hidden vectors (and LSTM cells) of every layer; replaced, not written, at each step."""

    def __init__(self, layers: list[tuple[Tensor, ...]], length: int = 0, memory: Memory | None = None):
        self.layers = layers  # of each layer: (hidden (B, H),) or (hidden, cell)
        self.length = length
        self.memory = memory

    def reorder(self, index: Tensor) -> RecurrentState:
        memory = None if self.memory is None else self.memory.reorder(index, len(self.layers[0][0]))
        return RecurrentState([tuple(part[index] for part in layer) for layer in self.layers], self.length, memory)

    def join(self, other: RecurrentState, room: int) -> RecurrentState:
        pairs = zip(self.layers, other.layers, strict=True)
        layers = [tuple(map(torch.cat, zip(*pair, strict=True))) for pair in pairs]
        return RecurrentState(layers, max(self.length, other.length))
