"""Translation: the same text in another language, or in another form."""

from __future__ import annotations

from groundup.baselines.generation import translation_baselines
from groundup.metrics.estimate import Estimate
from groundup.metrics.generation import TRANSLATION, judge_translations, translation_metrics
from groundup.metrics.language import CONDITIONAL
from groundup.metrics.overlap import CHRF, sentence_chrf
from groundup.tasks.base import Texts
from groundup.tasks.sequence_to_sequence import SequenceToSequence


class Translation(SequenceToSequence):
    """Metrics: BLEU and chrF of the detokenised text against raw references, exact match, loss, perplexity."""

    measured = staticmethod(translation_metrics)
    judge = staticmethod(judge_translations)
    ranked = ("Translations", CHRF, sentence_chrf)
    reports = (*TRANSLATION, *CONDITIONAL)

    @classmethod
    def baselines(cls, data: Texts, split: str) -> dict[str, dict[str, Estimate]]:
        return translation_baselines(data.texts(split), split)
