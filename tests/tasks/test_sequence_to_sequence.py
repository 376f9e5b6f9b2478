"""What holds for tasks that write a text, by an encoder-decoder and by a decoder alone."""

from __future__ import annotations

import random
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from seed import SEED

from groundup.data.batching import Bucketed
from groundup.data.collate import IGNORE
from groundup.data.facts import Facts
from groundup.data.pairs import PairedText
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.decoding.beam import Beam
from groundup.decoding.decoding import Hypothesis
from groundup.decoding.sampling import Sampler
from groundup.errors import UserError
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.recurrent import RecurrentDecoder, RecurrentEncoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.tasks import sequence_to_sequence
from groundup.tasks.attention_maps import attention_maps
from groundup.tasks.evaluation import Split, evaluate
from groundup.tasks.summarization import Summarization
from groundup.tasks.translation import Translation
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

MODELS = ("transformer", "lstm", "decoder alone", "transformer that points", "lstm that points")
WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "海": "See"}


def make_rows(count: int, seed: int) -> list[dict[str, str]]:
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        words = generator.choices(list(WORDS), k=generator.randint(1, 6))
        rows.append({"source": " ".join(words), "target": " ".join(WORDS[word] for word in words)})
    return rows


def make_model(name: str, vocab_size: int, seed: int = 0, **more):
    torch.manual_seed(seed)
    words = {"width": 32, "layers": 1, "dropout": 0.0}
    transformer = {**words, "heads": 2, "zero_init": False}
    if name == "decoder alone":
        return TransformerDecoder(vocab_size, **transformer)
    if name.startswith("transformer"):
        encoder = partial(TransformerEncoder, **transformer)
        decoder = partial(TransformerDecoder, cross_attention=True, **transformer)
    else:
        encoder = partial(RecurrentEncoder, **words)
        decoder = partial(RecurrentDecoder, cross_attention=True, **words)
    return EncoderDecoder(vocab_size, encoder, decoder, **more)


def make(name: str, rows: int = 40, validation=None, task_class=Translation, decoding=None, seed=0, **words):
    source = GivenRows({"train": make_rows(rows, 1), "validation": validation or make_rows(12, 2)})
    spec = TokenizerSpec("byte_bpe", vocab_size=300)
    examples = task_class.examples_for("decoder" if name == "decoder alone" else "encoder_decoder")
    data = TextData(source, examples, spec, Bucketed(batch_size=8, max_length=32), None, seed=1)
    decoding = decoding or Sampler(temperature=0, max_new_tokens=24)
    words = {"pointer": True} | words if name.endswith("points") else words
    words["optimize"] = Optimization(partial(torch.optim.Adam, lr=1e-2), Constant(), total_steps=1000)
    model = make_model(name, data.facts.vocab_size, seed)
    return data, task_class(model, data.facts, data.target_tokenizer, decoding, **words)


def asked(data, task, rows, batch_size=None):
    """Batches of rows to answer."""
    return data.rows_loader(rows, task.collator(), batch_size)[0]


@pytest.mark.parametrize("name", MODELS)
def test_smoothed_loss_is_torchs_and_the_reported_one_is_not_smoothed(name):
    data, task = make(name, label_smoothing=0.2)
    batch = next(iter(data.train_loader(task.collator())))
    loss, labels = task.loss(batch), batch["labels"].flatten()
    logits = task.logits(batch, torch.ones_like(batch["labels"], dtype=torch.bool))
    expected = F.cross_entropy(logits, labels, ignore_index=IGNORE, label_smoothing=0.2, reduction="sum")
    plain = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.plain, plain)
    assert loss.count == (labels != IGNORE).sum()
    ours, theirs = (
        torch.autograd.grad(value, list(task.model.parameters()), retain_graph=True) for value in (loss.total, expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_to_translate_and_measures_what_it_writes(name, learn):
    """What it writes is judged once it is certain: every target has a probability above 98 %."""
    rows = make_rows(4, 1)  # an LSTM needs nine times as long for eight
    data, task = make(name, rows=4, validation=rows, decoding=Beam(beam_size=2, max_new_tokens=24), seed=SEED)
    batch = next(iter(data.train_loader(task.collator())))
    scored = batch["labels"] != IGNORE

    def certain(task) -> bool:
        losses = F.cross_entropy(task.logits(batch, scored), batch["labels"][scored], reduction="none")
        return torch.zeros(scored.shape).masked_scatter(scored, losses).sum(1).max() < 0.02

    learn(task, batch, certain, most=6000)
    results = evaluate(task, data, "validation")
    assert results.metrics["exact_match"].value == 1
    assert results.metrics["bleu"].value == pytest.approx(100)
    assert results.metrics["bleu"].signature and results.metrics["loss"].value < 0.2
    assert [row["index"] for row in results.predictions] == list(range(4))
    assert [row["hypothesis"] for row in results.predictions] == [row["target"] for row in rows]


@pytest.mark.parametrize("name", MODELS)
def test_batch_size_changes_nothing(name):
    data, task = make(name)
    task.eval()
    rows = [{"source": row["source"]} for row in make_rows(9, 5)]
    answers = []
    for size in (1, 9):
        by_row = {}
        for batch in asked(data, task, rows, size):
            with torch.inference_mode():
                found = task.predict_batch(batch)
            by_row |= dict(zip(batch["index"].tolist(), found, strict=True))
        answers.append([by_row[index] for index in range(9)])
    assert [one["prediction"] for one in answers[0]] == [one["prediction"] for one in answers[1]]
    assert [one["score"] for one in answers[0]] == pytest.approx([one["score"] for one in answers[1]], abs=1e-4)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "decoder alone"])
def test_a_beams_log_probability_is_the_models_of_that_text(name):
    data, task = make(name)
    (batch,) = asked(data, task, [{"source": "two one 海"}, {"source": "four"}], 2)
    with torch.inference_mode():
        found = task.eval().write(batch, Beam(beam_size=3, n_best=3, max_new_tokens=6), None)
        for row, hypotheses in enumerate(found):
            for one in hypotheses:
                text = [*one.tokens, *[task.facts.eos_id] * one.finished]
                alone = {key: value[row : row + 1] for key, value in batch.items()}
                alone["decoder_input_ids"] = torch.tensor([[task.facts.bos_id, *text[:-1]]])
                told = task.logits(alone, torch.ones(1, len(text), dtype=torch.bool)).log_softmax(-1)
                said = told.gather(1, torch.tensor(text)[:, None]).sum().item()
                assert one.log_probability == pytest.approx(said, abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_shows_the_model_no_answer(name):
    """What is written for a row depends on its source alone, although its target lies in the batch."""
    rows = make_rows(6, 3)
    answers = []
    for validation in (rows, [{**row, "target": "vier"} for row in rows]):
        data, task = make(name, validation=validation)
        task.eval()
        (batch,) = data.loader("validation", task.collator())
        split = Split(data, "validation", final=True)
        table = {"index": batch["index"], **task.evaluate_batch(batch, split)}
        told = task.describe(table, split)
        answers.append({row["index"]: row["hypothesis"] for row in told})
    assert len(set(answers[0].values())) > 1 and answers[0] == answers[1]


@pytest.mark.parametrize("name", MODELS)
def test_prefix_comes_first_and_the_rest_follows_from_it(name):
    data, task = make(name)
    prefix = data.tokenizer.encode("zwei")
    (batch,) = asked(data, task, [{"source": "two one"}, {"source": "three"}], 2)
    with torch.inference_mode():
        assert all(answer["prediction"].startswith("zwei") for answer in task.eval().predict_batch(batch, prefix))


def told_at_last(writing, told):
    told.append((yield from writing))


@pytest.mark.parametrize("name", MODELS)
def test_streamed_text_is_that_of_the_batch(name):
    data, task = make(name)
    (batch,) = asked(data, task, [{"source": "two one 海"}], 1)
    for decoding in (Sampler(temperature=0, max_new_tokens=9), Sampler(max_new_tokens=9), Beam(max_new_tokens=9)):
        with torch.inference_mode():
            best = task.eval().write(batch, decoding, [7])[0][0]
            whole, pieces, told = task.spell(best.tokens), list[str](), list[str | None]()
            pieces += told_at_last(task.answer(batch, decoding, 7), told)
        (line,) = told
        assert (line is None) == best.finished and (line is None or f"after {len(best.tokens)} tokens" in line)
        assert "".join(pieces) == whole.removesuffix("\ufffd") or whole.startswith("".join(pieces))


@pytest.mark.parametrize("name", MODELS)
def test_a_prefix_is_streamed_even_if_nothing_follows(name):
    data, task = make(name)
    (batch,) = asked(data, task, [{"source": "two one"}], 1)
    with torch.inference_mode():
        matrix = task.eval().head.matrix
        matrix[:] = 0  # every logit is alike, and the first token that may be written is the end
        pieces = list(task.answer(batch, Sampler(temperature=0, max_new_tokens=5), 1, data.tokenizer.encode("zwei")))
    assert pieces == ["zwei"]


def test_scheduled_sampling_shows_the_decoder_its_own_guesses():
    data, task = make("lstm", scheduled_sampling=0.5)
    batch = next(iter(data.train_loader(task.collator())))
    given, seen = batch["decoder_input_ids"], task.train().own_guesses(batch)
    real = torch.cat((torch.zeros_like(given[:, :1], dtype=torch.bool), batch["labels"][:, 1:] != IGNORE), dim=1)
    share = (seen != given)[real].float().mean()
    assert 0.25 < share <= 0.65 and torch.equal(seen[~real], given[~real])
    task.eval()
    torch.testing.assert_close(task.loss(batch).total, make("lstm")[1].eval().loss(batch).total)
    with pytest.raises(UserError, match=r"Try scheduled_sampling=0$"):
        make("decoder alone", scheduled_sampling=0.5)


def test_validation_during_training_writes_some_rows_only():
    data, task = make("transformer", validation_rows=5)
    results = evaluate(task, data, "validation", final=False)
    assert [row["index"] for row in results.predictions] == [0, 3, 6, 9]  # every third of 12
    assert results.metrics["token_accuracy"].n > results.metrics["bleu"].n == 4


def test_no_validation_rows_means_that_nothing_is_written_but_at_the_end():
    data, task = make("transformer", validation_rows=0)
    results = evaluate(task, data, "validation", final=False)
    assert not results.predictions and "bleu" not in results.metrics and "token_accuracy" in results.metrics
    results = evaluate(task, data, "validation")
    assert len(results.predictions) == 12


def test_groups_are_reported_apart():
    rows = [{**row, "group": ("old", "new")[number % 2]} for number, row in enumerate(make_rows(6, 3))]
    data, task = make("transformer", validation=rows)
    results = evaluate(task, data, "validation", final=False)
    assert results.metrics["exact_match_old"].n == results.metrics["exact_match_new"].n == 3


def test_summaries_are_measured_by_rouge_against_all_references():
    rows = [{**row, "references": [""]} for row in make_rows(4, 3)]
    data, task = make("transformer", validation=rows, task_class=Summarization)
    results = evaluate(task, data, "validation", final=False)
    assert {"rouge_1", "rouge_2", "rouge_l"} <= results.metrics.keys() and "bleu" not in results.metrics
    lead = task.classical()
    assert (lead.name, lead.simpler().name) == ("lead sentence", "random words")


@pytest.mark.parametrize("name", ["transformer", "lstm that points"])
def test_pictures_show_where_each_token_looked(name):
    data, task = make(name)
    pictures = attention_maps(task, data, "validation")
    assert [picture["index"] for picture in pictures] == list(range(len(pictures)))
    for picture in pictures:
        assert len(picture["weights"]) == len(picture["target"])
        for row in picture["weights"]:
            assert len(row) == len(picture["source"]) and sum(row) == pytest.approx(1, abs=0.01)
    assert attention_maps(make("decoder alone")[1], data, "validation") == []


def test_status_says_what_was_done_to_a_source():
    data, task = make("transformer")
    rows = [{"source": "one"}, {"source": " "}, {"source": "two " * 60}]
    assert data.rows_loader(rows, task.collator())[1].statuses(rows) == ["ok", "empty", "truncated"]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_written_for_an_empty_source_in_evaluation_either(name):
    rows = [{"source": " ", "target": "eins"}, {"source": "two", "target": "zwei"}]
    data, task = make(name, validation=rows, decoding=Sampler(temperature=0, min_new_tokens=3, max_new_tokens=9))
    empty, whole = evaluate(task, data, "validation").predictions
    assert (empty["status"], empty["hypothesis"]) == ("empty", "")
    assert whole["hypothesis"]


def make_spelled(words: int, room: int = 60):
    """Sources of words, targets of their characters: ten times as many tokens."""
    rows = [{"source": " ".join(["word"] * n), "target": "abcdefghij" * n} for n in range(1, words + 1)]
    source = GivenRows({"train": rows, "validation": rows})
    own = (TokenizerSpec("word", vocab_size=50), TokenizerSpec("char", vocab_size=50))
    batching = Bucketed(batch_size=4, max_length=room)
    return TextData(source, PairedText, own[0], batching, None, 1, target_tokenizer=own[1])


def sizes(data, task):
    (batch,) = asked(data, task, [{"source": "word " * n} for n in range(1, 6)], 9)
    return task.start(batch, Sampler(0), ())[1]


def test_the_most_tokens_of_a_target_are_learned_from_the_train_split():
    data = make_spelled(5)
    facts = Facts.from_dict(data.facts.as_dict())  # as a run keeps them
    vocabularies = {"target_vocab_size": facts.target_vocab_size, "shared_embedding": False}
    model = make_model("transformer", facts.vocab_size, **vocabularies)
    learned = Translation(model, facts, data.target_tokenizer, Sampler(0))
    assert all(most >= 10 * n + 1 for n, most in enumerate(sizes(data, learned), 1))
    shorter = Translation(model, facts, data.target_tokenizer, Sampler(0), max_length_ratio=0.5)
    assert sizes(data, shorter) == [11, 11, 12, 12, 13]
    again = TextData(None, PairedText, data.tokenizer, data.batching, None, 1, data.target_tokenizer, facts)
    assert again.facts == facts
    assert make("decoder alone")[1].max_length_ratio == 1.0  # a target of as many tokens


def test_a_text_that_came_to_no_end_says_so(monkeypatch):
    data, task = make("transformer")

    def write(batch, decoding, seeds, prefix=()):
        return [[Hypothesis([9], -1.0, -1.0, finished=index % 3 > 0)] for index in batch["index"].tolist()]

    monkeypatch.setattr(task, "write", write)
    (batch,) = asked(data, task, [{"source": "one"}] * 4, 4)
    finished = dict(zip(batch["index"].tolist(), (answer["finished"] for answer in task.predict_batch(batch))))
    assert finished == {0: False, 1: True, 2: True, 3: False}
    results = evaluate(task, data, "validation", final=False)
    assert [row["status"] for row in results.predictions] == ["unfinished", "ok", "ok"] * 4


def test_a_text_may_be_as_long_as_it_must():
    data, task = make("transformer", max_length_ratio=0.01)
    (batch,) = asked(data, task, [{"source": "one"}], 1)
    ((best,),) = task.write(batch, Sampler(0, min_new_tokens=20, max_new_tokens=50))
    assert len(best.tokens) >= 20


def test_a_decoder_alone_never_forgets_its_source():
    data, task = make("decoder alone", max_length_ratio=50.0)
    task.decoder[0].max_length = 24
    (batch,) = asked(data, task, [{"source": "one two"}, {"source": "one two three"}], 2)
    start, longest = task.start(batch, Sampler(0, max_new_tokens=99))
    assert [len(prompt) + most for prompt, most in zip(start["prompts"], longest)] == [25, 25]
    assert all(len(best.tokens) <= 24 for (best,) in task.write(batch, Sampler(0, max_new_tokens=99)))


@pytest.mark.parametrize("name", ["transformer", "decoder alone"])
def test_an_answer_in_pieces_is_the_whole_of_it(name, monkeypatch):
    data, task = make(name)
    (batch,) = asked(data, task, [{"source": "one"}], 1)
    byte = data.tokenizer.encode("Ω")[:1]
    tokens = data.tokenizer.encode("eins ") + byte  # it ends in the middle of a character
    assert data.tokenizer.decode(byte) == "\ufffd"
    monkeypatch.setattr(sequence_to_sequence, "stream", lambda *_, **__: ([token] for token in tokens))
    assert "".join(task.answer(batch, Sampler(0), 1)) == data.tokenizer.decode(tokens)
