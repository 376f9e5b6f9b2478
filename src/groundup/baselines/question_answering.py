"""What a model that answers questions must beat: the sentence most like the question, and a sliding window."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from groundup.baselines.baseline import Baseline, Texts
from groundup.data.roles import Row
from groundup.metrics.estimate import Results
from groundup.metrics.overlap import tokens
from groundup.metrics.question_answering import answer_scores, question_answering_metrics
from groundup.text.clean import STOP_WORDS

# After a full stop and the marks that close it, before a blank; after a Chinese one; at an empty line.
_END = re.compile(r"(?<=[.!?])[\"')\]»”’]*\s+|(?<=[。！？])[」』”’]*|\n\s*\n")
_WORD = re.compile(r"[\u3400-\u9fff\u3041-\u30ff]|[^\W\u3400-\u9fff\u3041-\u30ff]+")
_FUNCTION = STOP_WORDS["en"] | STOP_WORDS["zh"]
_LONGEST = 8  # words of a candidate


class Answerer(Baseline):
    """Answers questions without having learned anything."""

    tasks = ("question_answering",)
    quick = True

    @abstractmethod
    def answers(self, rows: Sequence[Row]) -> list[str]:
        """An answer to the ``question`` of each row, out of its ``context``; empty: none."""

    def learn(self, data: Texts) -> Callable[[str], Results]:
        def results(split: str) -> Results:
            rows = data.texts(split)
            said = self.answers(rows)
            right = [[answer["text"] for answer in row["answers"]] for row in rows]
            exact, f1 = scores = answer_scores(said, right)
            metrics = question_answering_metrics(scores, np.array([bool(texts) for texts in right]))
            told = enumerate(zip(said, exact.tolist(), f1.tolist(), strict=True))
            return Results(
                metrics, [{"index": i, "answer": one, "exact_match": em, "f1": f} for i, (one, em, f) in told]
            )

        return results


class TfidfSentence(Answerer):
    """The sentence that is most like the question; see ``tfidf_sentences``."""

    name = "TF-IDF sentence"

    def answers(self, rows: Sequence[Row]) -> list[str]:
        return tfidf_sentences(rows)


class SlidingWindow(Answerer):
    """The words with most of the question around them; see ``sliding_window``."""

    name = "sliding window"

    def answers(self, rows: Sequence[Row]) -> list[str]:
        return [sliding_window(row["question"], row["context"]) for row in rows]

    def simpler(self) -> Baseline | None:
        return TfidfSentence()


def tfidf_sentences(rows: Sequence[Row]) -> list[str]:
    """Of each context the sentence whose TF-IDF vector is most like that of the question; a word is rare that stands in few contexts."""
    contexts = {row["context"]: {*tokens(row["context"])} for row in rows}
    frequency = Counter(word for words in contexts.values() for word in words)

    def vector(text: str) -> dict[str, float]:
        counts = Counter(tokens(text))
        weights = {
            word: (1 + math.log(count)) * math.log((1 + len(contexts)) / (1 + frequency[word]))
            for word, count in counts.items()
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {word: weight / length for word, weight in weights.items()}

    known = {text: [(one, vector(one)) for one in sentences(text)] for text in contexts}
    chosen = []
    for row in rows:
        asked = vector(row["question"])
        likeness = [
            sum(weight * asked.get(word, 0.0) for word, weight in words.items()) for _, words in known[row["context"]]
        ]
        chosen.append(known[row["context"]][int(np.argmax(likeness))][0] if likeness else "")
    return chosen


def sliding_window(question: str, context: str) -> str:
    """The stretch of content words with most words of the question around it.

    Candidates are runs of words, up to eight, of one sentence that are neither function words nor of the question.
    A window as long as question and candidate slides over the context; each of their words in it counts
    log(1 + 1 / how often the context has it), and the best window counts, less a little for words between the candidate
    and the nearest ones of the question. Source: Richardson et al. 2013, algorithm 1 and its distance-based part.
    """
    found = [(one.group().lower(), one.start(), one.end()) for one in _WORD.finditer(context)]
    words = [word for word, _, _ in found]
    counts, asked = Counter(words), {*tokens(question)}
    rarity = np.array([math.log(1 + 1 / counts[word]) for word in words])
    matched = np.array([word in asked and word not in _FUNCTION for word in words], dtype=bool)
    if not matched.any():
        return ""
    gained = np.concatenate([[0.0], np.cumsum(rarity * matched)])
    places = np.flatnonzero(matched)
    best, answer = -math.inf, ""
    for begin, end in _candidates(context, found, asked):
        size = len(asked) + end - begin
        starts = np.arange(max(0, end - size), begin + 1)  # windows that hold the candidate
        around = gained[np.minimum(starts + size, len(words))] - gained[starts]
        inside = float(rarity[begin:end].sum())
        near = int(np.maximum(np.maximum(begin - places, places - end + 1), 0).min())
        score = float(around.max()) + 0.1 * inside / (end - begin) - near / len(words)
        if score > best:
            best, answer = score, context[found[begin][1] : found[end - 1][2]]
    return answer


def sentences(text: str) -> list[str]:
    """The sentences of a text, without blanks around them."""
    ends = [0, *(end.end() for end in _END.finditer(text)), len(text)]
    return [one for one in (text[a:b].strip() for a, b in pairwise(ends)) if one]


def _candidates(context: str, found: Sequence[tuple[str, int, int]], asked: set[str]) -> list[tuple[int, int]]:
    """Runs of words (first, last + 1) that may answer: none of the question, no function words, no mark between them."""
    runs, begin = [], None
    for place, (word, start, _) in enumerate(found):
        joins = begin is not None and context[found[place - 1][2] : start].strip("-'’") in ("", " ")
        possible = word not in asked and word not in _FUNCTION
        if begin is not None and not (possible and joins and place - begin < _LONGEST):
            runs.append((begin, place))
            begin = None
        if possible and begin is None:
            begin = place
    return [*runs, (begin, len(found))] if begin is not None else runs
