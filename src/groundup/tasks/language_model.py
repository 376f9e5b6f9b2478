"""What causal and masked language modelling share: a head over the vocabulary, cross-entropy, perplexity."""

from __future__ import annotations

import logging
import math
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.data.collate import IGNORE
from groundup.data.facts import Facts
from groundup.data.packing import PackedText
from groundup.data.passages import Passages
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.language import LANGUAGE, PER_TOKEN, judge_passages, language_metrics
from groundup.models.backbone import Backbone
from groundup.models.heads import LanguageModelHead, Transform
from groundup.tasks.base import Task
from groundup.tasks.distillation import taught
from groundup.tasks.evaluation import Split
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.tokenizer import Tokenizer

FEW = 1000  # tokens of a split up to which it may be that none is scored
log = logging.getLogger(__name__)
KEPT = 20_000_000  # tokens of a split up to which the nats of each are kept to the end, 5 bytes a token


class LanguageModel(Task):
    """Base of tasks that predict tokens; which ones, their collators decide.

    Where what is scored stands in the text in its order, ``predictions.jsonl`` has a row for each passage of the text (a
    document, or a part of it; see ``data.passages``): these rows are the same for every tokenizer.
    """

    examples = PackedText
    reports: tuple[Metric, ...] = LANGUAGE
    taught_by = "batches"
    per_token = PER_TOKEN
    scored_at: ClassVar[int | None] = None  # 0: the label of a position is its own token; 1: the next; None: neither
    judge = staticmethod(judge_passages)

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        tied: bool = True,
        optimize: Optimize | None = None,
        transform: Transform = "none",
    ) -> None:
        super().__init__(model, facts, tokenizer, optimize)
        self.head = LanguageModelHead(model, tied=tied, transform=transform)

    def check_data(self, data: TextData) -> None:
        for split, told in data.report.items():
            if split == "train" or told["tokens"] > FEW:
                continue
            batches = data.loader(split, self.collator())
            if not any((batch["labels"] != IGNORE).any() for batch in batches):
                raise UserError(
                    f"no token of the {split} split can be scored: it has {int(told['tokens'])}, special or unknown ones. "
                    "Give it more text, or choose other data"
                )

    def scored(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, V) and targets (N,) of the N scored tokens, and which they are (B, T).

        Logits are computed at scored positions only: under masking that is a sixth of the largest product of the model.
        """
        hidden, labels = self.hidden_states(batch), batch["labels"]
        chosen = labels != IGNORE
        return self.head(hidden[chosen]).float(), labels[chosen], chosen

    def graph(self, batch: dict[str, Tensor]) -> Tensor:
        """Scores of the vocabulary at each position (B, T, V), of whole texts: a decoder's has no cache."""
        if self.model.kind == "encoder_decoder":
            raise UserError("an encoder-decoder is no one graph. Use a run of an encoder, or of a decoder")
        return self.head(self.hidden_states(batch)).float()

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        logits, targets, chosen = self.scored(batch)
        total = F.cross_entropy(logits, targets, reduction="sum")
        return taught(Loss(total, chosen.sum().float(), logits=logits), batch)

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split | None = None) -> dict[str, Tensor]:
        """``nll``, ``count`` and ``correct`` of the scored tokens of each row (B,); of a final evaluation also ``token_nll`` and
        ``token_correct`` of each token of a window (B, length), where there is room for them."""
        logits, targets, chosen = self.scored(batch)
        nll, correct = F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets
        row = chosen.nonzero()[:, 0]  # (N,) row of each scored token
        zeros = torch.zeros(chosen.size(0), dtype=torch.float64, device=nll.device)
        found = {
            "nll": zeros.index_add(0, row, nll.double()),
            "count": chosen.sum(1),
            "correct": zeros.index_add(0, row, correct.double()),
        }
        if split is not None and split.final and self.scored_at is not None and _stream(split).size <= KEPT:
            (B, T), length = chosen.shape, _stream(split).length
            found["token_nll"] = nll.new_full((B, length), math.nan)  # NaN: not scored
            found["token_nll"][:, :T][chosen] = nll
            found["token_correct"] = chosen.new_zeros(B, length)
            found["token_correct"][:, :T][chosen] = correct
        return found

    def bytes_per_token(self, split: Split) -> float | None:
        """Bytes of the scored text for each token; None where bits per byte would mean nothing."""
        return split.examples.bytes_per_token

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        return language_metrics(
            table["nll"].numpy(),
            table["count"].numpy(),
            bytes_per_token=self.bytes_per_token(split),
            correct=table["correct"].numpy(),
            resamples=split.resamples,
        )

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        """What each passage costs; those that were not evaluated to their end are left out."""
        if "token_nll" not in table or self.scored_at is None:
            return []
        stream, nats = _stream(split), table["token_nll"].numpy()
        places = table["index"].numpy()[:, None] * stream.length + np.arange(stream.length) + self.scored_at
        passages = Passages.of(split.running_texts, self.tokenizer)
        if len(passages.of_token) != stream.size:  # of a file that has changed since
            log.warning("%s: its text is not what was evaluated, so no passages are kept to compare", split.name)
            return []
        unknown = stream.encoded.ids == self.facts.unk_id
        correct = table["token_correct"].numpy()
        return passages.rows(places, nats, unknown, correct, self.bytes_per_token(split) is not None)


def _stream(split: Split) -> PackedText:
    return cast(PackedText, split.examples)
