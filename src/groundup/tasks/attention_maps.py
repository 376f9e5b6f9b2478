"""For pictures: where an encoder-decoder looked in its source while it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from groundup.data.datamodule import TextDataModule
from groundup.models.backbone import EncoderDecoderBackbone
from groundup.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from groundup.tasks.sequence_to_sequence import SequenceToSequence

ROWS = 6


@torch.no_grad()
def attention_maps(task: SequenceToSequence, data: TextDataModule, split: str) -> list[dict[str, Any]]:
    """Source tokens, tokens that the task wrote, and weights (target x source), of the first rows of a split.

    Empty where the decoder does not look at its source.
    """
    task.eval()
    found = []
    for batch in data.loader([{"source": row["source"]} for row in data.texts(split)[:ROWS]], batch_size=1):
        batch = {name: value.to(task.device) for name, value in batch.items()}
        written = [*task.write(batch, task.decoding)[0][0].tokens, task.facts.eos_id]
        weights = looks(task, batch, torch.tensor([[task.facts.bos_id, *written[:-1]]], device=task.device))
        if weights is None:
            return []
        found.append(
            {
                "index": int(batch["index"]),
                "source": [spelled(data.tokenizer, token) for token in batch["input_ids"][0].tolist()],
                "target": [spelled(data.target_tokenizer, token) for token in written],
                "weights": [[round(weight, 4) for weight in row] for row in weights[0].tolist()],
            }
        )
    return sorted(found, key=lambda one: one["index"])


def looks(task: SequenceToSequence, batch: dict[str, Tensor], decoder_input_ids: Tensor) -> Tensor | None:
    """(B, U, S), rows sum to one: of the pointer where there is one, else of the decoder's top layer."""
    model, ids, mask = cast(EncoderDecoderBackbone, task.model), batch["input_ids"], batch.get("attention_mask")
    if task.pointer is None:
        return model.attention_weights(ids, decoder_input_ids, mask)
    hidden, memory = model(ids, decoder_input_ids, mask)
    return task.pointer.attend(hidden, task.pointer.source(ids, memory, mask))[0]


def spelled(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.decode([token]).strip() or tokenizer.tokens([token])[0]
