"""Rows of tokens that grow together, as a decoder reads them: batched, cached, each row as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from groundup.errors import UserError
from groundup.models.backbone import DecoderBackbone
from groundup.models.cache import KeyValueCache

# What a decoder without a longest text reads at once, as memory for more may not be there: tokens, and with attention pairs of them.
TOKENS, PAIRS = 1 << 16, 1 << 24
Copy = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits (N, V), hidden (N, D), origin (N,) -> logits with copies


class Rows:
    """Texts on their way, the decoder's state after them, and the logits of what comes next.

    ``history`` (N, prompt + room) holds the tokens, -1 in front of shorter prompts, ``length`` columns so far;
    ``origin`` (N,): which prompt a row grew from. Where a row reaches the decoder's ``max_length``, it goes on from the
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
        self.state: Any = None

    @property
    def written(self) -> int:
        """New tokens of each row."""
        return self.length - self.start

    def texts(self, rows: Tensor) -> list[list[int]]:
        """The new tokens of these rows."""
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
        """Whole rows, padded in front, into a new state. Rows that are full are cut, and only those change."""
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
        """Row i becomes what row ``index[i]`` was; rows may be repeated or left out."""
        self.history, self.origin, self.first = self.history[index], self.origin[index], self.first[index]
        self.state = self.state.reorder(index)


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
