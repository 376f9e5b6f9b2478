"""Text to token ids and back, trained on the project's own texts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tokenizers
from pydantic import Field

from groundup.data.cache import Cache, code_version
from groundup.data.clean import valid_unicode
from groundup.data.vocabulary import CHARACTERS, SPECIALS, Kind, learn
from groundup.errors import UserError
from groundup.runs.atomic import write_text

# Undo, when decoding words, the spaces that stand between pieces: inside CJK text, before closing marks, after opening.
_WIDE = r"\u2e80-\u2fdf\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_GLUE = re.compile(rf"(?<=[{_WIDE}]) (?=[{_WIDE}])| (?=[.,;:!?%)\]}}’]|'(?:s|t|re|ve|m|ll|d)\b)|(?<=[(\[{{]) ")


class Tokenizer:
    """A Hugging Face ``tokenizers.Tokenizer`` with fixed special ids, whose names in a text are plain text.

    ``byte_bpe`` decodes to exactly what was encoded, for any text; ``char`` too for every character of its training
    texts. ``word``, ``wordpiece`` and ``unigram`` keep the words and normalise the spaces between them. What a
    vocabulary lacks becomes ``unk_id``; nothing raises. The file that ``save`` writes is a plain ``tokenizer.json``.
    """

    pad_id, unk_id, bos_id, eos_id, sep_id, mask_id, cls_id = range(len(SPECIALS))

    def __init__(self, backend: tokenizers.Tokenizer):
        vocabulary = backend.get_vocab(with_added_tokens=True)
        if [vocabulary.get(name) for name in SPECIALS] != list(range(len(SPECIALS))):
            raise UserError(
                f"the tokenizer's first ids must be {' '.join(SPECIALS)}: train one with tokenizer.path=null"
            )
        self._backend = backend
        self._content = backend.to_str()
        self.kind: Kind = _kind(json.loads(self._content))
        self.vocab_size = len(vocabulary)
        self.fingerprint = hashlib.sha256(self._content.encode()).hexdigest()
        # A dict is 30 times faster than the backend's regex on one row of a megabyte, and gives the same ids.
        self._characters = vocabulary if self.kind == "char" else None

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: Kind,
        vocab_size: int,
        lowercase: bool = False,
        min_frequency: int = 1,
        split_digits: bool = False,
    ) -> Tokenizer:
        """Learn a vocabulary of at most ``vocab_size`` entries (specials included); the same texts give the same one.

        ``split_digits``: each digit is a token. ``min_frequency``: rarer words, characters or merges are left out
        (``unigram`` prunes by likelihood instead).
        Raises UserError when there is no text, or ``vocab_size`` is too small for the kind.
        """
        again = list(texts) if isinstance(texts, Iterator) else texts  # some kinds read them twice

        def passage() -> Iterator[str]:
            for text in again:
                text = valid_unicode(text)
                yield text.lower() if lowercase else text

        if next(passage(), None) is None:
            raise UserError("no text to train a tokenizer on: the train split is empty")
        content = learn(kind, passage, vocab_size, min_frequency, lowercase, split_digits)
        return cls(tokenizers.Tokenizer.from_str(json.dumps(content)))

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read a ``tokenizer.json``. Raises UserError when it is missing, broken, or lacks the special tokens."""
        if not Path(path).is_file():
            raise UserError(f"no tokenizer at {path}: give a tokenizer.json, or tokenizer.path=null to train one")
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises a bare Exception
            raise UserError(f"{path} is not a tokenizer.json ({error})") from error
        return cls(backend)

    def save(self, path: Path | str) -> None:
        write_text(Path(path), self._content)

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone; no special token is added."""
        text = valid_unicode(text)
        if self._characters is None:
            return self._backend.encode(text, add_special_tokens=False).ids
        if self._backend.normalizer is not None:
            text = text.lower()
        return [self._characters.get(character, self.unk_id) for character in text]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``[encode(text) for text in texts]``, in parallel where the library can."""
        if self._characters is not None:
            return [self.encode(text) for text in texts]
        batch = self._backend.encode_batch_fast([valid_unicode(text) for text in texts], add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens are left out."""
        kept = [int(token) for token in ids if token >= len(SPECIALS)]
        if self.kind == "char":
            return "".join(self.tokens(kept))
        text = self._backend.decode(kept, skip_special_tokens=False)
        if (
            self.kind == "wordpiece"
        ):  # a text that a model begins inside a word; marks of the text itself are apart: "# #"
            text = text.removeprefix("##")
        return _GLUE.sub("", text) if self.kind in ("word", "wordpiece") else text

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's entry of each id, as it is stored (``Ġthe``, ``##ing``, ``▁the``)."""
        return [self._backend.id_to_token(int(token)) or "" for token in ids]


@dataclass(frozen=True)
class TokenizerSpec:
    """What tokenizer to train, or to load: the config group ``tokenizer``.

    vocab_size: entries at most, specials included. path: an existing ``tokenizer.json`` to use instead of training.
    """

    kind: Kind
    vocab_size: Annotated[int, Field(ge=len(SPECIALS) + 1)] = 4096
    lowercase: bool = False
    min_frequency: Annotated[int, Field(ge=1)] = 1
    path: str | None = None
    split_digits: bool = False

    def build(self, texts: Callable[[], Iterable[str]], cache: Cache, fingerprint: str | None = None) -> Tokenizer:
        """The tokenizer of these texts: from ``path``, from the cache, or trained now.

        ``texts()`` starts a new pass. ``fingerprint`` stands for their content; without it they are read and hashed.
        """
        if self.path is not None:
            return Tokenizer.load(Path(self.path).expanduser())
        code = (code_version(self), tokenizers.__version__)
        key = cache.key("tokenizer", code, asdict(self), fingerprint or _content_hash(texts()))

        def train(folder: Path) -> None:
            words = (self.kind, self.vocab_size, self.lowercase, self.min_frequency, self.split_digits)
            Tokenizer.train(_Passes(texts), *words).save(folder / "tokenizer.json")

        return Tokenizer.load(cache.get(key, train) / "tokenizer.json")


@dataclass
class _Passes:
    """Makes ``texts()`` an iterable that can be read twice, without holding it in memory."""

    texts: Callable[[], Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts())


def _kind(content: dict[str, Any]) -> Kind:
    """A tokenizer.json has no place for our word, but its parts tell."""
    model, split = content["model"]["type"], content["pre_tokenizer"] or {}
    if model == "WordLevel":
        return "char" if split.get("pattern") == {"Regex": CHARACTERS} else "word"
    kinds: dict[str, Kind] = {"BPE": "byte_bpe", "WordPiece": "wordpiece", "Unigram": "unigram"}
    return kinds[model]


def _content_hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
