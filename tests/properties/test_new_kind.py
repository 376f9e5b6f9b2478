"""A model of a new kind is one file and one YAML: the properties of all models are tested of it, and it trains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

YAML = """\
# Minimal gated recurrent unit: gates that depend on the input alone (Feng et al. 2024).
_target_: mingru.MinGRUDecoder
width: ${size.width}
layers: ${size.recurrent_layers}
dropout: 0.1   # on what each layer adds
"""
CODE = '''\
"""A recurrence whose gates depend on the input alone."""

import torch
from torch import nn

from groundup.models.backbone import DecoderBackbone
from groundup.models.layers import RMSNorm, embedding_std
from groundup.ranges import Count, Rate


class State:
    def __init__(self, layers, length=0):
        self.layers, self.length = layers, length

    def reorder(self, index):
        return State([layer[index] for layer in self.layers], self.length)

    def join(self, other, room):
        layers = [torch.cat(pair) for pair in zip(self.layers, other.layers)]
        return State(layers, max(self.length, other.length))


class MinGRU(nn.Module):
    """``h = h + gate (candidate - h)``. Shapes: x (B, T, D), h (B, D) -> (B, T, D) and the last h."""

    def __init__(self, width, dropout):
        super().__init__()
        self.norm, self.dropout = RMSNorm(width), nn.Dropout(dropout)
        self.gate, self.candidate, self.out = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x, h, real, starts):
        y, outputs = self.norm(x), []
        gate, candidate = self.gate(y).sigmoid() * real, self.candidate(y)
        for t in range(x.shape[1]):
            h = h * ~starts[:, t]
            h = h + gate[:, t] * (candidate[:, t] - h)
            outputs.append(h)
        return x + self.dropout(self.out(torch.stack(outputs, 1))), h


class MinGRUDecoder(DecoderBackbone):
    def __init__(self, vocab_size: Count, width: Count = 128, layers: Count = 2, dropout: Rate = 0.1):
        super().__init__()
        self.vocab_size, self.width = vocab_size, width
        self.embedding = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=embedding_std(width))
        self.embedding_norm, self.final_norm = RMSNorm(width), RMSNorm(width)
        self.blocks = nn.ModuleList(MinGRU(width, dropout) for _ in range(layers))

    def initial_state(self, batch_size, max_length, device=None, dtype=None):
        return State([self.embedding.weight.new_zeros(batch_size, self.width) for _ in self.blocks])

    def forward(self, input_ids, state=None, attention_mask=None, position_ids=None, document_ids=None,
                memory=None, memory_mask=None):
        B, T = input_ids.shape
        real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask
        starts = torch.zeros_like(real)
        if document_ids is not None:
            starts[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
        x, after = self.embedding_norm(self.embedding(input_ids)), []
        for block, h in zip(self.blocks, (state or self.initial_state(B, T)).layers):
            x, h = block(x, h, real.unsqueeze(-1), starts.unsqueeze(-1))
            after.append(h)
        return self.final_norm(x), None if state is None else State(after, state.length + T)
'''


@pytest.fixture
def extended(tmp_path, repository, monkeypatch):
    """The project with the two files, as their author has them."""
    shutil.copytree(repository / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "model" / "mingru_decoder.yaml").write_text(YAML)
    (tmp_path / "mingru.py").write_text(CODE)
    monkeypatch.setenv("GROUNDUP_CONF", str(tmp_path / "conf"))
    monkeypatch.setenv("GROUNDUP_ALLOW", "mingru")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return tmp_path


def test_a_decoder_of_a_new_kind_passes_the_tests_of_all_models(extended):
    folder = Path(__file__).parent
    files = [str(folder / name) for name in ("test_models.py", "test_matrix.py", "test_configs.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "-k", "mingru_decoder", *files]
    run = subprocess.run(command, cwd=folder.parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-5000:]
    passed = [line for line in run.stdout.splitlines() if line.startswith("PASSED")]
    for test in ("no_token_sees_the_future", "a_reordered_state_goes_on", "overfits_one_batch", "gets_the_same_defaults_as",
                 "legal_combination_trains[causal_lm", "legal_combination_trains[classification"):  # fmt: skip
        assert any(test in line for line in passed), f"{test} was not run"
