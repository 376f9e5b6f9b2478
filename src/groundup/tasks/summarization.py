"""Summarization: a few words for a long text."""

from __future__ import annotations

from groundup.baselines.generation import LeadSentence
from groundup.metrics.generation import SUMMARIES, SUMMARIZATION, judge_summaries, summarization_metrics
from groundup.metrics.language import CONDITIONAL
from groundup.tasks.sequence_to_sequence import SequenceToSequence


class Summarization(SequenceToSequence):
    """Metrics: ROUGE-1, ROUGE-2 and ROUGE-L against one or several references, loss, perplexity."""

    measured = staticmethod(summarization_metrics)
    judge = staticmethod(judge_summaries)
    ranked = SUMMARIES
    reports = (*SUMMARIZATION, *CONDITIONAL)

    def classical(self) -> LeadSentence:
        return LeadSentence()
