"""Tagging: a name for each word of a text, such as its part of speech or the entity that it belongs to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.data.batching import Batching, Bucketed, TokenBudget
from groundup.data.collate import IGNORE, Collator
from groundup.data.encoding import EncodedText
from groundup.data.examples import Examples
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.sources.source import Source
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate
from groundup.metrics.sections import Section
from groundup.metrics.tagging import TAGGING, judge_tags, tagging_metrics, tagging_sections
from groundup.models.backbone import Backbone
from groundup.models.heads import ClassificationHead
from groundup.ranges import Rate
from groundup.system.cache import Cache
from groundup.tasks.base import Loss, Optimize, Task, Texts
from groundup.tasks.evaluation import Split
from groundup.text.tokenizer import Tokenizer


class TaggedText(Examples):
    """One example a sentence: ``<cls> words <sep>``, of the words as many as fit whole into ``max_length`` tokens.

    An example has ``input_ids`` (T,), ``first`` (T,), 1 where a word begins, ``index`` (its row) and, unless the split is
    ``predict``, ``labels`` (T,): a word's tag at its first token, -100 elsewhere (Devlin et al. 2019). A word without a
    token is ``<unk>``. Raises ``UserError`` for a tag that training did not know, or an empty split.
    """

    reads = ("tokens",)
    batchings = (Bucketed, TokenBudget)
    words_apart = True

    @classmethod
    def check_columns(cls, columns: Collection[str]) -> None:
        if "tokens" not in columns:
            raise UserError(
                f"this task needs words with their tags, but the data has {' and '.join(columns)}. "
                "Try data.tokens=COLUMN data.tags=COLUMN, or another task"
            )

    @classmethod
    def learned_roles(cls, source: Source) -> tuple[str, ...]:
        return ("tokens",)

    @classmethod
    def label_names(cls, source: Source) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Sorted, ``O`` first."""
        if "tags" not in source.columns:
            raise UserError("the data has no tags: name their column, as in data.tags=COLUMN")
        counts = Counter(tag for row in source.rows("train") for tag in row["tags"])
        names = sorted(counts, key=lambda name: (name != "O", name))
        return tuple(names), tuple(counts[name] for name in names)

    def __init__(
        self,
        tokenizer: Tokenizer,
        source: Source,
        split: str,
        batching: Batching,
        cache: Cache | None,
        seed: int = 0,
        labels: Sequence[str] = (),
        target_tokenizer: Tokenizer | None = None,
    ) -> None:
        assert isinstance(batching, self.batchings)
        if batching.truncation != "head":
            raise UserError(
                f"batching.truncation={batching.truncation}: tagging reads a text from its beginning. Try head"
            )
        words = EncodedText.of(
            source, split, tokenizer, cache, stream=False, close=False, roles=("tokens",), label="tags", apart=True
        )
        if words.rows == 0 and split != "predict":
            raise UserError(f"the {split} split is empty: it has no row")
        self.words, self.unk_id, self.cls_id, self.sep_id = words, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id
        sizes = np.maximum(np.diff(words.offsets), 1)  # tokens of each word
        ends = np.concatenate([[0], np.cumsum(sizes)])
        begins = words.row_offsets[:-1]
        room = ends[begins] + batching.max_length - 2
        self.kept = np.minimum(np.searchsorted(ends, room, side="right") - 1, words.row_offsets[1:]) - begins
        self.truncated_rows = self.kept < np.diff(words.row_offsets)
        self._lengths = ends[begins + self.kept] - ends[begins] + 2
        self.targets = None if split == "predict" else self._classes(labels, split)

    def __len__(self) -> int:
        return self.words.rows

    def lengths(self, training: bool) -> np.ndarray:
        return self._lengths

    @property
    def bytes_per_token(self) -> float | None:
        return self.words.bytes / len(self.words.ids) if len(self.words.ids) else None

    @property
    def report(self) -> dict[str, float]:
        tokens, cut = len(self.words.ids), int(self.truncated_rows.sum())
        return {
            "rows": len(self),
            "tokens": int(self._lengths.sum()),
            "bytes_per_token": self.bytes_per_token or 0.0,
            "unknown_share": self.words.unknown / max(tokens, 1),
            "truncated_rows": cut,
            "truncated_share": cut / max(len(self), 1),
        }

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """Examples; they are the same in every epoch."""
        return [self._example(index) for _, index in keys]

    def _example(self, index: int) -> dict[str, Any]:
        begin = int(self.words.row_offsets[index])
        words = range(begin, begin + int(self.kept[index]))
        pieces = [self.words.ids[self.words.offsets[word] : self.words.offsets[word + 1]] for word in words]
        pieces = [piece if len(piece) else np.array([self.unk_id]) for piece in pieces]
        ids = np.concatenate([[self.cls_id], *pieces, [self.sep_id]]).astype(np.int64)
        places = np.cumsum([1, *map(len, pieces)])[:-1]
        first = np.zeros_like(ids)
        first[places] = 1
        example: dict[str, Any] = {"input_ids": ids, "first": first, "index": index}
        if self.targets is not None:
            example["labels"] = np.full_like(ids, IGNORE)
            example["labels"][places] = self.targets[begin : begin + len(pieces)]
        return example

    def _classes(self, labels: Sequence[str], split: str) -> np.ndarray:
        """Class of each word (words,) int64; -100 for a tag that training did not know: it cannot be predicted."""
        number = {name: place for place, name in enumerate(labels)}
        known = np.array([number.get(name, IGNORE) for name in self.words.label_names], dtype=np.int64)
        if len(self.words.labels) < self.words.row_offsets[-1] or (self.words.labels < 0).any():
            raise UserError(
                f"the {split} split has words without a tag: name the column that holds them, data.tags=COLUMN"
            )
        return known[self.words.labels] if len(known) else np.zeros(0, dtype=np.int64)


class Tagging(Task):
    """One linear layer on the hidden state of each word's first token, cross-entropy.

    Metrics: word accuracy, loss a word and, where the tags are BIO, strict entity F1, precision and recall. A word beyond
    ``max_length`` counts as tagged with the first class, which is ``O`` where there is one; ``predict`` answers for the words
    that were read alone, and says ``truncated``.
    """

    examples = TaggedText
    columns = ("tokens", "tags")
    reports = TAGGING
    answers = ("predicted",)
    label_tensors = frozenset({"head.linear.weight", "head.linear.bias"})
    baselines_are_trained = False
    judge = staticmethod(judge_tags)

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        dropout: Rate = 0.1,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, optimize)
        self.head = ClassificationHead(model.width, len(facts.labels), dropout=dropout)

    @classmethod
    def check_facts(cls, facts: Facts) -> None:
        if len(facts.labels) < 2:
            raise UserError("task=tagging needs at least two tags in the training split. Try data.tags=COLUMN")

    def collator(self) -> Collate:
        return Collator(self.facts)

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        chosen = batch["labels"] != IGNORE
        logits = self.head(self.hidden_states(batch)[chosen]).float()
        return Loss(F.cross_entropy(logits, batch["labels"][chosen], reduction="sum"), chosen.sum().float())

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        logits = self.head(self.hidden_states(batch)).float()
        nll = F.cross_entropy(logits.transpose(1, 2), batch["labels"], ignore_index=IGNORE, reduction="none")
        predicted = torch.where(batch["first"] == 1, logits.argmax(-1), -1)
        room = split.examples.longest - predicted.shape[1]  # batches are of unequal width
        return {
            "predicted": F.pad(predicted, (0, room), value=-1),
            "nll": nll.double().sum(1),
            "scored": (batch["labels"] != IGNORE).sum(1),
        }

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        said = self._named(table["predicted"], [len(row["tags"]) for row in split.rows])
        gold = [row["tags"] for row in split.rows]
        nll, scored = table["nll"].numpy(), table["scored"].numpy()
        return tagging_metrics(gold, said, nll, scored, resamples=split.resamples)

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        said = self._named(table["predicted"], [len(row["tags"]) for row in split.rows])
        status = split.examples.statuses(split.rows)
        return [{"index": row, "predicted": tags, "status": status[row]} for row, tags in enumerate(said)]

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        logits = self.head(self.hidden_states(batch))
        found = torch.where(batch["first"] == 1, logits.argmax(-1), -1)
        return [{"predicted": [self.facts.labels[tag] for tag in row if tag >= 0]} for row in found.tolist()]

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        return tagging_sections(rows)

    @classmethod
    def baselines(cls, data: Texts, split: str) -> dict[str, dict[str, Estimate]]:
        """Each word's most frequent tag in the train split; of words that it lacks, the most frequent tag of all."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in data.texts("train"):
            for word, tag in zip(row["tokens"], row["tags"], strict=True):
                counts[word][tag] += 1
        total = sum(counts.values(), Counter())
        common = max(data.labels, key=lambda tag: total[tag])
        best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        rows = data.texts(split)
        said = [[best.get(word, common) for word in row["tokens"]] for row in rows]
        found = tagging_metrics([row["tags"] for row in rows], said)
        return {"most frequent tag": {f"{split}/{name}": one for name, one in found.items()}}

    def _named(self, predicted: Tensor, words: Sequence[int]) -> list[list[str]]:
        """The tags of each row's ``words``; those that were cut away have the first class."""
        names = self.facts.labels
        rows = [[names[tag] for tag in row if tag >= 0] for row in predicted.tolist()]
        return [[*row, *[names[0]] * (count - len(row))] for row, count in zip(rows, words, strict=True)]
