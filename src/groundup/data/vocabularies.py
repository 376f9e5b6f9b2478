"""The tokenizers of a run: one for all its text, or one for each side of its pairs."""

from __future__ import annotations

from collections.abc import Iterator

from groundup.data.encoding import PAIR_ROLES, text_roles
from groundup.data.facts import Facts
from groundup.data.forms import Form, check_target_tokenizer
from groundup.data.pairs import PairedText
from groundup.data.roles import running_text
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.system.cache import Cache, code_version
from groundup.text.tokenizer import Tokenizer, TokenizerSpec

Given = TokenizerSpec | Tokenizer


def build_tokenizers(
    given: Given, target: Given | None, form: Form, source: Source, cache: Cache
) -> tuple[Tokenizer, Tokenizer | None]:
    """What was given as a Tokenizer, or learned from the train split; None for the target where one serves both sides."""
    roles = PAIR_ROLES if issubclass(form, PairedText) else text_roles(source)
    if target is None:
        return _build(given, source, roles, cache), None
    check_target_tokenizer(form)
    return _build(given, source, PAIR_ROLES[:1], cache), _build(target, source, PAIR_ROLES[1:], cache)


def check_sizes(known: Facts, found: Facts) -> None:
    """Raises ``UserError`` when the tokenizers at hand are not those that a run was trained with."""
    for name, told, seen in (
        ("tokenizer", known.vocab_size, found.vocab_size),
        ("target tokenizer", known.target_vocab_size, found.target_vocab_size),
    ):
        if told != seen:
            raise UserError(f"the run knows {told or 'no'} tokens, but the {name} has {seen or 'none'}")


def _build(given: Given, source: Source, roles: tuple[str, ...], cache: Cache) -> Tokenizer:
    if isinstance(given, Tokenizer):
        return given

    def texts() -> Iterator[str]:
        for row in source.rows("train"):
            for role in roles:
                if row.get(role):
                    yield running_text(row[role])

    return given.build(texts, cache, cache.key(code_version(source), source.fingerprint("train"), roles))
