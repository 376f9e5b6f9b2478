"""A decoder that can be seen through."""

import torch


class Chain(torch.nn.Module):
    """The next token depends on the last alone: ``log_odds`` (V, V), a row for each last token. Its head: the identity."""

    def __init__(self, log_odds):
        super().__init__()
        self.embedding, self.max_length = torch.nn.Embedding.from_pretrained(log_odds), None

    def initial_state(self, batch, slots, device=None):
        return self

    def reorder(self, index):
        return self

    def forward(self, ids, state=None, **position):
        return self.embedding(ids), state
