"""What all ways of decoding share: their options, and their result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from groundup.errors import ArgumentError

OrOff = Annotated[int, Field(ge=0)]  # 0: off, as None


@dataclass
class Hypothesis:
    """A text that was written: new ``tokens`` without the end token.

    ``log_probability`` (nats): of the tokens, the end token included, under the model's own distribution, whatever was
    forbidden or penalised on the way. ``score``: what hypotheses are ranked by, ``log_probability / length **
    length_penalty`` where the length counts the end token (a sampler's: per token). ``finished``: it ended by itself.
    """

    tokens: list[int]
    score: float
    log_probability: float
    finished: bool


class Decoding:
    """What may be written, however it is chosen.

    ``repetition_penalty``: logits of tokens that were written are divided by it if positive, else multiplied (Keskar et
    al. 2019); 1 = off. ``no_repeat_ngram``: no n tokens in a row are written twice (Paulus et al. 2018). What was read
    counts for neither: a summary may quote its source. ``min_new_tokens``: before the end token. ``max_new_tokens``:
    the end token included.
    """

    def __init__(
        self, repetition_penalty: float, no_repeat_ngram: int | None, min_new_tokens: int, max_new_tokens: int
    ):
        if min_new_tokens >= max_new_tokens and min_new_tokens:
            raise ArgumentError(
                f"min_new_tokens={min_new_tokens} leaves no room for an end within max_new_tokens={max_new_tokens}",
                f"max_new_tokens={2 * min_new_tokens}",
            )
        self.repetition_penalty = repetition_penalty
        self.no_repeat_ngram = no_repeat_ngram or None
        self.min_new_tokens = min_new_tokens
        self.max_new_tokens = max_new_tokens
