"""Augmentation: training rows are changed a little in each epoch, and keep their labels.

Changes are made to token ids, a word at a time where words are meant: no text is tokenized again. What is drawn follows from
the seed of (epoch, row) alone, so a resumed run sees the same rows. Validation, test and new texts are never changed.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar, Literal

import numpy as np

from groundup.data.examples import Examples
from groundup.data.loading import Collate
from groundup.data.seeding import mix, uniform
from groundup.errors import UserError
from groundup.ranges import Rate, Share
from groundup.text.tokenizer import Tokenizer
from groundup.text.tokenizer_file import SPECIALS, in_word, is_wide

Word = list[int]  # its token ids
CHARACTERS = ("swap", "delete", "double", "replace")


class Augmentation(ABC):
    """Changes the ``input_ids`` of some training examples; special tokens stay where they are.

    tokenizer: of the examples. examples: the train split. rows: share of the rows that are changed, others in each epoch.
    Raises UserError for examples that it would break: labels belong to words, or are made of the words themselves.
    """

    moves_words: ClassVar[bool] = True  # whether words may leave their places

    def __init__(self, tokenizer: Tokenizer, examples: Examples, rows: Share = 0.5) -> None:
        self.tokenizer, self.examples, self.rows = tokenizer, examples, rows
        self.longest = examples.longest  # tokens of a row, which no changed one exceeds
        if examples.without_labels or (self.moves_words and not examples.words_may_move):
            why = "learns from the words themselves" if examples.without_labels else "has labels for single words"
            raise UserError(f"{type(self).__name__} changes words, and this task {why}. Try augmentation=none")

    @abstractmethod
    def changed(self, examples: list[dict[str, Any]], seeds: Sequence[int]) -> list[np.ndarray]:
        """New ``input_ids`` (T,) int64 of each example, which has a seed of its own."""

    def __call__(self, examples: list[dict[str, Any]], seeds: Sequence[int]) -> list[dict[str, Any]]:
        chosen = np.flatnonzero(uniform(np.array(seeds), 1)[:, 0] < self.rows).tolist()
        if not chosen:
            return examples
        new = self.changed([examples[row] for row in chosen], [mix(seeds[row], 1) for row in chosen])
        examples = list(examples)
        for row, ids in zip(chosen, new, strict=True):
            examples[row] = {**examples[row], "input_ids": ids}
        return examples


class Augmented:
    """A collator (see ``loading.Collate``) of examples that are changed first, by one augmentation after the other."""

    def __init__(self, collate: Collate, augmentations: Sequence[Augmentation]) -> None:
        self.collate, self.augmentations = collate, augmentations

    def __call__(self, examples: list[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
        for number, augmentation in enumerate(self.augmentations, 1):
            examples = augmentation(examples, [mix(seed, number) for seed in seeds])
        return self.collate(examples, seeds)


class Words:
    """Where words begin in rows of token ids: at a blank or a mark, before and after a character like 海, at special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.kind == "foreign":
            raise UserError(
                "words cannot be changed in what the tokenizer of an imported run made. Try augmentation=cut_off"
            )
        every = range(tokenizer.vocab_size)
        if tokenizer.kind in ("word", "wordpiece"):  # blanks are no tokens
            self._opens = np.array([not token.startswith("##") for token in tokenizer.tokens(every)])
            self._closes = np.zeros_like(self._opens)
        else:
            # The "." keeps the blank that a decoder may take from the beginning of a text.
            dot = tokenizer.encode(".")
            texts = [tokenizer.decode([*dot, token]).removeprefix(".") for token in every]
            self._opens = np.array([bool(text) and _parts(text[0]) and text[0] != "�" for text in texts])
            self._closes = np.array([bool(text) and _parts(text[-1]) and text[-1] != "�" for text in texts])
            blank = np.array([text.isspace() for text in texts])  # a blank of its own belongs to the word after it
            self._closes &= ~blank
        self._opens[: len(SPECIALS)] = self._closes[: len(SPECIALS)] = True

    def of(self, ids: np.ndarray) -> Iterator[list[Word]]:
        """Special tokens, each as a list of one word, and the words of each text between them."""
        starts = self._opens[ids]
        starts[1:] |= self._closes[ids[:-1]]
        places = [*np.flatnonzero(starts).tolist(), len(ids)]
        tokens, text = ids.tolist(), list[Word]()
        begin = 0
        for end in places if places[0] else places[1:]:
            if tokens[begin] < len(SPECIALS):
                yield text
                yield [tokens[begin:end]]
                text = []
            else:
                text.append(tokens[begin:end])
            begin = end
        yield text


class EDA(Augmentation):
    """Easy data augmentation: in a text that is changed, one of four things happens to a share of its words.

    deletion: words are left out. swap: two change places, as often as that share says. insertion: further words stand between
    them. replacement: others stand in their place. 0 leaves one of them out; at least one word changes in each text.
    New words are drawn from the train split, as often as they stand there: no list of synonyms is needed.
    Source: Wei and Zou 2019, who take synonyms.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        examples: Examples,
        rows: Share = 0.5,
        deletion: Rate = 0.1,
        swap: Rate = 0.1,
        insertion: Rate = 0.1,
        replacement: Rate = 0.1,
    ) -> None:
        super().__init__(tokenizer, examples, rows)
        self.words = Words(tokenizer)
        shares = {self._delete: deletion, self._swap: swap, self._insert: insertion, self._replace: replacement}
        self.operations: list[tuple[Callable, float]] = [(what, share) for what, share in shares.items() if share]
        if not self.operations:
            raise UserError("augmentation.eda: nothing would change. Try augmentation=none")

    def changed(self, examples: list[dict[str, Any]], seeds: Sequence[int]) -> list[np.ndarray]:
        return [
            self._row(example["input_ids"], random.Random(seed)) for example, seed in zip(examples, seeds, strict=True)
        ]

    def _row(self, ids: np.ndarray, draw: random.Random) -> np.ndarray:
        change, share = draw.choice(self.operations)
        texts: list[list[Word]] = []
        room = self.longest - len(ids)
        for words in self.words.of(ids):
            if words and words[0][0] >= len(SPECIALS):
                size = sum(map(len, words))
                words = change(words, max(1, round(share * len(words))), draw, room)
                room -= sum(map(len, words)) - size
            texts.append(words)
        return np.array(list(chain(*chain(*texts))), dtype=np.int64)

    def _delete(self, words: list[Word], count: int, draw: random.Random, room: int) -> list[Word]:
        gone = set(draw.sample(range(len(words)), min(count, len(words) - 1)))
        return [word for place, word in enumerate(words) if place not in gone]

    def _swap(self, words: list[Word], count: int, draw: random.Random, room: int) -> list[Word]:
        for _ in range(count if len(words) > 1 else 0):
            one, other = draw.sample(range(len(words)), 2)
            words[one], words[other] = words[other], words[one]
        return words

    def _insert(self, words: list[Word], count: int, draw: random.Random, room: int) -> list[Word]:
        for _ in range(count):
            word = self._word(draw)
            if len(word) <= room:
                words.insert(draw.randint(0, len(words)), word)
                room -= len(word)
        return words

    def _replace(self, words: list[Word], count: int, draw: random.Random, room: int) -> list[Word]:
        for place in draw.sample(range(len(words)), min(count, len(words))):
            word = self._word(draw)
            if word and len(word) - len(words[place]) <= room:
                room -= len(word) - len(words[place])
                words[place] = word
        return words

    def _word(self, draw: random.Random) -> Word:
        """A word of the train split; nothing where a text without words was drawn."""
        row = self.examples[(0, draw.randrange(len(self.examples)))]["input_ids"]
        words = [word for text in self.words.of(row) for word in text if word[0] >= len(SPECIALS)]
        return draw.choice(words) if words else []


class CharacterNoise(Augmentation):
    """Misspelt words: in a share of the words two characters change places, one is missing, doubled, or another one.

    A word keeps its first character; one of a single character stays as it is.
    """

    def __init__(self, tokenizer: Tokenizer, examples: Examples, rows: Share = 0.5, share: Rate = 0.1) -> None:
        super().__init__(tokenizer, examples, rows)
        self.words, self.share = Words(tokenizer), share

    def changed(self, examples: list[dict[str, Any]], seeds: Sequence[int]) -> list[np.ndarray]:
        rows: list[list[Word]] = []
        places: list[tuple[int, int]] = []  # of the words that are written anew: row, word
        spellings: list[str] = []
        for row, (example, seed) in enumerate(zip(examples, seeds, strict=True)):
            draw, words = random.Random(seed), list(chain(*self.words.of(example["input_ids"])))
            for place, word in enumerate(words):
                if draw.random() < self.share and word[0] >= len(SPECIALS):
                    text = self.tokenizer.decode(word)
                    if (changed := misspelt(text, draw)) != text:  # the others keep their tokens
                        places.append((row, place))
                        spellings.append(changed)
            rows.append(words)
        # A word that had no blank before it gets none.
        joined = [not self.tokenizer.tokens(rows[row][place][:1])[0].startswith("▁") for row, place in places]
        encoded = self.tokenizer.encode_batch(spellings, joined)
        for (row, place), ids in zip(places, encoded, strict=True):
            rows[row][place] = ids
        longest = self.longest
        new = [np.array(list(chain(*words)), dtype=np.int64) for words in rows]
        return [
            ids if len(ids) <= longest else example["input_ids"] for ids, example in zip(new, examples, strict=True)
        ]


class CutOff(Augmentation):
    """Hides a stretch of each text, or single tokens, behind ``<mask>``; all others stay where they are.

    share: of the tokens. what: ``span``, one after another, or ``tokens``. Source: Shen et al. 2020, who hide embeddings.
    """

    moves_words = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        examples: Examples,
        rows: Share = 0.5,
        share: Rate = 0.1,
        what: Literal["span", "tokens"] = "span",
    ) -> None:
        super().__init__(tokenizer, examples, rows)
        self.share, self.what = share, what
        of_roles = (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id, tokenizer.cls_id)
        self.special = np.array([tokenizer.pad_id, tokenizer.sep_id, *of_roles])  # an imported one has them anywhere

    def changed(self, examples: list[dict[str, Any]], seeds: Sequence[int]) -> list[np.ndarray]:
        new = []
        for example, seed in zip(examples, seeds, strict=True):
            ids, draw = example["input_ids"].copy(), random.Random(seed)
            words = np.flatnonzero(~np.isin(ids, self.special))
            count = round(self.share * len(words))
            if self.what == "span":
                begin = draw.randint(0, len(words) - count)
                hidden = words[begin : begin + count]
            else:
                hidden = words[draw.sample(range(len(words)), count)]
            ids[hidden] = self.tokenizer.mask_id
            new.append(ids)
        return new


def misspelt(word: str, draw: random.Random) -> str:
    """The word with one mistake after its first character; blanks before and after it stay."""
    core = word.strip()
    if len(core) < 2:
        return word
    letters, place, mistake = list(core), draw.randrange(1, len(core)), draw.choice(CHARACTERS)
    if mistake == "swap":
        other = place - 1 if place > 1 else min(place + 1, len(core) - 1)
        letters[place], letters[other] = letters[other], letters[place]
    else:
        letters[place] = {"delete": "", "double": 2 * letters[place], "replace": draw.choice(core)}[mistake]
    return word.replace(core, "".join(letters), 1)


def _parts(character: str) -> bool:
    """Whether a word ends before and after this character."""
    return is_wide(character) or not in_word(character)
