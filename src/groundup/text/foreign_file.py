"""A ``tokenizer.json`` that others made, inside a run of ours: a closed list of parts, and under ``groundup`` what we add.

That is: the ids of its special tokens by our names, the ids that stand in front of a document, the rows of the embedding,
and the special tokens and the template that were taken out, so that names of special tokens in a text are plain text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from groundup.errors import UserError
from groundup.text.tokenizer_file import CHARACTERS, LARGEST, MARKS, words

KEY = "groundup"
ROLES = ("pad", "unk", "bos", "eos", "sep", "mask", "cls")
_PARTS = {
    "normalizer": "Sequence BertNormalizer NFC NFD NFKC NFKD Lowercase StripAccents Strip Prepend Replace ByteLevel",
    "pre_tokenizer": "Sequence BertPreTokenizer ByteLevel Split Metaspace Digits Whitespace WhitespaceSplit Punctuation",
    "decoder": "Sequence WordPiece ByteLevel Metaspace Replace ByteFallback Fuse Strip",
    "post_processor": "Sequence TemplateProcessing BertProcessing RobertaProcessing ByteLevel",
    "model": "WordPiece BPE WordLevel",
}
_LISTS = ("normalizers", "pretokenizers", "decoders", "processors")
# How Qwen2 parts words; Llama 3 has up to three digits a piece.
LETTERS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Patterns whose time is known to be linear: any other could take hours for a line.
_PATTERNS = {
    LETTERS,
    LETTERS.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),
    r"\s+",
    CHARACTERS,
    MARKS,
    words(False),
    words(True),
}


class Foreign(NamedTuple):
    """``special``: ids by role; ``names``: of special tokens that were taken out, by id; ``library``: what is left."""

    special: dict[str, int]
    begin: tuple[int, ...]
    vocab_size: int
    names: dict[int, str]
    library: dict[str, Any]


def check_foreign(content: Mapping[str, Any]) -> Foreign:
    """Raises UserError for a part that is not on the list, and for ids that the vocabulary does not have."""
    added = content[KEY]
    if not isinstance(added, dict) or added.keys() != {
        "special",
        "begin",
        "vocab_size",
        "added_tokens",
        "post_processor",
    }:
        raise refused(f"what stands under {KEY} is none of ours")
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise refused("an entry of its vocabulary is no text") from None
    library = {name: value for name, value in content.items() if name != KEY}
    for name, kinds in _PARTS.items():
        _check_part(added["post_processor"] if name == "post_processor" else library.get(name), name, kinds.split())
    if library.get("post_processor") is not None or any(library.get(name) for name in ("truncation", "padding")):
        raise refused("it cuts, pads or adds by itself")
    special, begin, size = added["special"], added["begin"], added["vocab_size"]
    if not (isinstance(special, dict) and special.keys() == set(ROLES) and isinstance(begin, list)):
        raise refused("its special tokens have no roles")
    if type(size) is not int or not 0 < size <= LARGEST:
        raise refused(f"its vocabulary has {size!s:.20} entries, and 1 to {LARGEST:,} are read")
    vocabulary = (library.get("model") or {}).get("vocab")
    if not isinstance(vocabulary, dict):
        raise refused("its vocabulary is no table of entries and ids")
    entries = [*_entries(added["added_tokens"]), *_entries(library.get("added_tokens") or [])]
    for number in (*special.values(), *begin, *vocabulary.values(), *(number for number, _ in entries)):
        if type(number) is not int or not 0 <= number < size:
            raise refused(f"an id of it is {number!s:.20}, and the model has rows for 0 to {size - 1:,}")
    return Foreign(special, tuple(begin), size, dict(_entries(added["added_tokens"])), library)


def _entries(tokens: Any) -> list[tuple[int, str]]:
    try:
        return [(token["id"], str(token["content"])) for token in tokens]
    except (TypeError, KeyError):
        raise refused("its added_tokens are no list of ids and contents") from None


def _check_part(part: Any, place: str, kinds: list[str]) -> None:
    if part is None and place != "model":
        return
    kind = part.get("type", "BPE" if place == "model" else None) if isinstance(part, dict) else None
    if kind not in kinds:
        raise refused(f"its {place} {kind!s:.40} has no counterpart here, only {', '.join(kinds)}")
    pattern = part.get("pattern")
    if isinstance(pattern, dict) and "Regex" in pattern and pattern["Regex"] not in _PATTERNS:
        raise refused(f"its {place} splits by a pattern that is not known here: {json.dumps(pattern['Regex'])[:80]}")
    for name in _LISTS if kind == "Sequence" else ():
        for inner in part.get(name) or []:
            _check_part(inner, place, kinds)


def refused(why: str) -> UserError:
    return UserError(f"not a tokenizer.json that can be taken over: {why}. Choose another model")
