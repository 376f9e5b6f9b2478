"""Which tokens may come next, and which are made less likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from groundup.decoding.decoding import Decoding
from groundup.decoding.rows import Rows

NEVER = float("-inf")


class Rules:
    """A decoding's rules for rows that began as ``minimums`` prompts.

    ``minimums``: tokens that each row has at least before it may end with ``eos_id`` (-1: rows do not end). ``begun``:
    tokens at the end of each prompt that count as written.
    """

    def __init__(
        self,
        decoding: Decoding,
        minimums: Sequence[int],
        eos_id: int,
        forbidden_ids: Sequence[int],
        device,
        begun: int = 0,
    ):
        self.begun = begun
        self.penalty, self.ngram, self.eos_id = decoding.repetition_penalty, decoding.no_repeat_ngram, eos_id
        self.minimums, self.longest_minimum = torch.tensor(minimums, device=device), max(minimums)
        self.forbidden = torch.tensor(sorted(set(forbidden_ids)), dtype=torch.long, device=device)

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        """Logits (N, V) of the next token -> what to choose from (N, V).

        Forbidden tokens become -inf in both; the penalty is in the second only.
        """
        if len(self.forbidden):
            logits.index_fill_(1, self.forbidden, NEVER)
        if self.eos_id >= 0 and rows.written - rows.latest < self.longest_minimum:
            logits[self.minimums[rows.origin] > rows.lengths, self.eos_id] = NEVER
        if self.ngram is None and self.penalty == 1:
            return logits
        text = rows.history[:, rows.length - rows.written - self.begun : rows.length]  # (N, n): what was written
        size = text.shape[1]
        if rows.latest:  # -1: before a row began
            text = text.masked_fill(torch.arange(size, device=text.device) < rows.later[:, None], -1)
        if self.ngram is not None and size >= self.ngram:
            grams = text.unfold(1, self.ngram, 1)  # (N, size - ngram + 1, ngram)
            known = (grams[..., :-1] == text[:, None, size - self.ngram + 1 :]).all(-1) & (grams[..., 0] >= 0)
            row, at = known.nonzero(as_tuple=True)
            logits[row, grams[row, at, -1]] = NEVER
        if self.penalty == 1:
            return logits
        if rows.latest:
            text = torch.where(text < 0, text[:, -1:], text)  # the last token again, which says nothing new
        seen = logits.gather(1, text)
        return logits.scatter(1, text, torch.where(seen > 0, seen / self.penalty, seen * self.penalty))

    def join(self, other: Rules, rows: Rows, others: Rows) -> None:
        """Takes over the rules ``other`` of the rows ``others``, which are about to join ``rows`` (see ``Rows.join``)."""
        self.minimums = torch.cat((self.minimums[rows.origin], other.minimums[others.origin]))
        self.longest_minimum = max(self.longest_minimum, other.longest_minimum)


BLOCK = 64  # logits


def largest(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k greatest of each row (N, V), greatest first, and their ids: (N, k) each.

    They all lie in the k blocks with the greatest maxima, and a maximum is cheap where a selection is not: half the time
    of ``topk`` on a CPU, a fifth of that of ``argmax``.
    """
    N, V = logits.shape
    blocks = V // BLOCK
    if logits.device.type != "cpu" or blocks <= 2 * k or N < 8:
        return logits.max(1, keepdim=True) if k == 1 else logits.topk(k)
    whole = logits[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))
    block = whole.amax(2).topk(k)[1]
    values = whole.gather(1, block[..., None].expand(N, k, BLOCK)).flatten(1)
    ids = (block[..., None] * BLOCK + torch.arange(BLOCK)).flatten(1)
    if V % BLOCK:
        values = torch.cat((values, logits[:, blocks * BLOCK :]), 1)
        ids = torch.cat((ids, torch.arange(blocks * BLOCK, V).expand(N, -1)), 1)
    values, at = values.topk(k)
    return values, ids.gather(1, at)


def normalizer(logits: Tensor) -> Tensor:
    """The logarithm of the sum of the exponentials of each row (N, V): (N,).

    As the greatest logit less its log-probability, because ``log_softmax`` is one kernel where ``logsumexp`` is ten.
    """
    return logits.amax(-1) - logits.log_softmax(-1).amax(-1)
