"""Extractive question answering: the answer to a question is a span of its context."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn

from groundup.baselines.question_answering import SlidingWindow
from groundup.data.collate import IGNORE, Collator
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.questions import CONTEXT, QuestionWindows
from groundup.data.roles import Row
from groundup.data.text_data import TextData
from groundup.decoding.spans import Found, best_spans, join_windows
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate
from groundup.metrics.paired import Judged
from groundup.metrics.question_answering import (
    QUESTION_ANSWERING,
    Scores,
    answer_scores,
    best_threshold,
    judged_answers,
    question_answering_metrics,
)
from groundup.metrics.question_sections import question_sections
from groundup.metrics.sections import Section
from groundup.models.backbone import Backbone
from groundup.models.heads import ClassificationHead
from groundup.ranges import Count, Rate
from groundup.tasks.base import Task
from groundup.tasks.evaluation import Split
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)
TOKEN_TYPES = 4  # see ``data.questions``
INEXACT = 0.02  # share of answers that may begin or end inside a token untold; of SQuAD's, byte_bpe has 0.012


class QuestionAnswering(Task):
    """One logit for the first and one for the last token of the answer at each token, and at ``<cls>`` for no answer.

    The model is told of each token whether it is of the question or of the context, and whether it is in both: ``TOKEN_TYPES``
    vectors that are added to embeddings (segments: Devlin et al. 2019; exact match: Chen et al. 2017).
    An answer is the best span over all windows of a context, at most ``max_answer_tokens`` long, cut out of the raw context
    by its characters. ``unanswerable``: there may be none, and none is given where the best span's score against no
    answer is below a threshold, which each validation during training sets for the best F1. ``n_best``: spans that a
    prediction lists.

    Metrics: F1 and exact match as SQuAD's own scripts have them (of Chinese: CMRC 2018's), loss a token to find.
    Source: Rajpurkar et al. 2016; Rajpurkar et al. 2018.
    """

    examples = QuestionWindows
    columns = ("question", "context", "answers")
    accepts = ("encoder",)
    reports = QUESTION_ANSWERING
    answers = ("answer", "start", "end", "probability", "no_answer_probability", "n_best")
    threshold: Tensor  # ()

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        dropout: Rate = 0.1,
        max_answer_tokens: Count = 30,
        unanswerable: bool = False,
        n_best: Count = 3,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, optimize)
        self.max_answer_tokens, self.unanswerable, self.n_best = max_answer_tokens, unanswerable, n_best
        self.token_types = nn.Embedding(TOKEN_TYPES, model.embedding.embedding_dim)
        nn.init.zeros_(self.token_types.weight)  # a pretrained model begins as it was
        self.head = ClassificationHead(model.width, 2, dropout=dropout)
        self.register_buffer("threshold", torch.zeros(()))

    def check_data(self, data: TextData) -> None:
        for split, told in data.report.items():
            if (count := int(told["unanswerable_rows"])) and not self.unanswerable:
                raise UserError(f"{count:,} questions of {split} have no answer. Try task.unanswerable=true")
            answers, inexact = int(told["rows"]) - count, int(told["inexact_answers"])
            if inexact > INEXACT * answers:
                _tell_inexact(split, inexact, answers)

    def collator(self) -> Collate:
        return Collator(self.facts)

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, T, 2) float32: of first and last token; -inf for what can be neither, a token of the question."""
        types = batch["token_type_ids"]
        hidden = self.model(
            batch["input_ids"], attention_mask=batch.get("attention_mask"), features=self.token_types(types)
        )
        possible = types >= CONTEXT
        possible[:, 0] = True
        return self.head(hidden).float().masked_fill(~possible[..., None], float("-inf"))

    graph_inputs = ("input_ids", "attention_mask", "token_type_ids")

    def graph(self, batch: dict[str, Tensor]) -> Tensor:
        return self.logits(batch)

    def decision_thresholds(self) -> dict[str, float]:
        return {"answer": float(self.threshold)} if self.unanswerable else {}

    def nll(self, logits: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Nats of first and last token together (B,), and how many of the two are scored (B,)."""
        targets = torch.stack([batch["start_positions"], batch["end_positions"]], dim=1)  # (B, 2)
        nll = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
        return nll.sum(1), (targets != IGNORE).sum(1)

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        nll, scored = self.nll(self.logits(batch), batch)
        return Loss(nll.sum(), scored.sum().float())

    def best(self, logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The best spans of each window, of its ``logits`` (B, T, 2); see ``decoding.spans.best_spans``."""
        count = self.n_best + 1  # windows may share the best
        return best_spans(logits, batch["begins"], batch["ends"], self.max_answer_tokens, count)

    # Evaluation

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """Of each window what ``nll`` and ``best`` say of it."""
        logits = self.logits(batch)
        nll, scored = self.nll(logits, batch)
        return {"nll": nll.double(), "scored": scored, **self.best(logits, batch)}

    def choose(self, table: dict[str, Tensor], split: Split) -> None:
        if not self.unanswerable:
            return
        rows, found, _ = self._by_row(table, split)
        best = [one.spans[0].score if one.spans else float("-inf") for one in found]
        pairs = zip(rows, found, strict=True)
        texts = [row["context"][slice(*one.spans[0][:2])] if one.spans else "" for row, one in pairs]
        (_, f1), answerable = self._scores(texts, rows)
        self.threshold.fill_(best_threshold(np.array(best), f1, answerable))

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        rows, found, places = self._by_row(table, split)
        scores, answerable = self._scores([self._text(row, one) for row, one in zip(rows, found, strict=True)], rows)
        nll, scored = (np.bincount(places, weights=table[name].numpy()) for name in ("nll", "scored"))
        return question_answering_metrics(scores, answerable, nll, scored, resamples=split.resamples)

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        rows, found, places = self._by_row(table, split)
        numbers = np.unique(split.examples.rows_of(table["index"].numpy())).tolist()
        status, windows = split.examples.statuses(split.rows), np.bincount(places).tolist()
        exact, f1 = self._scores([self._text(row, one) for row, one in zip(rows, found, strict=True)], rows)[0]
        return [
            {
                "index": number,
                **self._answer(row, one),
                "windows": windows[place],
                "exact_match": float(exact[place]),
                "f1": float(f1[place]),
                "status": status[number],
            }
            for place, (number, row, one) in enumerate(zip(numbers, rows, found, strict=True))
        ]

    @classmethod
    def judge(cls, rows: Sequence[Mapping[str, Any]]) -> Judged:
        return judged_answers(rows)

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        return question_sections(rows)

    def classical(self) -> SlidingWindow:
        return SlidingWindow()

    # Prediction

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """The best spans of each window; ``joined`` makes an answer of them."""
        found = {name: value.cpu().numpy() for name, value in self.best(self.logits(batch), batch).items()}
        return [{name: value[place] for name, value in found.items()} for place in range(len(batch["input_ids"]))]

    def joined(self, answers: Sequence[dict[str, Any]], row: Row) -> dict[str, Any]:
        empty = not (row["question"].strip() and row["context"].strip())  # a model would make something up
        return self._answer(row, join_windows([] if empty else answers, self.n_best))

    # Inside

    def _by_row(self, table: dict[str, Tensor], split: Split) -> tuple[list[Row], list[Found], np.ndarray]:
        """The rows that windows of ``table`` are of, the spans found in each, and which of them each window is of."""
        numbers, places = np.unique(split.examples.rows_of(table["index"].numpy()), return_inverse=True)
        columns = {name: table[name].numpy() for name in ("begins", "ends", "scores", "log_starts", "log_ends")}
        windows: list[list[dict[str, np.ndarray]]] = [[] for _ in numbers]
        for place, row in enumerate(places.tolist()):
            windows[row].append({name: value[place] for name, value in columns.items()})
        return [split.rows[number] for number in numbers], [join_windows(one, self.n_best) for one in windows], places

    @staticmethod
    def _scores(texts: Sequence[str], rows: Sequence[Row]) -> tuple[Scores, np.ndarray]:
        answers = [[answer["text"] for answer in row["answers"]] for row in rows]
        return answer_scores(texts, answers), np.array([bool(one) for one in answers])

    def _text(self, row: Row, found: Found) -> str:
        return self._answer(row, found)["answer"]

    def _answer(self, row: Row, found: Found) -> dict[str, Any]:
        """What is told of a row: its answer (empty: none) with its characters and probability, and the spans beside it."""
        spans = [
            {
                "answer": row["context"][one.start : one.end],
                "start": one.start,
                "end": one.end,
                "probability": float(np.exp(one.score - found.log_normalizer)),
            }
            for one in found.spans
        ]
        none = {"answer": "", "start": None, "end": None, "probability": float(np.exp(-found.log_normalizer))}
        given = bool(spans) and not (self.unanswerable and found.spans[0].score < float(self.threshold))
        told = dict(spans[0] if given else none)
        if self.unanswerable:
            told["no_answer_probability"] = none["probability"]
        return {**told, "n_best": spans}


@rank_zero_only
def _tell_inexact(split: str, inexact: int, answers: int) -> None:
    log.warning(
        "%s: %s of %s answers begin or end inside a token, so they cannot be given exactly. Try tokenizer=char",
        split,
        f"{inexact:,}",
        f"{answers:,}",
    )
