"""Text from a decoder, token by token: batched, cached, each row as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from groundup.decoding.sampling import Sampler
from groundup.errors import UserError


def generate(decoder: Any, head: nn.Module, input_ids: Tensor, **settings) -> list[list[int]]:
    """New token ids of each row, without the end token. Arguments as for ``stream``."""
    rows: list[list[int]] = [[] for _ in input_ids]
    for step in stream(decoder, head, input_ids, **settings):
        for row, token in zip(rows, step, strict=True):
            if token is not None:
                row.append(token)
    return rows


@torch.inference_mode()
def stream(
    decoder: Any,
    head: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_new_tokens: int,
    sampler: Sampler | None = None,
    eos_id: int | None = None,
    forbidden_ids: Sequence[int] = (),
    seed: int | Sequence[int] = 0,
    memory: Tensor | None = None,
    memory_mask: Tensor | None = None,
) -> Iterator[list[int | None]]:
    """Yields one token id a row at a time; None for rows that have ended.

    Prompts ``input_ids`` (B, T) may be padded on either side (``attention_mask`` (B, T), True = real). ``sampler``
    None = greedy. A row ends at ``eos_id``, which is not yielded. ``forbidden_ids`` are never written. ``seed``: of
    each row, or one number s for rows s, s + 1, ...; a row's text depends on its prompt and its seed alone. Where a row
    reaches the decoder's ``max_length``, it goes on from the later half of what it has. ``memory`` (B, S, D) is for
    decoders with cross-attention. Raises UserError for a prompt without tokens.
    """
    sampler = sampler or Sampler(temperature=0)
    count, device = len(input_ids), input_ids.device
    mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask
    texts = [row[real].tolist() for row, real in zip(input_ids, mask, strict=True)]
    if not all(texts):
        raise UserError("a prompt has no tokens, so there is nothing to go on from. Begin with the <bos> token")
    seeds = range(seed, seed + count) if isinstance(seed, int) else seed
    generators = [torch.Generator().manual_seed(number) for number in seeds]
    seen = None
    if sampler.repetition_penalty != 1:
        seen = torch.zeros(count, decoder.vocab_size, dtype=torch.bool, device=device)
        for row, text in zip(seen, texts, strict=True):
            row[text] = True

    active = list(range(count))  # rows of the batch that are still written; the state holds these and no others
    with evaluating(decoder, head):
        reader = Reader(decoder, device, memory, memory_mask)
        hidden = reader.start(texts, room=max_new_tokens)
        for left in range(max_new_tokens, 0, -1):
            logits = head(hidden)
            if forbidden_ids:
                logits[:, list(forbidden_ids)] = float("-inf")
            uniform = torch.stack([torch.rand((), generator=generators[row]) for row in active]).to(device)
            chosen = sampler(logits, uniform, None if seen is None else seen[active])
            tokens: list[int | None] = [None] * count
            for row, token in zip(active, chosen.tolist(), strict=True):
                if token != eos_id:
                    tokens[row] = token
                    texts[row].append(token)
            if all(token is None for token in tokens):
                return
            yield tokens
            if left == 1:
                return
            kept = [i for i, row in enumerate(active) if tokens[row] is not None]
            if len(kept) < len(active):
                active = [active[i] for i in kept]
                reader.keep(torch.tensor(kept, device=device))
            if seen is not None:
                seen[active, [tokens[row] for row in active]] = True
            hidden = reader.read([texts[row] for row in active], room=left - 1)


class Reader:
    """Hidden states of the last token of growing rows, through the decoder's state."""

    def __init__(self, decoder: Any, device: torch.device, memory: Tensor | None, memory_mask: Tensor | None):
        self.decoder, self.device = decoder, device
        self.memory = {} if memory is None else {"memory": memory, "memory_mask": memory_mask}
        self.limit: int | None = decoder.max_length

    def start(self, texts: list[list[int]], room: int) -> Tensor:
        """Reads whole rows, padded in front, with room for more tokens in the state: -> hidden (B, D)."""
        if self.limit is not None:  # as much of the end as leaves half of the positions, where the row is too long
            texts = [text if len(text) <= self.limit else text[-max(1, self.limit // 2) :] for text in texts]
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            row[longest - len(text) :] = torch.tensor(text)
        self.lengths = [len(text) for text in texts]
        self.padded = min(self.lengths) < longest
        self.state = self.decoder.initial_state(len(texts), longest + room, device=self.device)
        known = {}
        if self.padded:
            before = longest - torch.tensor(self.lengths)[:, None]
            at = torch.arange(longest)
            known = {
                "attention_mask": (at >= before).to(self.device),
                "position_ids": (at - before).clamp(min=0).to(self.device),
            }
        hidden, self.state = self.decoder(ids.to(self.device), self.state, **known, **self.memory)
        return hidden[:, -1]

    def read(self, texts: list[list[int]], room: int) -> Tensor:
        """Reads the last token of each row; ``texts`` are the rows as a whole, for when positions run out."""
        if self.limit is not None and max(self.lengths) >= self.limit:
            # Every row reads again the tokens it knows, so that only the rows that are full change.
            tails = [text[-(known + 1) :] for text, known in zip(texts, self.lengths, strict=True)]
            return self.start(tails, room)
        known = {}
        if self.padded:
            known["position_ids"] = torch.tensor(self.lengths, device=self.device)[:, None]
        ids = torch.tensor([text[-1:] for text in texts], device=self.device)
        hidden, self.state = self.decoder(ids, self.state, **known)
        self.lengths = [length + 1 for length in self.lengths]
        return hidden[:, -1]

    def keep(self, rows: Tensor) -> None:
        """Drops all rows of the state but these."""
        self.state = self.state.reorder(rows)
        self.lengths = [self.lengths[row] for row in rows.tolist()]
        self.memory = {name: None if value is None else value[rows] for name, value in self.memory.items()}


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
