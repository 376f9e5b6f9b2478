"""What every model is to a task and a head."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn


class Backbone(nn.Module):
    """Ids in, hidden vectors out; the task brings the head.

    Shapes: an encoder maps ``input_ids`` (B, T) to hidden (B, T, D). A decoder gives the pair of hidden and state, and
    makes an empty state with ``initial_state``. An encoder-decoder maps ``input_ids`` (B, S) and ``decoder_input_ids``
    (B, U) to hidden (B, U, D); its ``embedding``, ``vocab_size`` and ``width`` are those of its decoder.
    """

    kind: Literal["encoder", "decoder", "encoder_decoder"]
    embedding: nn.Embedding  # (V, its own width)
    blocks: Any  # the layers, from input to output
    vocab_size: int  # V
    width: int  # D
    max_length: int | None  # positions it can tell apart; None: no limit
