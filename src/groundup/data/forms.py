"""The forms that rows can take as examples, and what each asks of data, batching and tokenizers."""

from __future__ import annotations

from collections.abc import Sequence

from groundup.data.batching import Batching
from groundup.data.encoding import PAIR_ROLES, TEXT_ROLES
from groundup.data.examples import LabelledText
from groundup.data.packing import PackedText
from groundup.data.pairs import PairedText, PromptedText
from groundup.data.roles import Row
from groundup.errors import UserError

Examples = PackedText | LabelledText | PairedText  # PromptedText is a PairedText
Form = type[PackedText] | type[LabelledText] | type[PairedText]
FORMS: dict[str, Form] = {form.name: form for form in (PackedText, LabelledText, PairedText, PromptedText)}


def check_batching(form: Form, batching: Batching) -> None:
    """Raises ``UserError`` for a batching that makes no batches of this form."""
    if form.name not in batching.forms:
        name, choice = type(batching).__name__, "batching=bucketed or batching=token_budget"
        choice = "batching=packed" if form is PackedText else choice
        raise UserError(f"this task reads {form.name} text, which batching {name} does not make: try {choice}")


def check_target_tokenizer(form: Form) -> None:
    """Raises ``UserError`` where a vocabulary of its own for the target has no place."""
    if form is not PairedText:
        needs = "reads both sides as one sequence" if form is PromptedText else "reads no pairs"
        raise UserError(f"a target_tokenizer is for encoder-decoders, and this task {needs}: try target_tokenizer=null")


def statuses(rows: Sequence[Row], examples: Examples) -> list[str]:
    """Of each row to answer: ``empty`` if it holds no text, ``truncated`` if it was cut to fit, else ``ok``."""
    given = (*TEXT_ROLES, PAIR_ROLES[0])
    return [
        "empty" if not any((row.get(role) or "").strip() for role in given) else "truncated" if cut else "ok"
        for row, cut in zip(rows, examples.truncated_rows.tolist(), strict=True)
    ]
