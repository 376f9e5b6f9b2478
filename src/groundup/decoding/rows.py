"""Rows of tokens that grow together, as a decoder reads them: batched, cached, each row as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import UserError
from groundup.models.backbone import DecoderBackbone
from groundup.models.cache import KeyValueCache

# What a decoder without a longest text reads at once, as memory for more may not be there: tokens, and with attention pairs of them.
TOKENS, PAIRS = 1 << 16, 1 << 24
Copy = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits (N, V), hidden (N, D), origin (N,) -> logits with copies


class Rows:
    """Texts on their way, the decoder's state after them, and the logits of what comes next.

    ``history`` (N, prompt + room) holds the tokens, -1 in front of shorter prompts, ``length`` columns so far;
    ``origin`` (N,): which prompt a row grew from; ``later`` (N,): how many tokens after the first row it began, which is 0
    but where other rows have joined. Where a row reaches the decoder's ``max_length``, it goes on from the
    later half of what it has. Raises UserError for a prompt without tokens.
    """

    def __init__(
        self,
        decoder: DecoderBackbone,
        head: nn.Module,
        prompts: Sequence[Sequence[int]],
        room: int,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        copy: Copy | None = None,
    ):
        if not all(len(prompt) for prompt in prompts):
            raise UserError("a prompt has no tokens, so there is nothing to go on from. Begin with the <bos> token")
        self.decoder, self.head, self.limit = decoder, head, decoder.max_length
        self.memory, self.memory_mask, self.copy = memory, memory_mask, copy
        self.device = decoder.embedding.weight.device
        self.start = self.length = max(map(len, prompts))
        padded = [[-1] * (self.length - len(prompt)) + list(prompt) + [-1] * room for prompt in prompts]
        self.history = torch.tensor(padded, device=self.device)
        self.origin = torch.arange(len(prompts), device=self.device)
        self.first = (self.history < 0).sum(1) - room  # column of the first token of each row that the decoder sees
        self.earliest = 0  # at most the least of them, known without asking the device
        self.later, self.latest = torch.zeros_like(self.origin), 0  # the second: the most of the first
        self.state: Any = None

    @property
    def written(self) -> int:
        """New tokens of the rows that began first."""
        return self.length - self.start

    @property
    def lengths(self) -> Tensor:
        """New tokens of each row (N,)."""
        return self.written - self.later

    def texts(self, rows: Tensor) -> list[list[int]]:
        """The new tokens of these rows (M,)."""
        return self.history[rows, self.start : self.length].tolist()

    def logits(self) -> Tensor:
        """Of the token after each row: (N, V) float32. Reads what has been appended, so call it once a token."""
        if self.state is None or (self.limit is not None and self.length - self.earliest > self.limit):
            hidden = self.read_again()
        else:
            position = {"position_ids": (self.length - 1 - self.first)[:, None]} if self.padded else {}
            last = self.history[:, self.length - 1 : self.length]
            hidden, self.state = self.decoder(last, self.state, **position)
        logits = self.head(hidden[:, -1]).float()
        return logits if self.copy is None else self.copy(logits, hidden[:, -1], self.origin)

    def read_again(self) -> Tensor:
        """Reads whole rows, padded in front, into a new state -> hidden (N, T, D) of the columns that were read last.

        Rows that are full are cut, and only those change.
        """
        if self.limit is not None:
            full = self.length - self.first > self.limit
            self.first = torch.where(full, self.length - max(1, self.limit // 2), self.first)
        self.earliest = int(self.first.min())
        self.padded = int(self.first.max()) > self.earliest
        ids = self.history[:, self.earliest : self.length].clamp(min=0)
        known: dict[str, Tensor | None] = {}
        if self.padded:
            at = torch.arange(self.earliest, self.length, device=self.device) - self.first[:, None]
            known = {"attention_mask": at >= 0, "position_ids": at.clamp(min=0)}
        if self.memory is not None:
            known["memory"] = self.memory[self.origin]
            known["memory_mask"] = None if self.memory_mask is None else self.memory_mask[self.origin]
        slots = self.history.shape[1] - self.earliest
        slots = slots if self.limit is None else min(slots, self.limit)
        self.state = self.decoder.initial_state(len(ids), slots, device=self.device)
        most = PAIRS // slots if isinstance(self.state, KeyValueCache) else TOKENS
        width = ids.shape[1] if self.limit is not None else max(1, most // len(ids))
        for part in (slice(begin, begin + width) for begin in range(0, ids.shape[1], width)):
            beside = {
                name: value if "memory" in name or value is None else value[:, part] for name, value in known.items()
            }
            hidden, self.state = self.decoder(ids[:, part], self.state, **beside)
        return hidden

    def append(self, tokens: Tensor) -> None:
        """One more token (N,) a row."""
        self.history[:, self.length] = tokens
        self.length += 1

    def reorder(self, index: Tensor) -> None:
        """Row i becomes what row ``index[i]`` was, index (M,); rows may be repeated or left out."""
        self.history, self.origin, self.first = self.history[index], self.origin[index], self.first[index]
        self.later = self.later[index]
        self.state = None if self.state is None else self.state.reorder(index)

    def join(self, other: Rows, room: int) -> None:
        """Puts the rows of ``other`` behind these, with room for so many tokens more; ``origin`` then counts rows.

        Both are texts of one decoder without a memory, and both have been appended to since they were read. Columns in front
        that no row needs any more are given up.
        """
        parts = (self, other)
        needed = [min(int(one.first.min()), one.start + int(one.later.min())) for one in parts]
        length = max(one.length - begin for one, begin in zip(parts, needed, strict=True))
        history = [
            F.pad(one.history[:, begin : one.length], (length - one.length + begin, room), value=-1)
            for one, begin in zip(parts, needed, strict=True)
        ]
        first = torch.cat([one.first + (length - one.length) for one in parts])
        begun = torch.cat([one.start + one.later + (length - one.length) for one in parts])
        earliest = int(first.min())
        fits = self.limit is None or length - earliest <= self.limit  # or all is read again anyway
        slots = room if self.limit is None else min(room, self.limit - (length - earliest))
        self.state = self.state.join(other.state, 1 + slots) if fits else None
        self.history, self.first, self.earliest, self.padded = torch.cat(history), first, earliest, True
        self.start, self.length = int(begun.min()), length
        self.later = begun - self.start
        self.latest = int(self.later.max())
        self.origin = torch.arange(len(first), device=self.device)


@contextmanager
def evaluating(*modules: nn.Module):
    """Modules without dropout, put back as they were; each part of them has its own switch."""
    training = [part for module in modules for part in module.modules() if part.training]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
