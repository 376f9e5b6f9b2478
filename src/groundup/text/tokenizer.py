"""Text to token ids and back, trained on the project's own texts."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tokenizers
from pydantic import Field

from groundup.errors import UserError
from groundup.ranges import Count
from groundup.system.cache import Cache, code_version
from groundup.system.files import write_text
from groundup.text.clean import valid_unicode
from groundup.text.foreign_file import KEY, Foreign, check_foreign
from groundup.text.learn import learn
from groundup.text.pieces import cut, passages_to_learn
from groundup.text.tokenizer_file import LARGEST, SPECIALS, Kind, backend, check, in_word, pipeline, read

Span = tuple[int, int]


class _Piece(NamedTuple):
    """A stretch of text number ``owner``; ``added``: characters before it that the text does not have."""

    owner: int
    text: str
    goes_on: bool
    added: int


def lowered_from(text: str) -> list[int]:
    """For each character of ``text.lower()`` the one of ``text`` that it comes from, and at the end the length of ``text``.

    "İ" becomes two characters; no other letter changes its length.
    """
    return [*(place for place, character in enumerate(text) for _ in character.lower()), len(text)]


class Tokenizer:
    """A Hugging Face ``tokenizers.Tokenizer`` with fixed special ids, whose names in a text are plain text.

    ``byte_bpe`` decodes to exactly what was encoded, for any text; so does ``char`` for every character of its training
    texts, ``unigram`` with a space for each ``▁``, ``word`` and ``wordpiece`` with one space for each run of blanks.
    What a vocabulary lacks becomes ``unk_id``; nothing raises. Time is linear in the text. The file that ``save`` writes
    is a plain ``tokenizer.json``. One that others made has its special tokens where they put them (see ``foreign_file``), and
    is of the kind ``foreign``.

    Raises UserError for a content that is not of a file of ours.
    """

    pad_id, unk_id, bos_id, eos_id, sep_id, mask_id, cls_id = range(len(SPECIALS))

    def __init__(self, content: dict[str, Any]):
        others = check_foreign(content) if KEY in content else None
        self.kind: Kind | Literal["foreign"]
        self.kind, self.lowercase, self.split_digits = ("foreign", False, False)
        if others is None:
            kind, self.lowercase, self.split_digits = check(content)
            self.kind = kind
        self._content = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        self.fingerprint = hashlib.sha256(self._content.encode()).hexdigest()
        self.vocab_size: int
        self._characters: dict[str, int] | None = None
        self._special: dict[int, str] = dict(enumerate(SPECIALS))
        self.begin: tuple[int, ...] = (self.eos_id,)  # what stands before every document that a decoder reads
        if others is not None:
            self._take_over(others)
            return
        model = content["model"]
        # Python lowers the text, in training and in use: the library has another rule for some letters ("ΟΔΟΣ").
        ours = {**content, "normalizer": pipeline(kind, False, self.split_digits)["normalizer"]}
        self._backend = self._continuing = backend(ours)
        if self.kind == "unigram":  # it puts a space before a text, but not before what goes on with one
            ours["pre_tokenizer"] = json.loads(json.dumps(ours["pre_tokenizer"]).replace('"first"', '"never"'))
            self._continuing = backend(ours)
        self.vocab_size = len(model["vocab"])
        # A dict is 30 times faster than the backend's regex on one row of a megabyte, and gives the same ids.
        self._characters = model["vocab"] if self.kind == "char" else None

    def _take_over(self, others: Foreign) -> None:
        """A tokenizer that others made: special tokens are where it has them."""
        self._backend = self._continuing = backend(others.library)
        self.vocab_size, self.begin = others.vocab_size, others.begin
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = (
            others.special[one] for one in ("pad", "unk", "bos", "eos")
        )
        self.sep_id, self.mask_id, self.cls_id = (others.special[one] for one in ("sep", "mask", "cls"))
        names = {number: self._backend.id_to_token(number) or "" for number in others.special.values()}
        self._special = {**names, **others.names}

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: Kind,
        vocab_size: int,
        lowercase: bool = False,
        min_frequency: int = 1,
        split_digits: bool = False,
        further: Iterable[str] = (),
    ) -> Tokenizer:
        """Learn a vocabulary of at most ``vocab_size`` entries (specials included); the same texts give the same one.

        ``further``: texts that are not those to be learned from, see ``learn.learn``.

        ``split_digits``: each digit is a token. ``min_frequency``: rarer words, characters or merges are left out
        (``unigram`` prunes by likelihood instead). From much text a sample is taken, evenly spread, and the log says so.
        Raises UserError when there is no text, or ``vocab_size`` is too small for the kind.
        """
        own = passages_to_learn(texts, kind, lowercase)
        if not own:
            raise UserError("no text to train a tokenizer on: the train split is empty")
        more = passages_to_learn(further, kind, lowercase)
        return cls(learn(kind, own, vocab_size, min_frequency, lowercase, split_digits, more))

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read a ``tokenizer.json``, as data. Raises UserError when it is missing, broken, or none of ours."""
        try:
            return cls(read(Path(path)))
        except UserError as error:
            raise error if str(path) in str(error) else UserError(f"{path}: {error}") from error

    def save(self, path: Path | str) -> None:
        write_text(Path(path), self._content)

    @property
    def content(self) -> dict[str, Any]:
        """The JSON of its file."""
        return json.loads(self._content)

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone; no special token is added."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], continued: Sequence[bool] = ()) -> list[list[int]]:
        """``[encode(text) for text in texts]``, in parallel where the library can.

        ``continued`` (as many as texts): those that go on with the text before them, as ``pieces.cut`` parts them.
        """
        pieces = self._pieces(texts, continued)
        if self._characters is not None:
            ids = [[self._characters.get(character, self.unk_id) for character in piece.text] for piece in pieces]
        else:
            ids = [encoding.ids for encoding in self._encode(pieces, fast=True)]
        if len(ids) == len(texts):
            return ids
        whole: list[list[int]] = [[] for _ in texts]
        for piece, part in zip(pieces, ids, strict=True):
            whole[piece.owner] += part
        return whole

    def encode_with_spans(
        self, texts: Sequence[str], continued: Sequence[bool] = ()
    ) -> list[tuple[list[int], list[Span]]]:
        """The ids of ``encode_batch``, and the characters [begin, end) of its text that each token stands for.

        Blanks at the ends of a token are left out; one of blanks alone has an empty span. Tokens that share a character,
        as bytes do, have all of it. Neither end ever falls from one token to the next.
        """
        texts = [valid_unicode(text) for text in texts]
        origins = [lowered_from(text) if self.lowercase else None for text in texts]
        found: list[tuple[list[int], list[Span]]] = [([], []) for _ in texts]
        done = [0] * len(texts)  # characters of each text, lower-cased where that is asked, in the pieces so far
        pieces = self._pieces(texts, continued)
        for piece, encoding in zip(pieces, self._encode(pieces, fast=False), strict=True):
            ids, spans = found[piece.owner]
            start, origin = done[piece.owner] - piece.added, origins[piece.owner]
            ids += encoding.ids
            for begin, end in encoding.offsets:
                while begin < end and piece.text[begin].isspace():
                    begin += 1
                while begin < end and piece.text[end - 1].isspace():
                    end -= 1
                begin, end = max(start + begin, 0), max(start + end, 0)
                if origin is not None:
                    begin, end = origin[begin], origin[end - 1] + 1 if begin < end else origin[begin]
                spans.append((begin, end))
            done[piece.owner] += len(piece.text) - piece.added
        return found

    def _pieces(self, texts: Sequence[str], continued: Sequence[bool]) -> list[_Piece]:
        pieces = []
        for owner, text in enumerate(texts):
            text = valid_unicode(text)
            for number, piece in enumerate(cut(text.lower() if self.lowercase else text)):
                goes_on = number > 0 or bool(continued and continued[owner])
                # A unigram text begins with a space of the library's, but not where it has one already.
                missing = self.kind == "unigram" and not goes_on and piece[:1] in (" ", "▁")
                pieces.append(_Piece(owner, " " + piece if missing else piece, goes_on, int(missing)))
        return pieces

    def _encode(self, pieces: list[_Piece], fast: bool) -> list[Any]:
        """The library's encodings; ``fast`` ones know of no characters."""
        found: list[Any] = [None] * len(pieces)
        for library, wanted in ((self._backend, False), (self._continuing, True)):
            same = self._backend is self._continuing
            places = [place for place, piece in enumerate(pieces) if piece.goes_on is wanted or same]
            encode = library.encode_batch_fast if fast else library.encode_batch
            batch = encode([pieces[place].text for place in places], add_special_tokens=False)
            for place, encoding in zip(places, batch, strict=True):
                found[place] = encoding
            if same:
                break
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens are left out."""
        kept = [int(token) for token in ids if int(token) not in self._special]
        if self.kind == "char":
            return "".join(self.tokens(kept))
        if self.kind in ("word", "wordpiece"):
            return self._spelled(self.tokens(kept))
        return self._backend.decode(kept, skip_special_tokens=False)

    def _spelled(self, tokens: Iterable[str]) -> str:
        """Pieces as text: a space stands between two words, and where a piece holds one."""
        text: list[str] = []
        last = " "
        for token in tokens:
            if self.kind == "wordpiece" and len(token) > 2 and token.startswith("##"):  # goes on with its word
                token = token[2:]
            elif in_word(last, self.split_digits) and in_word(token[0], self.split_digits):
                text.append(" ")
            text.append(token)
            last = token[-1]
        return "".join(text)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's entry of each id, as it is stored (``Ġthe``, ``##ing``, ``▁the``)."""
        return [self._backend.id_to_token(int(token)) or self._special.get(int(token), "") for token in ids]


@dataclass(frozen=True)
class TokenizerSpec:
    """What tokenizer to train, or to load: the config group ``tokenizer``.

    vocab_size: entries at most, specials included. path: an existing ``tokenizer.json`` to use instead of training.
    """

    kind: Kind
    vocab_size: Annotated[int, Field(ge=len(SPECIALS) + 1, le=LARGEST)] = 4096
    lowercase: bool = False
    min_frequency: Count = 1
    path: str | None = None
    split_digits: bool = False

    def build(
        self,
        texts: Callable[[], Iterable[str]],
        cache: Cache,
        fingerprint: str | None = None,
        further: Callable[[], Iterable[str]] = tuple,
    ) -> Tokenizer:
        """The tokenizer of these texts: from ``path``, from the cache, or trained now.

        ``texts()`` starts a new pass, and so does ``further()``, see ``Tokenizer.train``. ``fingerprint`` stands for their
        content; without it they are read and hashed.
        """
        if self.path is not None:
            return Tokenizer.load(Path(self.path).expanduser())
        code = (code_version(self), tokenizers.__version__)
        key = cache.key(
            "tokenizer", code, asdict(self), fingerprint or _content_hash(itertools.chain(texts(), further()))
        )

        def train(folder: Path) -> None:
            settings = (self.kind, self.vocab_size, self.lowercase, self.min_frequency, self.split_digits)
            Tokenizer.train(texts(), *settings, further=further()).save(folder / "tokenizer.json")

        return Tokenizer.load(cache.get(key, train) / "tokenizer.json")


def _content_hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
