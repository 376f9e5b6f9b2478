"""Tagging: a name for each word of a text, such as its part of speech or the entity that it belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from groundup.baselines.tagging import HiddenMarkovTagger
from groundup.data.collate import IGNORE, pad, trim
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.roles import Row
from groundup.data.tagged import TaggedText
from groundup.data.text_data import TextData
from groundup.errors import ArgumentError, UserError
from groundup.metrics.estimate import LOSS, Estimate, Metric
from groundup.metrics.sections import Section
from groundup.metrics.tagging import (
    TAGGING,
    WORD_ACCURACY,
    entity_f1,
    judge_tags,
    spans,
    tagging_metrics,
    tagging_sections,
)
from groundup.models.backbone import Backbone
from groundup.models.crf import Chain, best_tags, log_normalizer, log_score, sides
from groundup.models.heads import ClassificationHead
from groundup.models.layers import WordDropout
from groundup.ranges import Rate
from groundup.tasks.base import Task, TaughtBy
from groundup.tasks.distillation import taught
from groundup.tasks.evaluation import Split
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.schemes import SchemeChoice, chosen_scheme, forbidden
from groundup.text.tokenizer import Tokenizer
from groundup.text.words import together, word_spans

OUTSIDE = [step / 2 for step in (0, 1, -1, 2, -2, 3, 4, 5, 6, 7, 8)]  # what is tried on validation; of equals the first


class TaggingCollator:
    """Pads. ``characters`` come as long as the longest word of the batch, or not at all."""

    def __init__(self, facts: Facts, characters: bool) -> None:
        self.pad_id, self.characters = facts.pad_id, characters

    def __call__(self, examples: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Tensor]:
        left_out = () if self.characters else ("characters",)
        batch = pad([{k: v for k, v in example.items() if k not in left_out} for example in examples], self.pad_id)
        return {**batch, "characters": trim(batch["characters"])} if self.characters else batch


class Tagging(Task):
    """One linear layer on the hidden state of each word's first token.

    Each word's tag is chosen by itself, with cross-entropy as loss; with ``crf`` those of a sentence together, by a
    linear chain (see ``models.crf``) that follows the rules of the tags' ``scheme`` when it chooses. ``auto``: the scheme
    that the names of the tags show; ``none``: they are no entities.

    ``outside``: what is taken from the score of ``O`` before tags are chosen: with more of it, more entities are found and more
    are wrong; ``validation``: what gives the best entity F1 on that split at each validation, saved with the weights.
    Probabilities stay those of the model. Source: Minkov et al. 2006.

    Metrics: word accuracy, loss a word and, where the tags are entities, their strict F1, precision and recall. A word beyond
    ``max_length`` counts as tagged with the first class, which is ``O`` where there is one; ``predict`` answers for the words
    that were read alone, and says ``truncated``.
    """

    examples = TaggedText
    columns = ("tokens", "tags")
    reports: tuple[Metric, ...] = TAGGING
    answers = ("predicted", "probabilities", "entities", "words")
    taught_by: TaughtBy | None = "batches"
    label_tensors = frozenset({"head.linear.weight", "head.linear.bias", "chain.start", "chain.end"})
    label_squares = frozenset({"chain.transitions"})
    judge = staticmethod(judge_tags)
    outside: Tensor  # ()

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        dropout: Rate = 0.1,
        word_dropout: Rate = 0.0,
        crf: bool = False,
        scheme: SchemeChoice = "auto",
        outside: Annotated[float, Field(allow_inf_nan=False)] | Literal["validation"] = 0.0,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, optimize)
        self.head = ClassificationHead(model.width, len(facts.labels), dropout=dropout)
        self.word_dropout = WordDropout(word_dropout, facts.unk_id, facts.special_ids)
        counts = dict(zip(facts.labels, facts.label_counts, strict=True))
        self.scheme = chosen_scheme(scheme, counts)
        if self.scheme is None:
            self.reports = (WORD_ACCURACY, LOSS)  # there are no entities to find
        rules = None if self.scheme is None else forbidden(self.scheme, facts.labels)
        self.chain = Chain(len(facts.labels), rules) if crf else None
        if crf:
            self.taught_by = None  # scores of a tag by itself are no probabilities
        self.chosen = outside == "validation"
        if outside and ("O" not in facts.labels or (self.chosen and self.scheme is None and optimize is not None)):
            raise ArgumentError(f"outside={outside} is for tags of entities, O among them", "outside=0")
        start = torch.tensor(0.0 if isinstance(outside, str) else outside)
        self.register_buffer("outside", start, persistent=self.chosen)

    @classmethod
    def check_facts(cls, facts: Facts) -> None:
        if len(facts.labels) < 2:
            raise UserError("task=tagging needs at least two tags in the training split. Try data.tags=COLUMN")

    def collator(self) -> Collate:
        return TaggingCollator(self.facts, self.model.reads_characters)

    def emissions(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores of the tags of each word, (B, W, C) float32, and which words are real, (B, W): the first ones of a row."""
        first = batch["first"] == 1
        counts = first.sum(1)
        mask = torch.arange(max(int(counts.max()), 1), device=first.device) < counts[:, None]
        logits = self.head(self.hidden_states(batch)[first]).float()
        return logits.new_zeros(*mask.shape, logits.shape[-1]).masked_scatter(mask[:, :, None], logits), mask

    def graph(self, batch: dict[str, Tensor]) -> Tensor:
        """Scores of the tags at each token (B, T, C); those of a word stand at its first token.

        Raises UserError where the tags of a text hang on each other.
        """
        if self.chain is not None:
            raise UserError("task.crf=true is not part of a graph. Use a run without it")
        return self.inside(self.head(self.hidden_states(batch)).float())

    def gold(self, batch: dict[str, Tensor], mask: Tensor) -> Tensor:
        """The tags that the data has, (B, W); -100 for one that training lacks, and where no word is."""
        tags = torch.full(mask.shape, IGNORE, device=mask.device)
        return tags.masked_scatter(mask, batch["labels"][batch["first"] == 1])

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        emissions, mask = self.emissions({**batch, "input_ids": self.word_dropout(batch["input_ids"])})
        tags = self.gold(batch, mask)
        known = tags != IGNORE
        total = self.nll(emissions, mask, tags).sum()
        return taught(Loss(total, known.sum().float(), logits=emissions[mask], counts=known[mask]), batch)

    def nll(self, emissions: Tensor, mask: Tensor, tags: Tensor) -> Tensor:
        """Negative log-likelihood of ``tags`` (B, W) in each sentence (B,), summed over those that are unknown."""
        if self.chain is None:
            scores = F.cross_entropy(emissions.transpose(1, 2), tags, ignore_index=IGNORE, reduction="none")
            return scores.sum(1)
        scores, unknown = self.chain(), mask & (tags == IGNORE)
        total = log_normalizer(emissions, scores, mask)
        if not unknown.any():
            return total - log_score(emissions, scores, mask, tags.clamp(min=0))
        others = F.one_hot(tags.clamp(min=0), emissions.shape[-1]) == 0
        given = emissions.masked_fill(others & ~unknown[:, :, None], float("-inf"))
        return total - log_normalizer(given, scores, mask)

    def inside(self, scores: Tensor) -> Tensor:
        """Scores of tags (..., C) with ``outside`` taken from that of ``O``."""
        if "O" not in self.facts.labels:
            return scores
        place = torch.arange(scores.shape[-1], device=scores.device) == self.facts.labels.index("O")
        return scores - self.outside * place

    def decode(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The tags of each word (B, W), -1 where none is."""
        emissions = self.inside(emissions)
        if self.chain is None:
            return torch.where(mask, emissions.argmax(-1), -1)
        return torch.where(mask, best_tags(emissions, self.chain(choosing=True), mask), -1)

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """``predicted`` tags (B, W), -1 where no word is; ``nll`` and ``scored`` words of each sentence (B,). Where ``outside``
        is yet to be chosen, ``emissions`` (B, W, C), too. W is the same for all batches."""
        emissions, mask = self.emissions(batch)
        tags = self.gold(batch, mask)
        room = split.examples.longest - mask.shape[1]  # batches are of unequal width
        to_choose = {"emissions": F.pad(emissions, (0, 0, 0, room))} if self.chosen and not split.final else {}
        return {
            "predicted": F.pad(self.decode(emissions, mask), (0, room), value=-1),
            "nll": self.nll(emissions, mask, tags).double(),
            "scored": (tags != IGNORE).sum(1),
            **to_choose,
        }

    def choose(self, table: dict[str, Tensor], split: Split) -> None:
        if not self.chosen or self.scheme is None:
            return
        emissions, mask = table.pop("emissions").to(self.device), (table["predicted"] >= 0).to(self.device)
        gold = [split.rows[row]["tags"] for row in table["index"].tolist()]
        words, found = [*map(len, gold)], []
        for outside in OUTSIDE:
            self.outside.fill_(outside)
            predicted = self.decode(emissions, mask).cpu()
            found.append((entity_f1(gold, self._named(predicted, words), self.scheme), predicted))
        best = max(range(len(found)), key=lambda place: found[place][0])
        self.outside.fill_(OUTSIDE[best])
        table["predicted"] = found[best][1]

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        gold = [split.rows[row]["tags"] for row in table["index"].tolist()]
        said = self._named(table["predicted"], [*map(len, gold)])
        nll, scored = table["nll"].numpy(), table["scored"].numpy()
        return tagging_metrics(gold, said, self.scheme, nll, scored, resamples=split.resamples)

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        places, status = table["index"].tolist(), split.examples.statuses(split.rows)
        said = self._named(table["predicted"], [len(split.rows[row]["tags"]) for row in places])
        about = {"scheme": self.scheme}  # in which ``judge`` counts
        return [
            {"index": row, "predicted": tags, "status": status[row]} | about
            for row, tags in zip(places, said, strict=True)
        ]

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """``predicted`` tags, and ``left`` and ``right``, of which ``joined`` makes probabilities: see ``models.crf.sides``."""
        emissions, mask = self.emissions(batch)
        tags = self.decode(emissions, mask)
        if self.chain is None:
            chances = emissions.log_softmax(-1).gather(2, tags.clamp(min=0)[:, :, None]).squeeze(2).double()
            left, right = chances - chances.cumsum(1), chances.cumsum(1)
        else:
            left, right = sides(emissions, self.chain(choosing=True), mask, tags.clamp(min=0))
        return [
            {
                "predicted": [self.facts.labels[tag] for tag in row[:count]],
                "left": before[:count],
                "right": behind[:count],
            }
            for row, before, behind, count in zip(
                tags.tolist(), left.tolist(), right.tolist(), mask.sum(1).tolist(), strict=True
            )
        ]

    def joined(self, answers: Sequence[dict[str, Any]], row: Row) -> dict[str, Any]:
        """Tags of the words with their probabilities, and the entities; of a running text also the words.

        The ``score`` of an entity is the probability that all its words have their tags, whatever the others have: of a chain
        over all tags of the sentence, else the product. Its ``start`` and ``end`` (the first behind it) count words, and of a
        running text characters.
        """
        (answer,) = answers
        tags, left, right = answer["predicted"], answer["left"], answer["right"]
        shares = [_share(*pair) for pair in zip(left, right, strict=True)]
        found: dict[str, Any] = {"predicted": tags, "probabilities": shares}
        words, text = row["tokens"], row.get("text")
        places = [(place, place + 1) for place in range(len(words))]
        if text is not None:
            places = word_spans(text)
            found = {"words": [text[begin:end] for begin, end in places], **found}
        if self.scheme is not None:
            found["entities"] = []
            for one in spans([tags], self.scheme)[0]:
                begin, end = places[one.start][0], places[one.end - 1][1]
                said = together(words[one.start : one.end]) if text is None else text[begin:end]
                score = _share(left[one.start], right[one.end - 1])
                found["entities"].append({"text": said, "type": one.type, "start": begin, "end": end, "score": score})
        return found

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        train = data.texts("train") if "train" in data.source.splits() else []
        return tagging_sections(rows, self.scheme, train)

    def classical(self) -> HiddenMarkovTagger:
        return HiddenMarkovTagger(self.scheme or "none")

    def _named(self, predicted: Tensor, words: Sequence[int]) -> list[list[str]]:
        """The tags of each row's ``words``; those that were cut away have the first class."""
        names = self.facts.labels
        rows = [[names[tag] for tag in row if tag >= 0] for row in predicted.tolist()]
        return [[*row, *[names[0]] * (count - len(row))] for row, count in zip(rows, words, strict=True)]


def _share(left: float, right: float) -> float:
    """A probability out of its two sides; rounding must not make it more than 1."""
    return round(math.exp(min(left + right, 0.0)), 6)
