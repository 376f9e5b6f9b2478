"""Learning a vocabulary: one trainer for each kind of tokenizer.

The library's own trainers for WordPiece and Unigram give a different result each time: they walk hash tables, and
add up floats in that order. Here the same texts always give the same file.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from groundup.errors import UserError
from groundup.text.pieces import without_long_runs
from groundup.text.tokenizer_file import KINDS, SPECIALS, UNK, Kind, backend, is_wide, pipeline

FURTHER = 5  # occurrences of a word in further text: fewer tell too little of what it means


def learn(
    kind: Kind,
    texts: Iterable[str],
    vocab_size: int,
    min_frequency: int,
    lowercase: bool,
    split_digits: bool = False,
    further: Iterable[str] = (),
) -> dict[str, Any]:
    """The content of a ``tokenizer.json``; ``texts`` are lower-cased already if asked. Only ``char`` reads them but once.

    ``split_digits``: each digit is a piece by itself, so that numbers never seen are spelled like any other. ``further``:
    texts that are only like those to be read. Of them ``word`` takes what is left of the room, and words that occur
    ``FURTHER`` times at least: a rare word of the texts themselves is worth more. Other kinds learn from both alike.

    Raises UserError when ``vocab_size`` or the text is too small for the kind.
    """
    if kind not in KINDS:
        raise UserError(f"tokenizer.kind={kind}: choose one of {', '.join(KINDS)}")
    split_digits = split_digits and kind != "char"
    untrained = pipeline(kind, split_digits=split_digits)
    learner = {"char": _char, "word": _word, "byte_bpe": _byte_bpe, "wordpiece": _wordpiece, "unigram": _unigram}[kind]
    try:
        if kind == "word":
            learned = learner(untrained, texts, vocab_size, min_frequency)
            more = learner(untrained, further, vocab_size, max(FURTHER, min_frequency))
            words = list(dict.fromkeys([*learned["vocab"], *more["vocab"]]))
            learned = {"vocab": {word: number for number, word in enumerate(words[:vocab_size])}}
        else:
            both = chain(texts, further) if kind == "char" else [*texts, *further]
            learned = learner(untrained, both, vocab_size, min_frequency)
    except UserError:
        raise
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"tokenizer={kind} cannot be trained on this text ({error}): try tokenizer=char") from error
    return _with_model(pipeline(kind, lowercase, split_digits), learned)


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
    splitter = backend(_with_model(untrained, {"vocab": [[name, 0.0] for name in SPECIALS]})).pre_tokenizer
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
    tokenizer = backend(_with_model(untrained, empty))
    tokenizer.train_from_iterator(without_long_runs(texts), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {name: model[name] for name in empty}


def _with_model(content: dict, learned: dict[str, Any]) -> dict[str, Any]:
    return {**content, "model": {**content["model"], **learned}}


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


_SEEDS = 4  # candidates to start from, as a multiple of the final number
_KEEP = 0.7  # share of the candidates that survives a round
_LONGEST = 16  # characters of a piece


def learn_pieces(
    words: Counter[str], specials: Sequence[str], letters: Sequence[str], size: int, min_count: int
) -> list[tuple[str, float]]:
    """Pieces and their log-probabilities, specials first, then the likeliest; at most ``size`` of them.

    words: how often each stretch of text occurs; pieces never cross their ends. letters: single characters that stay
    whatever happens. Candidates are frequent substrings. In each round every word is cut into its likeliest pieces,
    the pieces' counts give new probabilities, and those whose loss would cost the least likelihood go. The counts are
    of the best cut only (hard EM), so they are whole numbers and their sum does not depend on the order of addition.
    Source: Kudo 2018, https://arxiv.org/abs/1804.10959
    """
    letters = list(letters)[: size - len(specials)]
    wanted = size - len(specials) - len(letters)
    counts = _candidates(words, _SEEDS * wanted, max(2, min_count))
    counts.update(dict.fromkeys(letters, 1))
    if not counts:
        return [(name, 0.0) for name in specials]
    scores = _log_probabilities(counts)
    while True:
        counts = _cut(words, specials, scores)
        scores = _log_probabilities(
            {piece: max(1, counts[piece]) for piece in scores if counts[piece] or len(piece) == 1}
        )
        longer = [piece for piece in scores if len(piece) > 1]
        if len(longer) <= wanted:
            return [(name, 0.0) for name in specials] + sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
        loss = {piece: counts[piece] * (scores[piece] - _without(piece, scores)) for piece in longer}
        kept = sorted(longer, key=lambda piece: (-loss[piece], piece))[: max(wanted, int(_KEEP * len(longer)))]
        scores = {piece: scores[piece] for piece in [*letters, *kept]}


def _candidates(words: Counter[str], number: int, min_count: int) -> Counter[str]:
    """Frequent substrings, by the characters they cover. Longer ones are tried only where both halves are frequent."""
    frequent: Counter[str] = Counter()
    level: Counter[str] | None = None
    for length in range(2, _LONGEST + 1):
        found: Counter[str] = Counter()
        for word, count in words.items():
            for start in range(len(word) - length + 1):
                piece = word[start : start + length]
                if level is None or (piece[:-1] in level and piece[1:] in level):
                    found[piece] += count
        level = Counter({piece: count for piece, count in found.items() if count >= min_count})
        if not level:
            break
        frequent.update(level)
    best = sorted(frequent, key=lambda piece: (-frequent[piece] * len(piece), piece))[:number]
    return Counter({piece: frequent[piece] for piece in best})


def _cut(words: Counter[str], specials: Sequence[str], scores: dict[str, float]) -> Counter[str]:
    """How often each piece is used when every word is cut into its likeliest pieces."""
    vocabulary = [*((name, 0.0) for name in specials), *sorted(scores.items())]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=specials.index(UNK)))
    counts: Counter[str] = Counter()
    pairs = list(words.items())
    for start in range(0, len(pairs), 4096):  # an encoding of every word at once would be large
        chunk = pairs[start : start + 4096]
        for (_, count), encoding in zip(chunk, tokenizer.encode_batch_fast([word for word, _ in chunk]), strict=True):
            for token in encoding.ids:
                counts[vocabulary[token][0]] += count
    return counts


def _log_probabilities(counts: dict[str, int]) -> dict[str, float]:
    total = math.log(sum(counts.values()))
    return {piece: math.log(count) - total for piece, count in counts.items()}


def _without(piece: str, scores: dict[str, float]) -> float:
    """The likeliest way to write a piece if it were gone: in two known parts, or letter by letter."""
    floor = -30.0  # of a letter that is not in the vocabulary
    best = sum(scores.get(letter, floor) for letter in piece)
    for cut in range(1, len(piece)):
        left, right = scores.get(piece[:cut]), scores.get(piece[cut:])
        if left is not None and right is not None:
            best = max(best, left + right)
    return best
