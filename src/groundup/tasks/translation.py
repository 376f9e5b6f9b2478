"""Translation: the same text in another language, or in another form."""

from __future__ import annotations

from groundup.baselines.generation import CopySource
from groundup.metrics.generation import TRANSLATION, TRANSLATIONS, judge_translations, translation_metrics
from groundup.metrics.language import CONDITIONAL
from groundup.tasks.sequence_to_sequence import SequenceToSequence


class Translation(SequenceToSequence):
    """Metrics: BLEU and chrF of the detokenised text against raw references, exact match, loss, perplexity."""

    measured = staticmethod(translation_metrics)
    judge = staticmethod(judge_translations)
    ranked = TRANSLATIONS
    reports = (*TRANSLATION, *CONDITIONAL)

    def classical(self) -> CopySource:
        return CopySource()
