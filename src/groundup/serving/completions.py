"""``/v1/completions``: texts by a language model, in the words of the protocol that clients know.

Source: https://platform.openai.com/docs/api-reference/completions; ``top_k``, ``min_p``, ``typical_p``, ``repetition_penalty`` and
``no_repeat_ngram`` are ours.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from groundup.config.root import Limits
from groundup.data.seeding import mix
from groundup.decoding.sampling import Sampler
from groundup.serving.request_error import RequestError
from groundup.serving.served import Served
from groundup.serving.worker import Worker
from groundup.serving.writing import Writing
from groundup.tasks.causal_lm import CausalLM

ENDS = 4  # texts at which to stop, at most
# What others have and we do not: a value that asks for nothing is taken.
NOTHING: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None,),
    "presence_penalty": (None, 0),
    "suffix": (None, ""),
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: StrictBool = False


class Asked(BaseModel):
    """A request; null stands for a default everywhere."""

    model_config = ConfigDict(extra="forbid")
    model: StrictStr | None = None
    prompt: StrictStr | Annotated[list[StrictStr], Field(min_length=1)] = ""
    max_tokens: Annotated[StrictInt, Field(ge=1)] = 16
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0
    n: Annotated[StrictInt, Field(ge=1)] = 1
    stop: StrictStr | list[StrictStr] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    user: StrictStr | None = None
    top_k: Annotated[StrictInt, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100, strict=True)] = 1.0
    no_repeat_ngram: Annotated[StrictInt, Field(ge=0)] | None = None

    @property
    def ends(self) -> list[str]:
        """Where a text stops."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


def read_asked(body: Any) -> Asked:
    """Raises RequestError for what a request cannot hold, or what is not had here."""
    if not isinstance(body, dict):
        raise RequestError(400, 'send an object, as in {"prompt": "The", "max_tokens": 16}')
    for name, idle in NOTHING.items():
        if name in body and body.pop(name) not in idle:
            raise RequestError(400, f"{name} is not had here: leave it out", name)
    try:
        return Asked.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])[:40]
        said = name if name.isprintable() else repr(name)
        raise RequestError(400, f"{said}: {first['msg']}", name) from None


class Text:
    """One text on its way: its pieces, up to the first of ``ends``, and why it ended (``stop``, ``length``)."""

    def __init__(self, task: CausalLM, start: Sequence[int], ends: Sequence[str], longest: int) -> None:
        self.spelling, self.ends, self.longest = task.spelling(start), ends, longest
        self.tokens, self.reason = 0, ""
        self._held = ""  # what may be the beginning of an end

    def add(self, token: int | None) -> str:
        """What can be told after one more token; None: the text ended by itself."""
        if token is None:
            return self._finish(self._held + self.spelling.rest(), "stop")
        self.tokens += 1
        text = self._held + self.spelling.add(token)
        for place in sorted(place for end in self.ends if (place := text.find(end)) >= 0):
            self._held = ""
            self.reason = "stop"
            return text[:place]
        if self.tokens == self.longest:
            return self._finish(text + self.spelling.rest(), "length")
        held = max((_overlap(text, end) for end in self.ends), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def _finish(self, text: str, reason: str) -> str:
        self._held, self.reason = "", reason
        return text


async def completion_of(served: Served, asked: Asked, limits: Limits) -> Completion:
    """The completion that is asked for. Raises RequestError for what the run cannot write, or what is beyond ``limits``."""
    if not served.continues:
        raise RequestError(400, f"{served.name} goes on from no prompt: ask it at /predict?run={served.name}", "model")
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    if (texts := len(prompts) * asked.n) > limits.rows:
        raise RequestError(400, f"{texts:,} texts, of {limits.rows} at most", "n")
    if asked.max_tokens > limits.new_tokens:
        raise RequestError(400, f"max_tokens={asked.max_tokens}: {limits.new_tokens} at most", "max_tokens")
    if (size := max(map(len, prompts))) > limits.characters:
        raise RequestError(400, f"a prompt of {size:,} characters, of {limits.characters:,} at most", "prompt")
    ends = asked.ends
    if len(ends) > ENDS or not all(0 < len(end) <= 1000 for end in ends):
        raise RequestError(400, f"stop: {ENDS} texts at most, none of them empty", "stop")
    task = cast(CausalLM, served.network.task)
    # In a thread: others are answered meanwhile.
    starts = await asyncio.to_thread(lambda: [task.beginning(served.run.text(prompt)) for prompt in prompts])
    if (read := texts * max(map(len, starts))) > limits.bytes:  # as rows of one length
        raise RequestError(400, f"{texts:,} texts after {read:,} tokens, of {limits.bytes:,} at most", "n")
    return Completion(served.name, task, asked, starts, limits.new_tokens)


class Completion:
    """A request to a language model: what is to be written, after ``starts``, and what is told of it."""

    def __init__(self, name: str, task: CausalLM, asked: Asked, starts: Sequence[list[int]], most: int) -> None:
        self.asked = asked
        self.prompt_tokens = sum(map(len, starts))
        seed = secrets.randbits(62) if asked.seed is None else asked.seed
        seeds = [mix(seed, number) for _ in starts for number in range(asked.n)]  # those of `groundup generate`
        starts = [start for start in starts for _ in range(asked.n)]
        self.texts = [Text(task, start, asked.ends, asked.max_tokens) for start in starts]
        self.writing = Writing(task, way_of(asked, most), starts, seeds, asked.max_tokens)
        self._about = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
        }

    async def pieces(self, worker: Worker) -> AsyncGenerator[tuple[int, str], None]:
        """(which text, what comes next of it), where a text that has ended comes a last time."""
        left = {*range(len(self.texts))}
        async with aclosing(worker.written(self.writing)) as steps:
            async for tokens in steps:
                for place in sorted(left):
                    text = self.texts[place]
                    piece = text.add(tokens[place])
                    if text.reason:
                        left.discard(place)
                    if piece or text.reason:
                        yield place, piece
                if not left:
                    return

    async def whole(self, worker: Worker) -> dict[str, Any]:
        texts = [""] * len(self.texts)
        async for place, piece in self.pieces(worker):
            texts[place] += piece
        choices = [self._choice(place, text) for place, text in enumerate(texts)]
        return {**self._about, "choices": choices, "usage": self._usage()}

    async def events(self, worker: Worker) -> AsyncGenerator[bytes, None]:
        """Server-sent events: a piece each, then ``[DONE]``. An error in the middle is told as the last but one; one before
        the first piece is raised."""
        usage, told = {"usage": None} if self._tells_usage else {}, False
        try:
            async with aclosing(self.pieces(worker)) as pieces:
                async for place, piece in pieces:
                    yield _event({**self._about, "choices": [self._choice(place, piece)], **usage})
                    told = True
            if self._tells_usage:
                yield _event({**self._about, "choices": [], "usage": self._usage()})
        except RequestError as error:
            if not told:
                raise
            yield _event(error.body())
        yield b"data: [DONE]\n\n"

    @property
    def _tells_usage(self) -> bool:
        return self.asked.stream_options is not None and self.asked.stream_options.include_usage

    def _choice(self, place: int, piece: str) -> dict[str, Any]:
        return {"text": piece, "index": place, "logprobs": None, "finish_reason": self.texts[place].reason or None}

    def _usage(self) -> dict[str, int]:
        written = sum(text.tokens for text in self.texts)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
        }


def way_of(asked: Asked, most: int) -> Sampler:
    """How the tokens are chosen: texts that are to be written the same way can be written together."""
    return Sampler(
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=None if asked.top_p == 1 else asked.top_p,
        min_p=asked.min_p,
        typical_p=asked.typical_p,
        repetition_penalty=asked.repetition_penalty,
        no_repeat_ngram=asked.no_repeat_ngram,
        max_new_tokens=most,
    )


def _overlap(text: str, end: str) -> int:
    """Characters at the end of ``text`` with which ``end`` may begin."""
    return next((size for size in range(min(len(end) - 1, len(text)), 0, -1) if end.startswith(text[-size:])), 0)


def _event(about: Any) -> bytes:
    return f"data: {json.dumps(about, ensure_ascii=False)}\n\n".encode()
