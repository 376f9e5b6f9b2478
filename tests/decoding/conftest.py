"""Small decoders of every family, with opinions, and what they say when they read a whole text at once."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from groundup.models.heads import LanguageModelHead
from groundup.models.recurrent import RecurrentDecoder
from groundup.models.transformer import TransformerDecoder

V, D = 30, 16
TRANSFORMER = {"width": D, "layers": 2, "heads": 4, "zero_init": False, "max_length": 64}
RECURRENT = {"width": D, "layers": 2}
FAMILIES = {
    "rope": TRANSFORMER,
    "learned": TRANSFORMER | {"position": "learned"},
    "alibi": TRANSFORMER | {"position": "alibi"},
    "kv_heads": TRANSFORMER | {"kv_heads": 2},
    "transformer with memory": TRANSFORMER | {"cross_attention": True},
    "everything with memory": TRANSFORMER | {
        "cross_attention": True, "position": "alibi", "kv_heads": 1, "norm_order": "post", "qk_norm": True,
    },
    "lstm": RECURRENT,
    "gru": RECURRENT | {"cell": "gru"},
    "rnn": RECURRENT | {"cell": "rnn"},
    "lstm with memory": RECURRENT | {"cross_attention": True},
    "additive, fed": RECURRENT | {"cross_attention": True, "attention": "additive", "input_feeding": True},
    "memory without attention": RECURRENT | {"cross_attention": True, "attention": "none"},
}  # fmt: skip


@dataclass
class Model:
    decoder: Any
    head: Any
    looks: bool

    def sources(self, rows: int) -> dict[str, torch.Tensor]:
        """Arguments for decoders with a memory: sources of 4, 1, 2, 3, 4, 1, ... vectors."""
        if not self.looks:
            return {}
        memory = torch.randn(rows, 4, D, generator=torch.Generator().manual_seed(5))
        lengths = torch.tensor([(4, 1, 2, 3)[row % 4] for row in range(rows)])
        return {"memory": memory, "memory_mask": torch.arange(4) < lengths[:, None]}

    def source(self, row: int) -> dict[str, torch.Tensor]:
        """The source of one row, alone and without padding."""
        if not self.looks:
            return {}
        both = self.sources(row + 1)
        return {"memory": both["memory"][row:, : int(both["memory_mask"][row].sum())]}

    @torch.no_grad()
    def log_probabilities(self, text: list[int], row: int = 0) -> torch.Tensor:
        """(T, V) of the token after each, without a state."""
        hidden, _ = self.decoder.eval()(torch.tensor([text]), **self.source(row))
        return self.head(hidden)[0].log_softmax(-1)

    def score(self, prompt: list[int], new: list[int], row: int = 0) -> float:
        """Log-probability of ``new`` after ``prompt``."""
        said = self.log_probabilities([*prompt, *new], row)[len(prompt) - 1 : -1]
        return said.gather(1, torch.tensor(new)[:, None]).sum().item()


@pytest.fixture
def build():
    def make(family: str, vocab_size: int = V, **words) -> Model:
        torch.manual_seed(0)
        settings = FAMILIES[family] | words
        decoder = (TransformerDecoder if "heads" in settings else RecurrentDecoder)(vocab_size, **settings)
        looks = settings.get("cross_attention", False)
        with torch.no_grad():
            for name, parameter in decoder.named_parameters():
                if looks and parameter.ndim == 2 and ("cross_attention" in name or "start" in name):
                    parameter.normal_(std=0.5)  # the source matters
                elif "heads" not in settings and name != "embedding.weight":
                    parameter.mul_(2)  # and so does what was read
        head = LanguageModelHead(decoder, tied=False)
        torch.nn.init.normal_(head.weight, std=0.7)
        return Model(decoder, head, looks)

    return make


@pytest.fixture(params=FAMILIES)
def model(request, build):
    return build(request.param)
