"""Text from a language model, in pieces as they become certain."""

from __future__ import annotations

import pytest

from groundup.decoding.sampling import Sampler
from groundup.tasks import causal_lm


@pytest.mark.parametrize("text", ["the sea", "the Ω, and more", "Ω"])
@pytest.mark.parametrize("cut", [0, 1])
def test_pieces_are_the_whole_text_also_where_it_ends_within_a_character(text, cut, make_data, make_task, monkeypatch):
    data = make_data("causal_lm")
    task = make_task("causal_lm", data)
    tokens = data.tokenizer.encode(text)
    tokens = tokens[: len(tokens) - cut]
    monkeypatch.setattr(causal_lm, "stream", lambda *_, **__: ([token] for token in tokens))
    pieces = list(task.continuation("roses ", Sampler(0, max_new_tokens=9), seed=1))
    assert "".join(pieces) == data.tokenizer.decode(tokens)
    assert not any(piece.endswith("\ufffd") for piece in pieces[:-1])
