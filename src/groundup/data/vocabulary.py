"""Learning a vocabulary: one pipeline and one trainer for each kind of tokenizer.

The library's own trainers for WordPiece and Unigram give a different result each time: they walk hash tables, and
add up floats in that order. Here the same texts always give the same file.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from groundup.data.unigram import learn_pieces
from groundup.errors import UserError

Kind = Literal["char", "word", "byte_bpe", "wordpiece", "unigram"]
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>", "<sep>", "<mask>", "<cls>")  # ids 0..6, in this order
UNK = SPECIALS[1]

# No piece that these patterns make holds both a letter and an angle bracket, and SPECIALS are never registered as
# "added tokens" (which the library would look for in every text): "<pad>" typed by a user cannot become id 0.
_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}"  # written without spaces: each character is a word of its own
WORDS = rf"[{_CJK}]|['’](?:s|t|re|ve|m|ll|d)\b|[\p{{L}}\p{{M}}&&[^{_CJK}]]+|\p{{N}}+|[^\s\p{{L}}\p{{M}}\p{{N}}]"
CHARACTERS = r"[\s\S]"
MARKS = r"[\r\n]|[^\s\p{L}\p{M}\p{N}]"

Texts = Callable[[], Iterable[str]]


def learn(
    kind: Kind, texts: Texts, vocab_size: int, min_frequency: int, lowercase: bool, split_digits: bool = False
) -> dict[str, Any]:
    """The content of a ``tokenizer.json``; ``texts()`` starts a pass over text that is lower-cased already if asked.

    ``split_digits``: each digit is a piece by itself, so that numbers never seen are spelled like any other.

    Raises UserError when ``vocab_size`` or the text is too small for the kind.
    """
    learners = {"char": _char, "word": _word, "byte_bpe": _byte_bpe, "wordpiece": _wordpiece, "unigram": _unigram}
    if kind not in learners:
        raise UserError(f"tokenizer.kind={kind}: choose one of {', '.join(learners)}")
    try:
        first = [pre_tokenizers.Digits(individual_digits=True)] if split_digits and kind != "char" else []
        backend = learners[kind](texts, vocab_size, min_frequency, first)
    except UserError:
        raise
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"tokenizer={kind} cannot be trained on this text ({error}): try tokenizer=char") from error
    if lowercase:
        backend.normalizer = normalizers.Lowercase()
    content: dict[str, Any] = json.loads(backend.to_str()) | {"added_tokens": []}
    return content


def _char(texts: Texts, vocab_size: int, min_frequency: int, first: list) -> tokenizers.Tokenizer:
    kept = _characters(texts, vocab_size - len(SPECIALS), min_frequency)
    vocabulary = {entry: i for i, entry in enumerate([*SPECIALS, *kept])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(CHARACTERS), "isolated")
    backend.decoder = decoders.Fuse()
    return backend


def _word(texts: Texts, vocab_size: int, min_frequency: int, first: list) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token=UNK))
    backend.pre_tokenizer = _after(first, pre_tokenizers.Split(Regex(WORDS), "removed", invert=True))
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=list(SPECIALS), show_progress=False
    )
    backend.train_from_iterator(texts(), trainer)
    return backend


def _byte_bpe(texts: Texts, vocab_size: int, min_frequency: int, first: list) -> tokenizers.Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(SPECIALS) + len(alphabet):
        raise UserError(
            f"tokenizer.vocab_size={vocab_size} is too small for byte_bpe, which has 256 bytes and {len(SPECIALS)} "
            "special tokens before any merge: try tokenizer.vocab_size=1024, or tokenizer=char"
        )
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = _after(first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIALS),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(texts(), trainer)
    return backend


def _wordpiece(texts: Texts, vocab_size: int, min_frequency: int, first: list) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token=UNK))
    backend.pre_tokenizer = _after(first, pre_tokenizers.Split(Regex(WORDS), "removed", invert=True))
    backend.decoder = decoders.WordPiece(cleanup=False)
    # The trainer numbers letters in the order of a hash table, and breaks ties between merges by number; letters given
    # as "special" have a fixed place. Chinese has thousands of signs, and some scripts need each letter twice (x, ##x):
    # half of the vocabulary at most is for single characters.
    letters = [c for c in _characters(texts, (vocab_size - len(SPECIALS)) // 2, min_frequency) if not c.isspace()]
    inner = [f"##{c}" for c in letters if unicodedata.category(c)[0] in "LMN" and not _stands_alone(c)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[*SPECIALS, *letters, *inner],
        limit_alphabet=0,
        show_progress=False,
    )
    backend.train_from_iterator(texts(), trainer)
    return backend


def _unigram(texts: Texts, vocab_size: int, min_frequency: int, first: list) -> tokenizers.Tokenizer:
    marks = pre_tokenizers.Split(Regex(MARKS), "isolated")
    splitter = pre_tokenizers.Sequence([*first, marks, pre_tokenizers.Metaspace(prepend_scheme="first")])
    words: Counter[str] = Counter()
    for text in texts():
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    letters = _characters(lambda: words.elements(), (vocab_size - len(SPECIALS)) // 2, min_frequency)
    pieces = learn_pieces(words, SPECIALS, letters, vocab_size, min_frequency)
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=SPECIALS.index(UNK)))
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    return backend


def _after(first: list, splitter: Any) -> Any:
    return pre_tokenizers.Sequence([*first, splitter]) if first else splitter


def _stands_alone(character: str) -> bool:
    return unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA"))


def _characters(texts: Texts, limit: int, min_frequency: int) -> list[str]:
    """The commonest characters; ties in code point order, so that the order of the texts does not matter."""
    counts: Counter[str] = Counter()
    for text in texts():
        counts.update(text)
    kept = [character for character, count in counts.items() if count >= min_frequency]
    return sorted(kept, key=lambda character: (-counts[character], character))[:limit]
