"""What decoding asks of a row of logits as wide as the vocabulary, at the price of a few looks at it."""

from __future__ import annotations

import torch
from torch import Tensor

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
