"""Passwords and keys never reach a file of the run folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

MASK = "********"
# Names that carry a secret. `tokens`, `tokenizer` and `unk_token` do not; `token` alone and `hf_token` do.
_SECRET_NAME = re.compile(
    r"(^|[._])(api_?key|secret(_?(access_?)?key)?|passw(or)?d|passphrase|credentials?"
    r"|((hf|hub|access|auth|api|bearer|github|gitlab|groundup|hugging_?face(_hub)?)_?)token)$|^token$",
    re.IGNORECASE,
)
# Values that are a secret wherever they stand: Hugging Face, W&B, GitHub, OpenAI-style and AWS keys, passwords in URLs.
_SECRET_VALUE = re.compile(
    r"hf_[A-Za-z0-9]{20,}|wandb_v1_[A-Za-z0-9_]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)


def is_secret_name(name: str) -> bool:
    """True for names such as ``api_key``, ``WANDB_API_KEY``, ``hf_token`` or ``password``."""
    return bool(_SECRET_NAME.search(name))


def mask_text(text: str) -> str:
    """``text`` without the values of secret environment variables and without keys of a known format."""
    for name, value in os.environ.items():
        if len(value) >= 8 and is_secret_name(name):
            text = text.replace(value, MASK)
    return _SECRET_VALUE.sub(MASK, text)


def mask(value: object, name: str = "") -> object:
    """A copy of nested dicts and lists with every secret replaced by ``********``, ``api_key=...`` overrides too."""
    if isinstance(value, Mapping):
        return {key: mask(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, name) for item in value]
    if not isinstance(value, str) or not value:
        return value
    if is_secret_name(name):
        return MASK
    assigned, equals, _ = value.partition("=")
    return assigned + equals + MASK if equals and is_secret_name(assigned.lstrip("+~-")) else mask_text(value)
