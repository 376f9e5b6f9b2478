"""What tasks with one answer a row share: hidden states pooled to a vector, or two vectors compared, and a linear layer."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from groundup.data.collate import Collator, PairCollator
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.models.heads import ClassificationHead, PoolingKind, pooling_for
from groundup.models.layers import WordDropout
from groundup.models.matching import Matching
from groundup.ranges import Rate
from groundup.tasks.base import Task
from groundup.tasks.trainable import Optimize
from groundup.text.tokenizer import Tokenizer

Pair = Literal["apart", "joint"]


class PooledTask(Task):
    """Base of tasks that answer once for a row, with ``outputs`` numbers.

    ``pair``: the two texts of a pair are read ``apart`` and then compared (``Matching``), or as one text (``joint``); of
    single texts it says nothing. ``ordered``: it matters which text of a pair is the first.
    """

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        outputs: int,
        pooling: PoolingKind,
        dropout: Rate,
        word_dropout: Rate,
        optimize: Optimize | None,
        pair: Pair = "joint",
        ordered: bool = False,
    ) -> None:
        super().__init__(model, facts, tokenizer, optimize)
        self.apart = pair == "apart" and facts.parts > 1
        self.pooling = pooling_for(pooling, model)
        self.matching = Matching(model.width, dropout=dropout, ordered=ordered) if self.apart else None
        self.head = (
            ClassificationHead(self.matching.features, outputs)
            if self.matching
            else ClassificationHead(model.width, outputs, dropout=dropout)
        )
        self.word_dropout = WordDropout(word_dropout, facts.unk_id, facts.special_ids)

    def collator(self) -> Collate:
        return (PairCollator if self.apart else Collator)(self.facts)

    def vectors(self, batch: dict[str, Tensor]) -> Tensor:
        """What is known of each row, before the output layer: (B, D); of pairs that are read apart, ``Matching``'s (B, F)."""
        hidden, mask = self.hidden_states(batch), batch.get("attention_mask")
        vectors = self.pooling(hidden, mask)
        return vectors if self.matching is None else self.matching(hidden, vectors, mask)

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """The outputs for each row (B, outputs) float32."""
        return self.head(self.vectors(batch)).float()

    def graph(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, outputs) float32. Raises UserError for pairs that are read apart."""
        if self.apart:
            raise UserError("two texts that are read apart are no one graph. Use a run of task.pair=joint")
        return self.logits(batch)

    def with_words_dropped(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with a share of its ``input_ids`` (B, T) replaced by ``<unk>`` while training."""
        return {**batch, "input_ids": self.word_dropout(batch["input_ids"])}
