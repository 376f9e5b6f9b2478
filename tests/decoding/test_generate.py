import pytest
import torch

from groundup.decoding.generate import generate, stream
from groundup.decoding.sampling import Sampler
from groundup.errors import UserError
from groundup.models.heads import LanguageModelHead
from groundup.models.recurrent import RecurrentDecoder
from groundup.models.transformer import TransformerDecoder

V = 30
FAMILIES = {
    "transformer": lambda **words: TransformerDecoder(V, 16, 2, 4, **({"zero_init": False, "max_length": 64} | words)),
    "learned": lambda **words: TransformerDecoder(
        V, 16, 2, 4, **({"zero_init": False, "max_length": 64, "position": "learned"} | words)
    ),
    "alibi": lambda **words: TransformerDecoder(V, 16, 2, 4, zero_init=False, position="alibi", **words),
    "lstm": lambda **words: RecurrentDecoder(V, 16, **words),
    "gru": lambda **words: RecurrentDecoder(V, 16, cell="gru", **words),
}
families = pytest.mark.parametrize("family", FAMILIES)


def build(family, **words):
    torch.manual_seed(0)
    decoder = FAMILIES[family](**words)
    head = LanguageModelHead(decoder, tied=False)
    torch.nn.init.normal_(head.weight, std=0.7)  # a model with opinions
    return decoder, head


def prompts():
    ids = torch.randint(1, V, (3, 5), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    return ids, mask


def by_hand(decoder, head, text, steps, choose):
    """No state, one row, everything read again for each token."""
    text = list(text)
    start = len(text)
    for _ in range(steps):
        window = text if decoder.max_length is None else text[-decoder.max_length :]
        logits = head(decoder.eval()(torch.tensor([window]))[0][:, -1])
        text.append(int(choose(logits)))
    return text[start:]


@families
def test_greedy_is_the_argmax_of_the_full_forward(family):
    decoder, head = build(family)
    ids, mask = prompts()
    texts = generate(decoder, head, ids, attention_mask=mask, max_new_tokens=8)
    for row in range(3):
        assert texts[row] == by_hand(decoder, head, ids[row][mask[row]].tolist(), 8, lambda logits: logits.argmax())


@families
@pytest.mark.parametrize("sampler", [Sampler(), Sampler(0.7, top_p=0.9, repetition_penalty=1.3), Sampler(top_k=5)])
def test_a_row_is_the_same_alone_and_in_a_batch(family, sampler):
    decoder, head = build(family)
    ids, mask = prompts()
    settings = {"max_new_tokens": 20, "sampler": sampler, "eos_id": 2, "forbidden_ids": (0, 1)}
    together = generate(decoder, head, ids, attention_mask=mask, seed=[7, 8, 9], **settings)
    assert together == generate(decoder, head, ids, attention_mask=mask, seed=7, **settings)
    for row in range(3):
        alone = generate(decoder, head, ids[row][mask[row]][None], seed=7 + row, **settings)
        assert alone == [together[row]]
    assert together != generate(decoder, head, ids, attention_mask=mask, seed=70, **settings)
    assert all(token not in (0, 1, 2) for text in together for token in text)


@families
def test_sampling_equals_the_sampler_on_full_forwards(family):
    decoder, head = build(family)
    ids, _ = prompts()
    sampler, generator = Sampler(0.8, min_p=0.05), torch.Generator().manual_seed(3)
    expected = by_hand(
        decoder, head, ids[0].tolist(), 10, lambda logits: sampler(logits, torch.rand((), generator=generator)[None])
    )
    assert generate(decoder, head, ids[:1], max_new_tokens=10, sampler=sampler, seed=3) == [expected]


def test_rows_end_at_eos_and_stay_ended():
    decoder, head = build("transformer")
    ids, mask = prompts()
    free = generate(decoder, head, ids, attention_mask=mask, max_new_tokens=12, sampler=Sampler(), seed=5)
    eos = free[1][3]
    ended = generate(decoder, head, ids, attention_mask=mask, max_new_tokens=12, sampler=Sampler(), seed=5, eos_id=eos)
    for text, whole in zip(ended, free):
        assert text == (whole[: whole.index(eos)] if eos in whole else whole)
    assert len(ended[1]) <= 3
    steps = list(
        stream(decoder, head, ids, attention_mask=mask, max_new_tokens=12, sampler=Sampler(), seed=5, eos_id=eos)
    )
    assert len(steps) == max(map(len, ended))
    assert [[step[row] for step in steps if step[row] is not None] for row in range(3)] == ended


@pytest.mark.parametrize("family", ["transformer", "learned"])
def test_writing_goes_on_past_max_length_alone_as_in_a_batch(family):
    decoder, head = build(family, max_length=8)
    ids, mask = prompts()
    settings = {"max_new_tokens": 25, "sampler": Sampler()}
    together = generate(decoder, head, ids, attention_mask=mask, **settings)
    assert [len(text) for text in together] == [25] * 3
    for row in range(3):
        assert [together[row]] == generate(decoder, head, ids[row][mask[row]][None], seed=row, **settings)
    long = torch.randint(1, V, (1, 20))
    assert generate(decoder, head, long, max_new_tokens=3) == generate(decoder, head, long[:, -4:], max_new_tokens=3)


def test_until_max_length_nothing_is_forgotten():
    decoder, head = build("transformer", max_length=8)
    text = prompts()[0][0].tolist()
    # 5 tokens of prompt and 3 more are 8: the fourth new token is the last that sees them all.
    assert generate(decoder, head, torch.tensor([text]), max_new_tokens=4)[0] == by_hand(
        decoder, head, text, 4, lambda logits: logits.argmax()
    )


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_memory_is_seen_and_follows_its_row(family):
    decoder, head = build(family, cross_attention=True)
    for name, parameter in decoder.named_parameters():
        if "cross_attention" in name and name.endswith("weight") and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.5)
    ids, mask = prompts()
    memory, memory_mask = torch.randn(3, 4, 16), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]).bool()
    settings = {"max_new_tokens": 12, "sampler": Sampler(), "eos_id": 2}
    together = generate(decoder, head, ids, attention_mask=mask, memory=memory, memory_mask=memory_mask, **settings)
    for row in range(3):
        n = int(memory_mask[row].sum())
        alone = generate(
            decoder, head, ids[row][mask[row]][None], memory=memory[row : row + 1, :n], seed=row, **settings
        )
        assert alone == [together[row]]
    assert together != generate(
        decoder, head, ids, attention_mask=mask, memory=-memory, memory_mask=memory_mask, **settings
    )


def test_the_model_is_put_back_as_it_was_and_dropout_is_off():
    decoder, head = build("transformer", dropout=0.5)
    decoder.blocks[0].eval()
    ids, _ = prompts()
    before = [module.training for module in decoder.modules()]
    first = generate(decoder, head, ids, max_new_tokens=6)
    assert first == generate(decoder, head, ids, max_new_tokens=6)
    assert [module.training for module in decoder.modules()] == before
    started = stream(decoder, head, ids, max_new_tokens=6)
    next(started)
    assert not decoder.training
    started.close()  # a reader who stops early
    assert [module.training for module in decoder.modules()] == before


def test_generating_leaves_the_global_random_state_alone():
    decoder, head = build("lstm")
    before = torch.get_rng_state()
    generate(decoder, head, prompts()[0], max_new_tokens=3, sampler=Sampler())
    assert torch.equal(before, torch.get_rng_state())


def test_an_empty_prompt_is_told():
    decoder, head = build("transformer")
    ids, mask = prompts()
    mask[1] = False
    with pytest.raises(UserError, match="no tokens"):
        generate(decoder, head, ids, attention_mask=mask, max_new_tokens=3)


@families
def test_the_repetition_penalty_counts_prompt_and_written_tokens(family):
    decoder, head = build(family)
    ids, mask = prompts()
    sampler = Sampler(temperature=0, repetition_penalty=1e6)
    for row, text in enumerate(generate(decoder, head, ids, attention_mask=mask, max_new_tokens=8, sampler=sampler)):
        whole = ids[row][mask[row]].tolist() + text
        assert len(set(whole)) == len(set(whole[: -len(text)])) + len(text)  # nothing is written twice


def test_memory_stays_with_its_row_past_max_length():
    decoder, head = build("transformer", cross_attention=True, max_length=6)
    for block in decoder.blocks:
        torch.nn.init.normal_(block.cross_attention.out.weight, std=0.5)
    ids, memory = torch.randint(3, V, (4, 3)), torch.randn(4, 4, 16)
    settings = {"max_new_tokens": 25, "sampler": Sampler(), "eos_id": 2}
    together = generate(decoder, head, ids, memory=memory, **settings)
    assert len({len(text) for text in together}) > 1  # some rows end before others read again
    for row in range(4):
        alone = generate(decoder, head, ids[row : row + 1], memory=memory[row : row + 1], seed=row, **settings)
        assert alone == [together[row]]
