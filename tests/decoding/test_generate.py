"""Properties of decoding that hold for every method and every family of models."""

from functools import partial

import pytest
import torch
from chain import Chain

from groundup.decoding import rows
from groundup.decoding.beam import Beam
from groundup.decoding.generate import BYTES, Spelling, decode, drawing, stream
from groundup.decoding.sampling import Sampler
from groundup.errors import UserError

EOS = 2
PROMPTS = [[3, 4], [5, 6, 7, 8, 9], [10, 11, 3]]
METHODS = {
    "greedy": Sampler(temperature=0, max_new_tokens=12),
    "sample": Sampler(max_new_tokens=12),
    "nucleus": Sampler(0.7, top_k=20, top_p=0.9, repetition_penalty=1.3, max_new_tokens=12),
    "typical": Sampler(typical_p=0.8, min_p=0.01, no_repeat_ngram=2, max_new_tokens=12),
    "beam": Beam(4, n_best=3, max_new_tokens=12),
    "short beam": Beam(3, n_best=3, length_penalty=0, max_new_tokens=12),
    "ruled beam": Beam(3, 1.5, 2, repetition_penalty=1.3, no_repeat_ngram=2, min_new_tokens=3, max_new_tokens=12),
    "groups": Beam(6, n_best=6, groups=3, diversity=0.7, max_new_tokens=12),
}
methods = pytest.mark.parametrize("method", METHODS)
SAMPLERS = [name for name, method in METHODS.items() if isinstance(method, Sampler)]


def write(model, method, prompts=PROMPTS, **more):
    return decode(
        model.decoder, model.head, prompts, decoding=method, **({"eos_id": EOS} | model.sources(len(prompts)) | more)
    )


def tokens(found):
    return [[one.tokens for one in texts] for texts in found]


@methods
def test_a_row_is_the_same_alone_and_in_a_batch(model, method):
    limits = {"seeds": [7, 8, 9], "min_lengths": [0, 4, 2], "max_lengths": [12, 9, 30]}
    together = write(model, METHODS[method], forbidden_ids=(0, 1), **limits)
    for row, prompt in enumerate(PROMPTS):
        one = {name: values[row : row + 1] for name, values in limits.items()}
        alone = decode(
            model.decoder, model.head, [prompt], decoding=METHODS[method], eos_id=EOS, forbidden_ids=(0, 1),
            **one, **model.source(row),
        )  # fmt: skip
        assert tokens(alone) == tokens(together[row : row + 1])
        for a, b in zip(alone[0], together[row], strict=True):
            assert a.finished == b.finished
            assert a.log_probability == pytest.approx(b.log_probability, abs=1e-4)
    if model.looks:  # and the source is what it is about
        others = model.sources(3)
        others["memory"] = -others["memory"]
        assert tokens(write(model, METHODS[method], forbidden_ids=(0, 1), **limits, **others)) != tokens(together)


@methods
def test_log_probabilities_are_those_of_the_whole_text_and_the_best_comes_first(model, method):
    decoding = METHODS[method]
    found = write(model, decoding, forbidden_ids=(0, 1))
    for row, texts in enumerate(found):
        assert len({(tuple(one.tokens), one.finished) for one in texts}) == len(texts)
        assert len(texts) == getattr(decoding, "n_best", 1) or (texts and method == "groups")  # two may find the same
        assert [one.score for one in texts] == sorted((one.score for one in texts), reverse=True)
        for one in texts:
            new = one.tokens + [EOS] * one.finished
            assert one.finished or len(new) == 12
            assert one.log_probability == pytest.approx(model.score(PROMPTS[row], new, row), abs=1e-4)
            assert one.score == pytest.approx(one.log_probability / len(new) ** getattr(decoding, "length_penalty", 1))
            assert not {0, 1, EOS} & set(one.tokens)


def test_greedy_is_the_argmax_of_the_full_forward(model):
    for row, (found,) in enumerate(write(model, METHODS["greedy"])):
        text, new = list(PROMPTS[row]), []
        while len(new) < 12 and EOS not in new:
            new.append(int(model.log_probabilities(text + new, row)[-1].argmax()))
        assert found.tokens + [EOS] * found.finished == new


def test_sampling_equals_the_sampler_on_full_forwards(model):
    sampler, generator = Sampler(0.8, min_p=0.05, max_new_tokens=12), torch.Generator().manual_seed(3)
    text, new = PROMPTS[0], []
    while len(new) < 12 and EOS not in new:
        logits = model.log_probabilities(text + new)[-1:]
        new.append(int(sampler(logits, torch.rand((), generator=generator)[None])))
    (found,) = write(model, sampler, seeds=[3, 4, 5])[0]
    assert found.tokens + [EOS] * found.finished == new


@pytest.mark.parametrize("sampler", [Sampler(1e-4), Sampler(top_k=1), Sampler(top_p=1e-9), Sampler(min_p=1.0)])
def test_the_narrowest_distribution_is_greedy(model, sampler):
    sampler.max_new_tokens = 12
    assert tokens(write(model, sampler)) == tokens(write(model, METHODS["greedy"]))


def test_seeds_decide_a_draw_and_nothing_else_does(build):
    model = build("rope")
    first = tokens(write(model, METHODS["sample"], seeds=[7, 8, 9]))
    state = torch.get_rng_state()
    assert tokens(write(model, METHODS["sample"], seeds=[7, 8, 9])) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert tokens(write(model, METHODS["sample"], seeds=[70, 80, 90])) != first


@methods
def test_lengths_stay_between_their_minimum_and_maximum(build, method):
    model, found = build("transformer with memory"), {}
    for eos in range(3, 20):  # some of these tokens come early, others late
        found[eos] = write(model, METHODS[method], eos_id=eos, min_lengths=[4, 0, 7], max_lengths=[6, 3, 99])
        for texts, low, high in zip(found[eos], (4, 0, 7), (6, 3, 12)):
            for one in texts:
                assert low <= len(one.tokens) <= high - one.finished
                assert one.finished or len(one.tokens) == high
    free = {eos: write(model, METHODS[method], eos_id=eos) for eos in found}
    if not METHODS[method].min_new_tokens:
        assert any(len(free[eos][0][0].tokens) < 4 for eos in found)  # where nobody asked, they are shorter and longer
    assert any(len(free[eos][1][0].tokens) > 3 for eos in found)


@methods
@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_n_tokens_are_written_twice(build, method, n):
    decoding = METHODS[method]
    model, before = build("lstm"), decoding.no_repeat_ngram
    prompts = [[5, 6, 5], [7], [8, 8, 8, 9, 10]]
    try:
        decoding.no_repeat_ngram = n
        ruled = write(model, decoding, prompts, eos_id=None)
        decoding.no_repeat_ngram = None
        free = write(model, decoding, prompts, eos_id=None)
    finally:
        decoding.no_repeat_ngram = before

    def repeats(text):
        grams = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
        return len(set(grams)) < len(grams)

    assert not any(repeats(one.tokens) for texts in ruled for one in texts)
    if n == 1 or method in ("greedy", "beam", "short beam"):
        assert any(repeats(one.tokens) for texts in free for one in texts)
    if method == "greedy":  # a text that repeats nothing is the same, whatever it takes from its prompt
        assert all(a.tokens == b.tokens for (a,), (b,) in zip(ruled, free) if not repeats(b.tokens))


@pytest.mark.parametrize("kind", [partial(Sampler, temperature=0), partial(Beam, 2)])
def test_the_repetition_penalty_counts_written_tokens_and_a_forced_beginning(model, kind):
    decoding = kind(repetition_penalty=1e6, max_new_tokens=8)
    for texts in write(model, decoding, eos_id=None):
        assert len(set(texts[0].tokens)) == 8  # nothing is written twice
    for prompt, texts in zip(PROMPTS, write(model, decoding, eos_id=None, begun=1)):
        assert len({prompt[-1], *texts[0].tokens}) == 9
    free = write(model, kind(max_new_tokens=8), eos_id=None)
    assert any(len(set(texts[0].tokens)) < 8 for texts in free)


def test_a_source_may_be_copied_whole_and_what_was_read_never_keeps_a_text_from_ending():
    source = [3, 4, 5, 6, 7, 8, 9]
    chain = Chain(torch.eye(12).roll(1, 1) * 20)  # each token follows the one before it
    chain.embedding.weight[9] = torch.eye(12)[EOS] * 4 + torch.eye(12)[3] * 3
    for kind in (partial(Sampler, 0), partial(Beam, 3)):
        for words in ({"no_repeat_ngram": 3}, {"no_repeat_ngram": 1}, {"repetition_penalty": 2.0}):
            prompt = [EOS, *source, 2, 2]  # some prompts hold the end token
            decoding = kind(max_new_tokens=20, **words)
            ((one, *_),) = decode(chain, torch.nn.Identity(), [prompt], decoding=decoding, eos_id=EOS)
            assert (one.tokens, one.finished) == (source, True)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam", "groups"])
def test_a_beginning_that_is_forced_is_read_as_if_written(model, method):
    forced = [[*prompt, 20, 21] for prompt in PROMPTS]
    for row, texts in enumerate(write(model, METHODS[method], forced)):
        for one in texts:
            new = one.tokens + [EOS] * one.finished
            assert one.log_probability == pytest.approx(model.score(forced[row], new, row), abs=1e-4)
    best = [texts[0] for texts in write(model, METHODS["greedy"])]
    again = write(model, METHODS["greedy"], [p + one.tokens[:2] for p, one in zip(PROMPTS, best)])
    for one, (other,) in zip(best, again):
        assert other.tokens[: len(one.tokens) - 2] == one.tokens[2:]


@methods
def test_rows_that_end_leave_the_batch(build, method):
    model, seen = build("rope"), []
    with model.decoder.embedding.register_forward_hook(lambda module, ids, output: seen.append(len(ids[0]))):
        write(model, METHODS[method], max_lengths=[3, 9, 6], min_lengths=[2, 8, 5])
    width = getattr(METHODS[method], "beam_size", 1)
    assert seen == [3, *[3 * width] * 2, *[2 * width] * 3, *[width] * 3][: len(seen)]
    assert len(seen) == 9


def test_where_every_token_is_forbidden_the_text_stays_as_it_is(build):
    model = build("lstm")
    for decoding in (Sampler(0), Sampler(1.0), Sampler(top_k=3), Beam(3), Beam(4, groups=2, diversity=0.1)):
        decoding.no_repeat_ngram = 1
        (one, *_), *_ = write(model, decoding, [[5, 6, 7]], eos_id=None, forbidden_ids=range(10, 30))
        assert sorted(one.tokens) == list(range(10))
        assert not one.finished
        assert one.log_probability == pytest.approx(model.score([5, 6, 7], one.tokens), abs=1e-4)
        (nothing, *_), *_ = write(model, decoding, [[5]], forbidden_ids=range(30))
        assert (nothing.tokens, nothing.log_probability, nothing.finished) == ([], 0, False)


@pytest.mark.parametrize("family", ["rope", "learned", "transformer with memory"])
@methods
def test_writing_goes_on_past_max_length_alone_as_in_a_batch(build, family, method):
    model = build(family, max_length=8)
    before = METHODS[method].max_new_tokens
    try:
        METHODS[method].max_new_tokens = 25
        together = write(model, METHODS[method], eos_id=29)
        assert any(len(texts[0].tokens) > 12 for texts in together)
        for row, prompt in enumerate(PROMPTS):
            alone = decode(
                model.decoder, model.head, [prompt], decoding=METHODS[method], eos_id=29, seeds=[row],
                **model.source(row),
            )  # fmt: skip
            # Of a beam the scores: a window that holds one token again and again makes texts that tie.
            assert [one.score for one in alone[0]] == pytest.approx([one.score for one in together[row]], abs=1e-4)
            assert isinstance(METHODS[method], Beam) or tokens(alone) == tokens(together[row : row + 1])
    finally:
        METHODS[method].max_new_tokens = before


def test_until_max_length_nothing_is_forgotten_and_then_the_later_half_is_kept(build):
    model, text = build("rope", max_length=8), PROMPTS[1]
    # 5 tokens of prompt and 3 more are 8: the fourth new token is the last that sees them all.
    (one,) = write(model, Sampler(0, max_new_tokens=4), [text], eos_id=None)[0]
    for n, token in enumerate(one.tokens):
        assert token == model.log_probabilities(text + one.tokens[:n])[-1].argmax()
    long = torch.randint(1, 30, (20,)).tolist()
    short = Sampler(0, max_new_tokens=3)
    assert tokens(write(model, short, [long])) == tokens(write(model, short, [long[-4:]]))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("max_length", [64, 9])
@pytest.mark.parametrize("family", ["rope", "learned", "alibi", "kv_heads", "lstm"])
def test_a_text_that_joins_others_is_the_one_that_is_written_alone(build, family, max_length, name):
    model = build(family) if family in ("alibi", "lstm") else build(family, max_length=max_length)
    prompts = [*PROMPTS, [4], [9, 8, 7, 6, 5, 4, 3], [7, 7]]
    most, least = [12, 5, 12, 9, 12, 7], [0, 0, 4, 2, 0, 0]
    found = {}

    def begun(rows):
        return drawing(
            model.decoder.eval(), model.head, [prompts[row] for row in rows], sampler=METHODS[name],
            seeds=rows, keys=rows, eos_id=EOS, max_lengths=[most[row] for row in rows],
            min_lengths=[least[row] for row in rows],
        )  # fmt: skip

    def step(texts):
        found.update({key: text for key, _, text in texts.step() if text is not None})

    running, later = begun([0, 1]), [(3, [2]), (1, [3, 4]), (4, [5])]
    step(running)
    for steps, joining in later:
        for _ in range(steps):
            if running.open:
                step(running)
        others = begun(joining)
        step(others)
        if others.open and running.open:
            running.join(others)
        else:
            running = running if running.open else others
    while running.open:
        step(running)
    for row, prompt in enumerate(prompts):
        limits = {"min_lengths": [least[row]], "max_lengths": [most[row]], "seeds": [row], "eos_id": EOS}
        ((alone,),) = decode(model.decoder, model.head, [prompt], decoding=METHODS[name], **limits)
        assert (found[row].tokens, found[row].finished) == (alone.tokens, alone.finished)
        assert found[row].log_probability == pytest.approx(alone.log_probability, abs=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_stream_is_the_text_token_by_token(model, name):
    sampler = METHODS[name]
    settings = {"eos_id": EOS, **model.sources(3)}
    steps = list(stream(model.decoder, model.head, PROMPTS, sampler=sampler, seed=7, **settings))
    found = [texts[0].tokens for texts in write(model, sampler, seeds=[7, 8, 9])]
    assert len(steps) == max(map(len, found))
    assert [[step[row] for step in steps if step[row] is not None] for row in range(3)] == found
    for row, text in enumerate(found):  # a row that has ended stays so
        assert [step[row] for step in steps] == text + [None] * (len(steps) - len(text))
    short = list(stream(model.decoder, model.head, PROMPTS, sampler=sampler, seed=7, max_new_tokens=2, **settings))
    assert short == steps[:2]


@pytest.mark.parametrize(
    "text", ["roses, tulips. " * 40, "刀 and 🌊 é" * 30, "\ufffd" * 300, "\xff" * 300, "a\xe5\x88b\x80c" * 50, ""]
)
def test_pieces_are_the_text_and_each_costs_the_same(text):
    """Characters up to U+00FF that UTF-8 would write as two bytes stand for bytes that are none."""
    told = text.encode("latin-1" if "\xff" in text or "\x80" in text else "utf-8")
    most = 0

    def spell(tokens) -> str:
        nonlocal most
        most = max(most, len(tokens))
        return bytes(tokens).decode(errors="replace")

    before = list("刀".encode())
    spelling = Spelling(spell, before)
    pieces = [spelling.add(byte) for byte in told]
    assert before == [*"刀".encode(), *told]
    assert "".join(pieces) + spelling.rest() == told.decode(errors="replace")
    assert "\ufffd" in text or "\ufffd" in told.decode(errors="replace") or not any("\ufffd" in one for one in pieces)
    assert most <= 3 * BYTES


@pytest.mark.parametrize("prompts", [PROMPTS, [[3, 4, 5, 6, 7, 8, 9]]])
@pytest.mark.parametrize("family", ["lstm", "gru", "alibi", "lstm with memory"])
def test_a_long_prompt_is_read_in_parts(build, family, prompts, monkeypatch):
    model = build(family)
    whole = write(model, METHODS["sample"], prompts)
    monkeypatch.setattr(rows, "TOKENS", 2 * len(prompts))
    monkeypatch.setattr(rows, "PAIRS", 2 * len(prompts) * (max(map(len, prompts)) + METHODS["sample"].max_new_tokens))
    read, forward = [], model.decoder.forward
    monkeypatch.setattr(
        model.decoder, "forward", lambda ids, *rest, **more: read.append(ids.numel()) or forward(ids, *rest, **more)
    )
    assert tokens(write(model, METHODS["sample"], prompts)) == tokens(whole)
    assert max(read) == 2 * len(prompts)


def test_the_model_is_put_back_as_it_was_and_dropout_is_off(build):
    model = build("rope", dropout=0.5)
    model.decoder.blocks[0].eval()
    before = [module.training for module in model.decoder.modules()]
    first = tokens(write(model, METHODS["beam"]))
    assert first == tokens(write(model, METHODS["beam"]))
    assert [module.training for module in model.decoder.modules()] == before
    started = stream(model.decoder, model.head, PROMPTS)
    next(started)
    assert not model.decoder.training
    started.close()  # a reader who stops early
    assert [module.training for module in model.decoder.modules()] == before


def test_an_empty_prompt_is_told_and_no_prompt_is_no_text(build):
    model = build("rope")
    with pytest.raises(UserError, match="no tokens"):
        write(model, METHODS["beam"], [[3], []])
    assert write(model, METHODS["beam"], []) == []
