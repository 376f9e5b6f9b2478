"""Learning a vocabulary: one trainer for each kind of tokenizer.

The library's own trainers for WordPiece and Unigram give a different result each time: they walk hash tables, and
add up floats in that order. Here the same texts always give the same file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers, trainers

from groundup.data.pieces import without_long_runs
from groundup.data.tokenizer_file import KINDS, SPECIALS, Kind, is_wide, pipeline
from groundup.data.unigram import learn_pieces
from groundup.errors import UserError


def learn(
    kind: Kind, texts: Iterable[str], vocab_size: int, min_frequency: int, lowercase: bool, split_digits: bool = False
) -> dict[str, Any]:
    """The content of a ``tokenizer.json``; ``texts`` are lower-cased already if asked. Only ``char`` reads them but once.

    ``split_digits``: each digit is a piece by itself, so that numbers never seen are spelled like any other.

    Raises UserError when ``vocab_size`` or the text is too small for the kind.
    """
    if kind not in KINDS:
        raise UserError(f"tokenizer.kind={kind}: choose one of {', '.join(KINDS)}")
    split_digits = split_digits and kind != "char"
    untrained = pipeline(kind, split_digits=split_digits)
    learner = {"char": _char, "word": _word, "byte_bpe": _byte_bpe, "wordpiece": _wordpiece, "unigram": _unigram}[kind]
    try:
        learned = learner(untrained, texts, vocab_size, min_frequency)
    except UserError:
        raise
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"tokenizer={kind} cannot be trained on this text ({error}): try tokenizer=char") from error
    content = pipeline(kind, lowercase, split_digits)
    return {**content, "model": {**content["model"], **learned}}


def _char(untrained: dict, texts: Iterable[str], vocab_size: int, min_frequency: int) -> dict[str, Any]:
    kept = _characters(texts, vocab_size - len(SPECIALS), min_frequency)
    return {"vocab": {entry: i for i, entry in enumerate([*SPECIALS, *kept])}}


def _word(untrained: dict, texts: Iterable[str], vocab_size: int, min_frequency: int) -> dict[str, Any]:
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=list(SPECIALS), show_progress=False
    )
    vocabulary = _trained(untrained, texts, trainer)["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    # A mark is one piece with the blanks beside it, and at the end of a text it has none there.
    bare = {one for word in words for one in (word.lstrip(), word.rstrip(), word.strip()) if one} - vocabulary.keys()
    words = words[: max(len(SPECIALS), vocab_size - len(bare))] + sorted(bare)
    return {"vocab": {word: number for number, word in enumerate(words[:vocab_size])}}


def _byte_bpe(untrained: dict, texts: Iterable[str], vocab_size: int, min_frequency: int) -> dict[str, Any]:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(SPECIALS) + len(alphabet):
        raise UserError(
            f"tokenizer.vocab_size={vocab_size} is too small for byte_bpe, which has 256 bytes and {len(SPECIALS)} "
            "special tokens before any merge: try tokenizer.vocab_size=1024, or tokenizer=char"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIALS),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    return _trained(untrained, texts, trainer)


def _wordpiece(untrained: dict, texts: Iterable[str], vocab_size: int, min_frequency: int) -> dict[str, Any]:
    # The trainer numbers letters in the order of a hash table, and breaks ties between merges by number; letters given
    # as "special" have a fixed place. Chinese has thousands of signs, and all others are needed twice (x, ##x): half of
    # the vocabulary at most is for single characters.
    half = (vocab_size - len(SPECIALS)) // 2
    seen = _characters(texts, half, min_frequency)
    letters = [" ", *(character for character in seen if not _is_blank(character))][:half]
    inner = [f"##{letter}" for letter in letters if not is_wide(letter)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIALS, *letters, *inner],
        limit_alphabet=0,
        show_progress=False,
    )
    return _trained(untrained, texts, trainer)


def _unigram(untrained: dict, texts: Iterable[str], vocab_size: int, min_frequency: int) -> dict[str, Any]:
    splitter = _backend(untrained, {"vocab": [[name, 0.0] for name in SPECIALS]}).pre_tokenizer
    assert splitter is not None
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    letters = _commonest(counts, (vocab_size - len(SPECIALS)) // 2, min_frequency)
    pieces = learn_pieces(words, SPECIALS, letters, vocab_size, min_frequency)
    return {"vocab": [list(piece) for piece in pieces]}


def _trained(untrained: dict, texts: Iterable[str], trainer: Any) -> dict[str, Any]:
    """What the library's trainer learns: ``vocab`` and, of byte_bpe, ``merges``."""
    empty: dict[str, Any] = {"vocab": {name: number for number, name in enumerate(SPECIALS)}}
    if untrained["model"]["type"] == "BPE":
        empty["merges"] = []
    backend = _backend(untrained, empty)
    backend.train_from_iterator(without_long_runs(texts), trainer)
    model = json.loads(backend.to_str())["model"]
    return {name: model[name] for name in empty}


def _backend(untrained: dict, learned: dict[str, Any]) -> tokenizers.Tokenizer:
    content = {**untrained, "model": {**untrained["model"], **learned}}
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def _is_blank(character: str) -> bool:
    r"""Whether it is of the patterns' ``\s``: Python adds four separators (file, group, record, unit)."""
    return character.isspace() and not "\x1c" <= character <= "\x1f"


def _characters(texts: Iterable[str], limit: int, min_frequency: int) -> list[str]:
    """The commonest characters of the texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return _commonest(counts, limit, min_frequency)


def _commonest(counts: Counter[str], limit: int, min_frequency: int) -> list[str]:
    """Ties stand in code point order, so that the order of the texts does not matter."""
    kept = [character for character, count in counts.items() if count >= min_frequency]
    return sorted(kept, key=lambda character: (-counts[character], character))[:limit]
