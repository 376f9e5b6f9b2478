from types import SimpleNamespace

import torch

from groundup.decoding.rules import NEVER, Rules
from groundup.decoding.sampling import Sampler

V, EOS = 8, 2


def apply(history, start=2, minimums=(0, 0), forbidden=(), origin=None, logits=None, **words):
    history = torch.tensor(history)
    rows = SimpleNamespace(
        history=torch.cat((history, torch.full((len(history), 3), -1)), 1), length=history.shape[1],
        written=history.shape[1] - start, origin=torch.arange(len(history)) if origin is None else torch.tensor(origin),
    )  # fmt: skip
    logits = torch.zeros(len(history), V) if logits is None else logits
    allowed = Rules(Sampler(**words), minimums, EOS, forbidden, "cpu")(logits, rows)
    return logits, allowed


def banned(allowed):
    return [(row == NEVER).nonzero()[:, 0].tolist() for row in allowed]


def test_forbidden_tokens_and_the_end_before_its_time():
    assert banned(apply([[3, 4], [5, 6]], forbidden=(0, 7))[1]) == [[0, 7], [0, 7]]
    assert banned(apply([[3, 4, 5], [5, 6, 7]], minimums=(1, 2))[1]) == [[], [EOS]]
    assert banned(apply([[3, 4, 5], [5, 6, 7]], minimums=(1, 2), origin=[1, 1])[1]) == [[EOS], [EOS]]


def test_ngrams_of_the_row_are_not_completed_again():
    texts = [[3, 4, 5, 3, 4], [-1, -1, -1, -1, 4], [4, 4, 4, 6, 4]]
    assert banned(apply(texts, minimums=(0,) * 3, no_repeat_ngram=3)[1]) == [[5], [], []]
    assert banned(apply(texts, minimums=(0,) * 3, no_repeat_ngram=2)[1]) == [[5], [], [4, 6]]
    assert banned(apply(texts, minimums=(0,) * 3, no_repeat_ngram=1)[1]) == [[3, 4, 5], [4], [4, 6]]
    assert banned(apply(texts, minimums=(0,) * 3, no_repeat_ngram=6)[1]) == [[], [], []]


def test_the_penalty_weakens_what_was_written_and_leaves_the_model_s_logits_alone():
    logits = torch.tensor([[2.0, 1.9, -1.0, 0.0, 5.0, -2.0, 1.0, 1.0]])
    before, allowed = apply([[-1, 0, 2, 0]], minimums=(0,), repetition_penalty=2.0, logits=logits.clone())
    assert torch.equal(before, logits)
    assert allowed[0].tolist() == [1.0, logits[0, 1], -2.0, *logits[0, 3:].tolist()]
