"""A vector for each word out of its characters, so that a word that was never seen is known by its spelling."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from groundup.models.recurrent_layer import Ragged, RecurrentLayer

Characters = Literal["cnn", "lstm"]
FEATURES = 64  # width of what is known of a word
_SYMBOLS, _EMBEDDING = 256, 32  # entries of the table, width of a character


class CharacterFeatures(nn.Module):
    """``cnn``: windows of three characters, the maximum over the word (dos Santos and Zadrozny 2014; Ma and Hovy 2016).
    ``lstm``: the last states of two LSTMs, one in each direction (Lample et al. 2016).

    A word that stands often in a batch is read once. width, std: of the vectors; ``std`` at the start.
    Shapes: ids (B, T), characters (B, T, L), 1 to 255, and 0 behind the end of a word -> (B, T, width); zeros where no
    characters are, and everywhere where none are given.
    """

    def __init__(self, kind: Characters, width: int, std: float):
        super().__init__()
        if kind not in ("cnn", "lstm"):
            raise ValueError(f"characters {kind!r}: choose cnn or lstm")
        self.width = width
        self.embedding = nn.Embedding(_SYMBOLS, _EMBEDDING)
        self.windows = nn.Linear(3 * _EMBEDDING, FEATURES) if kind == "cnn" else None
        self.lstm = RecurrentLayer(_EMBEDDING, FEATURES, bidirectional=True) if kind == "lstm" else None
        self.out = nn.Linear(FEATURES, width, bias=False)
        nn.init.normal_(self.out.weight, std=std * FEATURES**-0.5)

    def forward(self, input_ids: Tensor, characters: Tensor | None = None) -> Tensor:
        features = self.out.weight.new_zeros(*input_ids.shape, self.width)
        words = input_ids.new_zeros(input_ids.shape) > 0 if characters is None else characters[..., 0] > 0
        if characters is not None and words.any():
            ids, which = characters[words].unique(dim=0, return_inverse=True)  # (W, L): a word is read once a batch
            real = ids > 0
            x = self.embedding(ids) * real[:, :, None]
            known = self.out(self.recur(x, real) if self.windows is None else self.convolve(x, real))
            features = features.index_put((words,), known.index_select(0, which).to(features.dtype))
        return features

    def convolve(self, x: Tensor, real: Tensor) -> Tensor:
        """(W, L, E) -> (W, F)."""
        assert self.windows is not None
        around = nn.functional.pad(x, (0, 0, 1, 1))
        y = self.windows(torch.cat((around[:, :-2], x, around[:, 2:]), dim=-1))
        return y.masked_fill(~real[:, :, None], float("-inf")).amax(1)

    def recur(self, x: Tensor, real: Tensor) -> Tensor:
        """(W, L, E) -> (W, F)."""
        assert self.lstm is not None
        ragged = Ragged.layout(real, None)
        y = self.lstm(x, ragged.reverse)
        forwards, backwards = y.chunk(2, dim=-1)
        last = (ragged.lengths - 1)[:, None, None].expand(-1, 1, forwards.shape[-1])
        return torch.cat((forwards.gather(1, last).squeeze(1), backwards[:, 0]), dim=-1)
