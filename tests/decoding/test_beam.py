import itertools

import pytest
import torch
from chain import Chain

from groundup.decoding.beam import Beam
from groundup.decoding.generate import decode
from groundup.decoding.sampling import Sampler
from groundup.errors import UserError

EOS = 2
PROMPTS = [[3, 4], [5, 6, 7, 8, 9], [10, 11, 3]]


def write(model, method, prompts=PROMPTS, **more):
    return decode(
        model.decoder, model.head, prompts, decoding=method, **({"eos_id": EOS} | model.sources(len(prompts)) | more)
    )


def summary(found):
    return [[(one.tokens, one.finished, pytest.approx(one.score, abs=1e-4)) for one in texts] for texts in found]


def never_early(beam):
    """The same search, which only ends at the maximum length."""
    beam.bound = lambda total, limits: torch.where(total.isfinite(), torch.inf, total).double()
    return beam


def test_a_beam_of_one_is_greedy(model):
    for words in ({}, {"min_new_tokens": 4}, {"no_repeat_ngram": 2}, {"repetition_penalty": 1.5}):
        words = {"max_new_tokens": 12, **words}
        assert summary(write(model, Beam(1, **words))) == summary(write(model, Sampler(0, **words)))


def exhaustive(model, prompt, vocab_size, longest, length_penalty, row):
    """Every text there is: (score, tokens, finished), best first."""
    others = [token for token in range(vocab_size) if token != EOS]
    texts = [
        (*text, EOS) for length in range(longest) for text in itertools.product(others, repeat=length)
    ] + list(itertools.product(others, repeat=longest))  # fmt: skip
    scored = [(model.score(prompt, list(text), row) / len(text) ** length_penalty, text) for text in texts]
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("family", ["rope", "alibi", "transformer with memory", "lstm", "lstm with memory"])
@pytest.mark.parametrize("length_penalty", [0, 0.6, 1.0, 2.0])
def test_a_wide_beam_is_exhaustive_search(build, family, length_penalty):
    vocab_size, longest, n_best = 4, 3, 7
    model, prompts = build(family, vocab_size), [[3, 1], [0]]
    beam = Beam(3**longest + 20, length_penalty, n_best, max_new_tokens=longest)
    for row, texts in enumerate(write(model, beam, prompts)):
        expected = exhaustive(model, prompts[row], vocab_size, longest, length_penalty, row)[:n_best]
        assert [tuple(one.tokens + [EOS] * one.finished) for one in texts] == [text for _, text in expected]
        assert [one.score for one in texts] == pytest.approx([score for score, _ in expected], abs=1e-4)


def by_hand(model, prompt, beam, longest, row, eos):
    """Beam search with lists, whole texts read again for each token, and no early stop."""
    live, finished = [([], 0.0)], []
    for _ in range(longest):
        extended = []
        for text, total in live:
            said = model.log_probabilities(prompt + text, row)[-1]
            extended += [([*text, token], total + said[token].item()) for token in range(len(said))]
        extended.sort(key=lambda pair: -pair[1])
        best = extended[: beam.beam_size]
        finished += [(text, total) for text, total in best if text[-1] == eos]
        live = [(text, total) for text, total in best if text[-1] != eos]
    scored = [(total / len(text) ** beam.length_penalty, text) for text, total in finished + live]
    return sorted(scored, reverse=True)[: beam.n_best]


@pytest.mark.parametrize("length_penalty", [0, 1.0])
def test_the_search_is_that_of_lists_and_full_forwards(model, length_penalty):
    beam = Beam(4, length_penalty, 3, max_new_tokens=7)
    for eos in (EOS, int(model.log_probabilities(PROMPTS[0])[-1].argmax())):  # never first, and always first
        for row, texts in enumerate(write(model, beam, eos_id=eos)):
            expected = by_hand(model, PROMPTS[row], beam, 7, row, eos)
            assert [one.tokens + [eos] * one.finished for one in texts] == [text for _, text in expected]
            assert [one.score for one in texts] == pytest.approx([score for score, _ in expected], abs=1e-4)


@pytest.mark.parametrize("sure", [0.7, 0.15])
@pytest.mark.parametrize("length_penalty", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize("words", [{"n_best": 1}, {"n_best": 3}, {"n_best": 2, "groups": 2, "diversity": 0.5}])
def test_an_early_stop_changes_nothing(build, sure, length_penalty, words):
    model, words = build("transformer with memory"), {"max_new_tokens": 20, **words}
    torch.nn.init.normal_(model.head.weight, std=sure)
    for eos in range(3, 9):
        early = write(model, Beam(4, length_penalty, **words), eos_id=eos)
        assert summary(early) == summary(write(model, never_early(Beam(4, length_penalty, **words)), eos_id=eos))


def test_an_early_stop_saves_steps(build):
    model, rows, count = build("transformer with memory"), [], []
    torch.nn.init.normal_(model.head.weight, std=0.2)  # unsure, so that every further token costs much
    with model.decoder.embedding.register_forward_hook(lambda module, ids, output: rows.append(len(ids[0]))):
        for beam in (Beam(5, 0, max_new_tokens=30), never_early(Beam(5, 0, max_new_tokens=30))):
            for eos in range(3, 12):
                write(model, beam, eos_id=eos)
            count.append(sum(rows) - sum(count))
    assert count[0] < 0.8 * count[1]


@pytest.mark.parametrize("beam_size", [1, 2, 3, 5, 8, 20])
@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 2.0])
def test_a_text_that_is_nearly_certain_is_found_however_many_others_end_before_it(beam_size, length_penalty):
    size, longest = 40, 50
    log_odds = torch.zeros(size, size)
    log_odds[:, EOS] = 8  # the second best everywhere: each step ends as many texts as there are beginnings
    text = list(range(4, size))
    log_odds[[3, *text], [*text, EOS]] = 20
    beam = Beam(beam_size, length_penalty, max_new_tokens=longest)
    ((best,),) = decode(Chain(log_odds), torch.nn.Identity(), [[3]], decoding=beam, eos_id=EOS)
    assert (best.tokens, best.finished) == (text, True)


def test_a_wider_beam_finds_better_texts_and_never_less_than_the_widest_can(build):
    for family in ("rope", "lstm with memory"):
        model, prompts = build(family, 4), [[3, 1], [0], [3, 3, 0], [1, 0]]
        torch.nn.init.normal_(model.head.weight, std=0.4)
        scores = torch.tensor([
            [texts[0].score for texts in write(model, Beam(size, max_new_tokens=4), prompts)] for size in (1, 4, 3**4)
        ])  # fmt: skip
        every = [exhaustive(model, prompt, 4, 4, 1.0, row)[0][0] for row, prompt in enumerate(prompts)]
        assert scores[-1].tolist() == pytest.approx(every, abs=1e-4)
        assert scores.mean(1).tolist() == sorted(scores.mean(1).tolist())


def test_groups_differ_as_much_as_asked(build):
    model = build("transformer with memory")

    def first_tokens(**words):
        found = write(model, Beam(4, n_best=4, max_new_tokens=5, **words), eos_id=None)
        return [len({one.tokens[0] for one in texts}) for texts in found]

    assert first_tokens(groups=4, diversity=100.0) == [4, 4, 4]
    assert first_tokens(groups=4, diversity=1e-6) == [1, 1, 1]  # four times the same search
    assert all(2 <= n <= 4 for n in first_tokens(groups=2, diversity=100.0))


def test_the_first_group_is_a_beam_of_its_own_and_the_others_pay(build):
    model = build("lstm")
    alone = write(model, Beam(2, n_best=2, max_new_tokens=6), eos_id=None)
    groups = write(model, Beam(4, n_best=4, groups=2, diversity=0.8, max_new_tokens=6), eos_id=None)
    for few, many in zip(alone, groups):
        assert all(one.tokens in [other.tokens for other in many] for one in few)

    # The second group by hand: greedy, less 0.8 nats for the token that the first chose at the same step.
    pair = write(model, Beam(2, n_best=2, groups=2, diversity=0.8, max_new_tokens=6), eos_id=None)
    greedy = write(model, Sampler(0, max_new_tokens=6), eos_id=None)
    for prompt, texts, (first,) in zip(PROMPTS, pair, greedy):
        second = []
        for token in first.tokens:
            said = model.log_probabilities(prompt + second)[-1]
            said[token] -= 0.8
            second.append(int(said.argmax()))
        assert sorted(one.tokens for one in texts) == sorted([first.tokens, second])


def test_a_longer_text_wins_with_a_greater_length_penalty(build):
    model = build("lstm")
    lengths = [
        sum(len(texts[0].tokens) for texts in write(model, Beam(8, penalty, max_new_tokens=12), eos_id=5))
        for penalty in (0, 1, 3)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


@pytest.mark.parametrize(
    ("words", "try_this"),
    [
        ({"beam_size": 2, "n_best": 3}, "Try beam_size=3"),
        ({"beam_size": 5, "groups": 2}, "Try beam_size=6"),
        ({"diversity": 1.0}, "Try groups=5"),
        ({"beam_size": 4, "groups": 2}, "Try diversity=0.5"),
        ({"min_new_tokens": 9, "max_new_tokens": 9}, "Try max_new_tokens=18"),
    ],
)
def test_words_that_do_not_fit_together_are_told(words, try_this):
    with pytest.raises(UserError, match=try_this):
        Beam(**words)
