"""Our ``tokenizer.json``: a closed list of pipelines and a vocabulary. A run folder, and this file, may come from anyone."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
import unicodedata
from pathlib import Path
from typing import Any, Literal

import tokenizers

from groundup.errors import UserError
from groundup.system.files import read_text

Kind = Literal["char", "word", "byte_bpe", "wordpiece", "unigram"]
KINDS: tuple[Kind, ...] = ("char", "word", "byte_bpe", "wordpiece", "unigram")
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>", "<sep>", "<mask>", "<cls>")  # ids 0..6, in this order
UNK = SPECIALS[1]
LARGEST = 1 << 20  # entries of a vocabulary
_LONGEST = 2048  # characters of an entry
_MOST_BYTES = 32 << 20  # of a file

# Written without spaces: each character is a word of its own. Ranges, so that Python and the library agree on them.
CJK = (
    "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3038-\u303b\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_WIDE = re.compile(f"[{CJK}]")
CHARACTERS = r"[\s\S]"
MARKS = r"[\r\n]|[^\s\p{L}\p{M}\p{N}]"


def words(split_digits: bool) -> str:
    r"""The pieces of ``word`` and ``wordpiece``: words without the space between them, marks with the spaces beside them.

    "dog, a well-known" is dog|", "|a|well|-|known. Two words have a space between them where nothing else stands there,
    so the pieces tell the text, and a word is the same piece wherever it stands. No piece holds both a letter and an
    angle bracket, and SPECIALS are never registered as "added tokens" (which the library would look for in every text):
    "<pad>" typed by a user cannot become id 0. With ``split_digits`` a digit is a mark.
    """
    word, mark = (r"\p{L}\p{M}", "") if split_digits else (r"\p{L}\p{M}\p{N}", r"\p{N}")
    return (
        rf" ?['’](?:s|t|re|ve|m|ll|d)\b|[{word}&&[^{CJK}]]+| ?[^\s\p{{L}}\p{{M}}{mark}{CJK}] ?|[{CJK}]"
        rf"|(?<=[{CJK}]) | (?=[{CJK}])"
    )


@functools.lru_cache(1 << 16)
def in_word(character: str, split_digits: bool = False) -> bool:
    """Whether a character is of those that ``words`` joins to words."""
    return unicodedata.category(character)[0] in ("LM" if split_digits else "LMN") and not is_wide(character)


def is_wide(character: str) -> bool:
    """Whether a character is a word of its own, as in Chinese."""
    return _WIDE.match(character) is not None


def pipeline(kind: Kind, lowercase: bool = False, split_digits: bool = False) -> dict[str, Any]:
    """All of a tokenizer.json but its vocabulary: ``model.vocab`` and, for byte_bpe, ``model.merges``."""
    digits = [{"type": "Digits", "individual_digits": True}] if split_digits else []
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    spaces: list[dict[str, Any]] = [  # a run of blanks is one space
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Strip", "strip_left": True, "strip_right": True},
    ]
    normalizers: list[dict[str, Any]] = spaces if kind in ("word", "wordpiece") else []
    normalizers = [*normalizers, {"type": "Lowercase"}] if lowercase else normalizers
    before: list[dict] = {
        "char": [_split(CHARACTERS, "Isolated")],
        "word": [_split(words(split_digits), "Removed")],
        "byte_bpe": [*digits, {**byte_level, "add_prefix_space": False}],
        "wordpiece": [_split(words(split_digits), "Removed")],
        "unigram": [*digits, _split(MARKS, "Isolated"), metaspace],
    }[kind]
    decoders: dict[Kind, dict[str, Any] | None] = {
        "char": {"type": "Fuse"},
        "word": None,
        "byte_bpe": {**byte_level, "add_prefix_space": True},
        "wordpiece": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "unigram": metaspace,
    }
    bpe = dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"))
    models: dict[Kind, dict[str, Any]] = {
        "char": {"type": "WordLevel", "unk_token": UNK},
        "word": {"type": "WordLevel", "unk_token": UNK},
        "byte_bpe": {"type": "BPE", **bpe, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False},
        "wordpiece": {
            "type": "WordPiece",
            "unk_token": UNK,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
        "unigram": {"type": "Unigram", "unk_id": SPECIALS.index(UNK), "byte_fallback": False},
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": _sequence(normalizers, "normalizers"),
        "pre_tokenizer": _sequence(before, "pretokenizers"),
        "post_processor": None,
        "decoder": decoders[kind],
        "model": models[kind],
    }


def read(path: Path) -> dict[str, Any]:
    """The JSON of a tokenizer file. Raises UserError when it is missing, too large, or no JSON object."""
    try:
        content = json.loads(read_text(path, _MOST_BYTES))
    except FileNotFoundError:
        raise UserError(f"no tokenizer at {path}: give a tokenizer.json, or tokenizer.path=null to train one") from None
    except (UserError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"not a tokenizer.json: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"not a tokenizer.json: a JSON {type(content).__name__}")
    return content


def backend(content: dict[str, Any]) -> tokenizers.Tokenizer:
    """The library's tokenizer. Raises UserError for a content that it cannot use."""
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"not a tokenizer.json ({error})") from error


def check(content: dict[str, Any]) -> tuple[Kind, bool, bool]:
    """(kind, lowercase, split_digits) of a file's content.

    Raises UserError for any part that we do not write, and for a vocabulary that is too large or makes no sense.
    """
    model = content.get("model")
    model = model if isinstance(model, dict) else {}
    learned = {name: model.get(name) for name in ("vocab", "merges") if name in model}
    rest = {**content, "model": {name: value for name, value in model.items() if name not in learned}}
    known = {choice: pipeline(*choice) for choice in itertools.product(KINDS, (False, True), (False, True))}
    found = next((choice for choice, expected in known.items() if rest == expected), None)
    if found is None:
        names = [n for n in rest if all(rest[n] != one.get(n, ...) for one in known.values())]
        strange = ", ".join(str(name)[:40] for name in names[:3]) or "combination of parts"
        raise _refused(f"its {strange} is none of those that this version writes")
    tokens = _entries(learned.get("vocab"), found[0])
    if tuple(tokens[: len(SPECIALS)]) != SPECIALS:
        raise _refused(f"its first ids must be {' '.join(SPECIALS)}")
    if ("merges" in learned) != (found[0] == "byte_bpe"):
        raise _refused("merges are byte_bpe's, and byte_bpe's alone")
    if found[0] == "byte_bpe":
        _check_merges(learned["merges"], set(tokens))
    return found


def _entries(vocabulary: Any, kind: Kind) -> list[str]:
    """The tokens in the order of their ids."""
    if kind == "unigram":
        if not isinstance(vocabulary, list) or not all(
            isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], float) and math.isfinite(entry[1])
            for entry in vocabulary
        ):
            raise _refused("its vocabulary is no list of a piece and its log-probability each")
        tokens = [entry[0] for entry in vocabulary]
    else:
        if not isinstance(vocabulary, dict):
            raise _refused("its vocabulary is no table of entries and ids")
        ids = list(vocabulary.values())
        if not all(type(number) is int for number in ids) or sorted(ids) != [*range(len(ids))]:
            raise _refused("the ids of its vocabulary are not 0, 1, 2, ...")
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if len(tokens) > LARGEST:
        raise _refused(f"it has {len(tokens):,} entries, more than {LARGEST:,}")
    if not all(isinstance(token, str) and 0 < len(token) <= _LONGEST and _is_text(token) for token in tokens):
        raise _refused(f"an entry of its vocabulary is no text of 1 to {_LONGEST} characters")
    if len(set(tokens)) < len(tokens):
        raise _refused("an entry of its vocabulary stands there twice")
    return tokens


def _check_merges(merges: Any, tokens: set[str]) -> None:
    if not isinstance(merges, list) or len(merges) > LARGEST:
        raise _refused(f"its merges are no list of at most {LARGEST:,} pairs")
    for pair in merges:
        whole = isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        if not whole or not tokens.issuperset((*pair, "".join(pair))):
            raise _refused("a merge joins pieces that its vocabulary lacks")


def _is_text(token: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in token)


def _refused(why: str) -> UserError:
    return UserError(f"not a tokenizer.json of groundup: {why}. Train one with tokenizer.path=null")


def _split(pattern: str, behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": behavior == "Removed"}


def _sequence(parts: list[dict], name: str) -> dict | None:
    if len(parts) > 1:
        return {"type": "Sequence", name: parts}
    return parts[0] if parts else None
