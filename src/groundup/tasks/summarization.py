"""Summarization: a few words for a long text."""

from __future__ import annotations

from groundup.baselines.generation import summarization_baselines
from groundup.metrics.estimate import Estimate
from groundup.metrics.generation import SUMMARIZATION, judge_summaries, summarization_metrics
from groundup.metrics.language import CONDITIONAL
from groundup.metrics.overlap import ROUGE_L, sentence_rouge
from groundup.tasks.base import Texts
from groundup.tasks.sequence_to_sequence import SequenceToSequence


class Summarization(SequenceToSequence):
    """Metrics: ROUGE-1, ROUGE-2 and ROUGE-L against one or several references, loss, perplexity."""

    measured = staticmethod(summarization_metrics)
    judge = staticmethod(judge_summaries)
    ranked = ("Summaries", ROUGE_L, sentence_rouge)
    reports = (*SUMMARIZATION, *CONDITIONAL)

    @classmethod
    def baselines(cls, data: Texts, split: str) -> dict[str, dict[str, Estimate]]:
        return summarization_baselines(data.texts(split), split)
