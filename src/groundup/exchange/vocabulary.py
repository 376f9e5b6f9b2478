"""Tokenizers of others: read from a folder as ours, and ours written for them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from groundup.errors import UserError
from groundup.system.files import read_text
from groundup.text.foreign_file import KEY, ROLES
from groundup.text.tokenizer import Tokenizer
from groundup.text.tokenizer_file import LARGEST, read

_ELSE = {  # a role that a model lacks is played by the first of these that it has
    "eos": ("sep", "bos"),
    "bos": ("cls", "eos"),
    "pad": ("eos",),
    "unk": ("eos",),
    "sep": ("eos",),
    "cls": ("bos",),
    "mask": ("unk",),
}


def read_tokenizer(folder: Path, names: Mapping[str, str], settings: Mapping[str, Any], rows: int) -> Tokenizer:
    """The tokenizer of a folder.

    Args:
        names: special tokens by role, where no file of the folder says them; ``settings``: its tokenizer_config.json.
        rows: of the embedding, which may be more than the vocabulary has entries.

    Raises UserError for one that is not there, or has a part that is not known here.
    """
    if (folder / "tokenizer.json").is_file():
        content = read(folder / "tokenizer.json")
    elif (folder / "vocab.txt").is_file():
        content = of_word_pieces(folder / "vocab.txt", lowercase=settings.get("do_lower_case", True) is not False)
    else:
        raise UserError(f"{folder} has no tokenizer.json and no vocab.txt. Get a whole copy of the folder")
    if KEY in content:
        raise UserError(f"{folder / 'tokenizer.json'} has a part named {KEY}. Get a copy that Transformers wrote")
    added = content.get("added_tokens") or []
    vocabulary = (content.get("model") or {}).get("vocab")
    if (
        not isinstance(vocabulary, dict)
        or not isinstance(added, list)
        or not all(isinstance(one, dict) for one in added)
    ):
        kind = (content.get("model") or {}).get("type")
        raise UserError(f"{folder / 'tokenizer.json'}: a vocabulary of the kind {kind!s:.20} has no counterpart here")
    ids = {**vocabulary, **{str(one.get("content")): one.get("id") for one in added}}
    special = {role: ids[name] for role in ROLES if (name := _named(settings, role) or names.get(role)) in ids}
    for role, others in _ELSE.items():
        if (
            role not in special
            and (found := next((special[one] for one in others if one in special), None)) is not None
        ):
            special[role] = found
    if missing := [role for role in ROLES if role not in special]:
        raise UserError(f"{folder}: no file says which token is {missing[0]}. Get a whole copy of the folder")
    template = content.get("post_processor")
    ours = {
        "special": {role: special[role] for role in ROLES},
        "begin": _begin(template, ids, special, settings),
        "vocab_size": rows,
        "added_tokens": [one for one in added if one.get("special")],
        "post_processor": template,
    }
    plain = [one for one in added if not one.get("special")]
    try:
        return Tokenizer(
            {**content, "truncation": None, "padding": None, "post_processor": None, "added_tokens": plain, KEY: ours}
        )
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None


def _named(settings: Mapping[str, Any], role: str) -> str | None:
    value = settings.get(f"{role}_token")
    value = value.get("content") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else None


def _begin(template: Any, ids: Mapping[str, Any], special: Mapping[str, int], settings: Mapping[str, Any]) -> list[int]:
    """The ids that a template puts in front of a text."""
    if isinstance(settings.get("add_bos_token"), bool):
        return [special["bos"]] if settings["add_bos_token"] else []
    found: list[int] = []
    for part in _parts(template):
        if part.get("type") == "TemplateProcessing":
            for item in part.get("single") or []:
                if "SpecialToken" not in item:
                    break
                found.append(ids.get(item["SpecialToken"].get("id"), -1))
    return found


def _parts(template: Any) -> Iterator[dict[str, Any]]:
    if isinstance(template, dict):
        yield template
        for part in template.get("processors") or []:
            yield from _parts(part)


def of_word_pieces(file: Path, lowercase: bool) -> dict[str, Any]:
    """BERT's tokenizer for a ``vocab.txt``, one entry a line: each Chinese character is a word of its own."""
    entries = read_text(file).split("\n")
    entries = [entry.rstrip("\r") for entry in (entries[:-1] if entries[-1] == "" else entries)]
    if len(entries) > LARGEST:
        raise UserError(f"{file} has {len(entries):,} entries, more than {LARGEST:,}")
    normal = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": lowercase}
    model = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", **normal},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", **model, "vocab": {entry: number for number, entry in enumerate(entries)}},
    }


def written(tokenizer: Tokenizer, reads_both_ways: bool, longest: int | None) -> dict[str, str]:
    """``tokenizer.json`` and ``tokenizer_config.json`` for Transformers, by name.

    An encoder's adds ``<cls> text <sep>``; a decoder's what stands in front of a document here.
    """
    content = copy.deepcopy(tokenizer.content)
    added = content.pop(KEY, None)
    roles = {role: getattr(tokenizer, f"{role}_id") for role in ROLES}
    names = dict(zip(sorted(set(roles.values())), tokenizer.tokens(sorted(set(roles.values()))), strict=True))
    if added is not None:
        content["added_tokens"] = sorted([*content["added_tokens"], *added["added_tokens"]], key=lambda one: one["id"])
        known = {one["id"] for one in content["added_tokens"]}
    else:
        known = set()
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"] += [{"id": n, "content": name, **flags} for n, name in names.items() if n not in known]
    content["added_tokens"].sort(key=lambda one: one["id"])
    begin = [(number, tokenizer.tokens([number])[0]) for number in tokenizer.begin]
    if added is not None and added["post_processor"] is not None:
        content["post_processor"] = added["post_processor"]
    elif reads_both_ways:
        content["post_processor"] = _template(
            [(roles["cls"], names[roles["cls"]])], (roles["sep"], names[roles["sep"]])
        )
    elif begin:
        content["post_processor"] = _template(begin, None)
    settings: dict[str, Any] = {f"{role}_token": names[number] for role, number in roles.items() if names[number]}
    if not reads_both_ways:
        settings = {name: value for name, value in settings.items() if name[:4] in ("pad_", "unk_", "bos_", "eos_")}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    settings["model_max_length"] = longest or 1_000_000
    if reads_both_ways:
        settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    else:  # a text goes on from its last token, which must not be padding
        settings |= {"model_input_names": ["input_ids", "attention_mask"], "padding_side": "left"}
    return {
        "tokenizer.json": json.dumps(content, ensure_ascii=False),
        "tokenizer_config.json": json.dumps(settings, ensure_ascii=False, indent=2) + "\n",
    }


def _template(before: list[tuple[int, str]], behind: tuple[int, str] | None) -> dict[str, Any]:
    """The library's template: of one text, and of two, of which the second is of another type."""

    def token(name: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def text(name: str, kind: int) -> list[dict[str, Any]]:
        return [{"Sequence": {"id": name, "type_id": kind}}, *([token(behind[1], kind)] if behind else [])]

    first = [*(token(name, 0) for _, name in before), *text("A", 0)]
    known = [*before, *([behind] if behind else [])]
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, *text("B", 1)],
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for number, name in known},
    }
