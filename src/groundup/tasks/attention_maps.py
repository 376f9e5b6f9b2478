"""For pictures: where an encoder-decoder looked in its source while it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groundup.data.text_data import TextData
from groundup.text.tokenizer import Tokenizer

ROWS = 6


@torch.no_grad()
def attention_maps(task: Any, data: TextData, split: str) -> list[dict[str, Any]]:
    """Source tokens, tokens that the task wrote, and weights (target x source), of the first rows of a split.

    ``task``: a SequenceToSequence. Empty for a decoder alone, and for one that does not look at its source.
    """
    if not task.paired:
        return []
    task.eval()
    found = []
    loader, _ = data.rows_loader(data.texts(split)[:ROWS], task.collator(), batch_size=1)
    for batch in loader:
        batch = {name: value.to(task.device) for name, value in batch.items()}
        drawn = attention_map(task, data, batch)
        if drawn is None:
            return []
        found.append({"index": int(batch["index"]), **drawn})
    return sorted(found, key=lambda one: one["index"])


@torch.no_grad()
def attention_map(
    task: Any, data: TextData, batch: dict[str, Tensor], seeds: Sequence[int] | None = None
) -> dict[str, Any] | None:
    """The same of a batch of one: ``source``, ``target`` and ``weights``; ``seeds``: see ``SequenceToSequence.write``."""
    written = [*task.write(batch, task.decoding, seeds)[0][0].tokens, task.facts.eos_id]
    weights = source_weights(task, batch, torch.tensor([[task.facts.bos_id, *written[:-1]]], device=task.device))
    if weights is None:
        return None
    return {
        "source": [spelled(data.tokenizer, token) for token in batch["input_ids"][0].tolist()],
        "target": [spelled(data.target_tokenizer, token) for token in written],
        "weights": [[round(weight, 4) for weight in row] for row in weights[0].tolist()],
    }


def source_weights(task: Any, batch: dict[str, Tensor], decoder_input_ids: Tensor) -> Tensor | None:
    """(B, U, S), rows sum to one: of the pointer where there is one, else of the decoder's top layer; None where neither looks."""
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if task.pointer is None:
        return task.model.attention_weights(ids, decoder_input_ids, mask)
    hidden, memory = task.model(ids, decoder_input_ids, mask)
    weights, _ = task.pointer.attend(hidden, task.pointer.source(ids, memory, mask))
    return weights


def spelled(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.decode([token]).strip() or tokenizer.tokens([token])[0]
