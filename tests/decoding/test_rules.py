from types import SimpleNamespace

import torch

from groundup.decoding.logits import NEVER, Rules
from groundup.decoding.sampling import Sampler

V, EOS = 8, 2


def apply(history, start=0, minimums=(0, 0), forbidden=(), origin=None, logits=None, begun=0, **words):
    history = torch.tensor(history)
    rows = SimpleNamespace(
        history=torch.cat((history, torch.full((len(history), 3), -1)), 1), length=history.shape[1],
        written=history.shape[1] - start, origin=torch.arange(len(history)) if origin is None else torch.tensor(origin),
        later=torch.zeros(len(history), dtype=torch.long), latest=0,
    )  # fmt: skip
    rows.lengths = rows.written - rows.later
    logits = torch.zeros(len(history), V) if logits is None else logits
    allowed = Rules(Sampler(**words), minimums, EOS, forbidden, "cpu", begun)(logits, rows)
    return logits, allowed


def banned(allowed):
    return [(row == NEVER).nonzero()[:, 0].tolist() for row in allowed]


def test_forbidden_tokens_and_the_end_before_its_time():
    assert banned(apply([[3, 4], [5, 6]], forbidden=(0, 7))[1]) == [[0, 7], [0, 7]]
    assert banned(apply([[3, 4, 5], [5, 6, 7]], start=2, minimums=(1, 2))[1]) == [[], [EOS]]
    assert banned(apply([[3, 4, 5], [5, 6, 7]], start=2, minimums=(1, 2), origin=[1, 1])[1]) == [[EOS], [EOS]]


def test_ngrams_that_were_written_are_not_completed_again():
    texts, more = [[3, 4, 5, 3, 4], [5, 6, 3, 7, 4], [4, 4, 4, 6, 4]], {"minimums": (0,) * 3}
    assert banned(apply(texts, no_repeat_ngram=3, **more)[1]) == [[5], [], []]
    assert banned(apply(texts, no_repeat_ngram=2, **more)[1]) == [[5], [], [4, 6]]
    assert banned(apply(texts, no_repeat_ngram=1, **more)[1]) == [[3, 4, 5], [3, 4, 5, 6, 7], [4, 6]]
    assert banned(apply(texts, no_repeat_ngram=6, **more)[1]) == [[], [], []]


def test_what_was_read_may_be_written_but_for_the_beginning_that_was_forced():
    text, one = [[-1, 3, 4, 5, 3, 4]], {"minimums": (0,)}
    for n in (1, 2, 3):
        assert banned(apply(text, start=6, no_repeat_ngram=n, **one)[1]) == [[]]
    assert banned(apply(text, start=4, no_repeat_ngram=1, **one)[1]) == [[3, 4]]
    assert banned(apply(text, start=4, no_repeat_ngram=2, **one)[1]) == [[]]
    assert banned(apply(text, start=4, no_repeat_ngram=2, begun=2, **one)[1]) == [[5]]
    logits = torch.ones(1, V)
    for start, weaker in ((6, []), (5, [4]), (3, [3, 4, 5])):
        allowed = apply(text, start=start, repetition_penalty=2.0, logits=logits.clone(), **one)[1]
        assert (allowed[0] < 1).nonzero()[:, 0].tolist() == weaker


def test_the_penalty_weakens_what_was_written_and_leaves_the_model_s_logits_alone():
    logits = torch.tensor([[2.0, 1.9, -1.0, 0.0, 5.0, -2.0, 1.0, 1.0]])
    before, allowed = apply([[-1, 0, 2, 0]], start=1, minimums=(0,), repetition_penalty=2.0, logits=logits.clone())
    assert torch.equal(before, logits)
    assert allowed[0].tolist() == [1.0, logits[0, 1], -2.0, *logits[0, 3:].tolist()]
