"""Tags of words: at the first token of each, for whole words only, the same for any batch."""

from __future__ import annotations

import itertools
import math
import random
from functools import partial

import pytest
import torch
from seed import SEED

from groundup.baselines.baseline import figures
from groundup.data.batching import Bucketed
from groundup.data.collate import IGNORE
from groundup.data.sources.source import GivenRows
from groundup.data.tagged import TaggedText
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.metrics.estimate import check_reported
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.tasks.evaluation import Evaluation, Split, evaluate
from groundup.tasks.tagging import OUTSIDE, Tagging
from groundup.text.schemes import may_follow
from groundup.text.tokenizer import TokenizerSpec
from groundup.text.word_bytes import spelled
from groundup.text.words import together, word_spans
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

KINDS = {"fern": "B-plant", "oak": "B-plant", "tree": "I-plant", "crow": "B-animal", "and": "O", "海": "O"}


def make_rows(count: int, seed: int) -> list[dict[str, list[str]]]:
    draw = random.Random(seed)
    sentences = [draw.choices(list(KINDS), k=draw.randint(1, 15)) for _ in range(count)]
    return [{"tokens": words, "tags": [KINDS[word] for word in words]} for words in sentences]


def make_data(tokenizer: str = "char", validation=None, **batching) -> TextData:
    splits = {"train": make_rows(40, 1), "validation": validation or make_rows(20, 2)}
    made = Bucketed(**{"batch_size": 8, "max_length": 128, **batching})
    return TextData(GivenRows(splits), TaggedText, TokenizerSpec(tokenizer, 300), made, None, seed=1)


def make_task(data: TextData, model=TransformerEncoder, crf=False, outside=0.0, **options) -> Tagging:
    torch.manual_seed(SEED)
    optimize = Optimization(partial(torch.optim.Adam, lr=3e-3), Constant(), total_steps=1000)
    made = model(data.facts.vocab_size, width=32, layers=2, heads=2, dropout=0.0, **options)
    return Tagging(made, data.facts, data.tokenizer, dropout=0.0, crf=crf, outside=outside, optimize=optimize)


@pytest.mark.parametrize("tokenizer", ["char", "byte_bpe", "wordpiece", "word", "unigram"])
@pytest.mark.parametrize("max_length", [16, 128])
def test_a_tag_stands_at_the_first_token_of_its_word_and_words_stay_whole(tokenizer, max_length):
    data = make_data(tokenizer, max_length=max_length)
    examples, rows = data.examples("train"), data.texts("train")
    for index, row in enumerate(rows):
        example = examples[(0, index)]
        ids, places = example["input_ids"], example["first"].nonzero()[0].tolist()
        assert len(ids) == examples.lengths(training=True)[index] <= max_length
        kept = len(places)
        assert (kept < len(row["tokens"])) == examples.truncated_rows[index]
        assert [data.facts.labels[label] for label in example["labels"][places]] == row["tags"][:kept]
        assert (example["labels"] != IGNORE).sum() == kept
        pieces = [ids[begin:end] for begin, end in zip(places, [*places[1:], len(ids) - 1])]
        assert [piece.tolist() for piece in pieces] == [data.tokenizer.encode(word) for word in row["tokens"][:kept]]


def test_labels_begin_with_o_and_are_counted():
    facts = make_data().facts
    assert facts.labels == ("O", "B-animal", "B-plant", "I-plant")
    assert sum(facts.label_counts) == sum(len(row["tags"]) for row in make_rows(40, 1))


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("model", [TransformerEncoder, TransformerDecoder])
def test_figures_do_not_depend_on_the_batch_and_cut_words_count(model, crf):
    found = []
    for size in (1, 7):
        data = make_data(max_length=24, evaluation_batch_size=size)
        found.append(evaluate(make_task(data, model, crf), data, "validation"))
    assert found[0].predictions == found[1].predictions
    words = sum(len(row["tags"]) for row in data.texts("validation"))
    assert found[0].metrics["accuracy"].n == words > found[0].metrics["loss"].n
    for name, one in found[0].metrics.items():
        assert found[1].metrics[name].value == pytest.approx(one.value, abs=1e-6)
    assert {row["status"] for row in found[0].predictions} == {"ok", "truncated"}
    for row, said in zip(data.texts("validation"), found[0].predictions, strict=True):
        assert len(said["predicted"]) == len(row["tags"])


def test_a_part_of_a_split_can_be_evaluated():
    data = make_data()
    task = make_task(data)
    some, all_of_them = evaluate(task, data, "validation", limit=2), evaluate(task, data, "validation")
    assert 0 < len(some.predictions) < 20 and some.metrics["loss"].n < all_of_them.metrics["loss"].n
    for row in some.predictions:
        assert row["predicted"] == all_of_them.predictions[row["index"]]["predicted"]


def test_tags_that_are_no_entities_have_no_figures_of_entities():
    rows = [{"tokens": ["oak", "grows"], "tags": ["NOUN", "VERB"]}] * 4
    source = GivenRows({"train": rows, "validation": rows})
    data = TextData(source, TaggedText, TokenizerSpec("char", 30), Bucketed(16), None, seed=1)
    task = make_task(data)
    assert {one.name for one in task.reports} == {*evaluate(task, data, "validation").metrics}
    assert {one.name for one in make_task(make_data()).reports} > {one.name for one in task.reports}
    with pytest.raises(UserError, match="monitor=validation/entity_f1: this task's validation reports validation/acc"):
        check_reported("monitor", "validation/entity_f1", task.reports)


@pytest.mark.parametrize("crf", [False, True])
def test_it_learns_and_beats_nothing_by_chance(learn, crf):
    data = make_data()
    task = make_task(data, crf=crf)
    (batch,) = data.train_loader(task.collator(), total=1)

    def certain(task) -> bool:
        loss = task.loss(batch)
        return loss.total / loss.count < 0.02

    learn(task, batch, certain)
    results = evaluate(task, data, "validation")
    assert results.metrics["entity_f1"].value > 0.9  # each word has one tag
    simple = figures([task.classical().simpler()], data, ["validation"])
    assert simple["most frequent tag"]["validation/accuracy"].value == 1


@pytest.mark.parametrize("crf", [False, True])
def test_what_is_taken_from_o_is_chosen_by_the_f1_of_validation_and_saved(crf):
    data = make_data()
    task = make_task(data, crf=crf, outside="validation").eval()
    torch.nn.init.normal_(task.head.linear.weight, std=0.5)
    task.head.linear.bias.data[data.facts.labels.index("O")] = 2.5  # too shy
    shy = evaluate(task, data, "validation")
    evaluation = Evaluation(task, Split(data, "validation", final=False))
    with torch.no_grad():
        for batch in data.loader("validation", task.collator()):
            evaluation.add(batch)
    table = evaluation.table()
    task.choose(table, evaluation.split)
    chosen = evaluation.results(table)
    assert task.outside > 0
    found = evaluate(task, data, "validation")  # decides by itself as it was chosen
    assert found.metrics["entity_f1"].value == chosen.metrics["entity_f1"].value > shy.metrics["entity_f1"].value
    assert found.metrics["entity_recall"].value > shy.metrics["entity_recall"].value
    assert found.metrics["loss"].value == shy.metrics["loss"].value
    assert [row["predicted"] for row in found.predictions] == [row["predicted"] for row in chosen.predictions]
    for outside in OUTSIDE:
        other = make_task(data, crf=crf, outside=outside).eval()
        other.load_state_dict({name: value for name, value in task.state_dict().items() if name != "outside"})
        f1 = evaluate(other, data, "validation", final=False).metrics["entity_f1"].value
        assert f1 <= chosen.metrics["entity_f1"].value
        if outside == task.outside:
            assert f1 == chosen.metrics["entity_f1"].value
    assert task.state_dict()["outside"] == task.outside


def test_outside_needs_entities():
    rows = [{"tokens": ["oak", "grows"], "tags": ["NOUN", "VERB"]}] * 4
    data = TextData(GivenRows({"train": rows}), TaggedText, TokenizerSpec("char", 30), Bucketed(16), None, seed=1)
    with pytest.raises(UserError, match="outside=validation is for tags of entities, O among them"):
        make_task(data, outside="validation")


def test_with_a_chain_the_loss_is_that_of_all_tags_of_the_sentence_and_rules_are_kept():
    data = make_data()
    task = make_task(data, crf=True).eval()
    torch.nn.init.normal_(task.chain.transitions, std=2.0)
    torch.nn.init.normal_(task.head.linear.weight, std=1.0)
    batch = next(iter(data.loader("validation", task.collator())))
    with torch.no_grad():
        emissions, mask = task.emissions(batch)
        found = task.loss(batch)
        chosen = task.decode(emissions, mask)
    assert found.count == mask.sum() == (batch["labels"] != IGNORE).sum()
    assert found.total == pytest.approx(task.nll(emissions, mask, task.gold(batch, mask)).sum().item())
    for tags in chosen.tolist():
        names = [None, *(data.facts.labels[tag] for tag in tags if tag >= 0), None]
        assert all(may_follow("bio", *pair) for pair in itertools.pairwise(names))


@pytest.mark.parametrize("crf", [False, True])
def test_a_tag_that_training_lacks_is_wrong_costs_no_loss_and_is_told(crf, caplog):
    rows = [{"tokens": ["fern", "crow"], "tags": ["B-stone", "B-animal"]}]
    data = make_data(validation=rows)
    task = make_task(data, crf=crf)
    results = evaluate(task, data, "validation")
    assert results.metrics["loss"].n == 1 and results.metrics["accuracy"].n == 2
    assert "validation has tags that training lacks, and a model cannot give: B-stone 1;" in caplog.text
    batch = next(iter(data.loader("validation", task.collator())))
    with torch.no_grad():  # at the start each tag stands for itself
        alone = task.head(task.hidden_states(batch)[batch["labels"] != IGNORE]).log_softmax(-1)
    expected = -alone[0, data.facts.labels.index("B-animal")]
    assert results.metrics["loss"].value == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("tokenizer", ["word", "byte_bpe"])
def test_the_spelling_of_a_word_stands_at_its_first_token(tokenizer):
    data = make_data(tokenizer)
    task = make_task(data, characters="cnn")
    batch = next(iter(data.loader("validation", task.collator())))
    rows = data.texts("validation")
    for index, first, characters in zip(batch["index"].tolist(), batch["first"], batch["characters"]):
        words = rows[index]["tokens"]
        longest = characters.shape[-1]
        assert characters[first == 1].tolist() == spelled(words)[:, :longest].tolist()
        assert not characters[first == 0].any() and not spelled(words)[:, longest:].any()
    assert "characters" not in next(iter(data.loader("validation", make_task(data).collator())))


def test_words_that_were_never_seen_profit_from_their_spelling(learn):
    """The end of a word tells its tag, and none of the test's words is in the training split."""
    draw = random.Random(3)

    def rows(count, letters):
        words = [
            ["".join(draw.choices(letters, k=4)) + draw.choice(["ing", "ly"]) for _ in range(6)] for _ in range(count)
        ]
        return [{"tokens": row, "tags": ["V" if word.endswith("ing") else "A" for word in row]} for row in words]

    splits = {"train": rows(60, "abcdef"), "validation": rows(30, "qrstuv")}
    data = TextData(GivenRows(splits), TaggedText, TokenizerSpec("word", 300), Bucketed(batch_size=60), None, seed=1)
    task = make_task(data, characters="cnn")
    (batch,) = data.train_loader(task.collator(), total=1)
    learn(task, batch, lambda task: (loss := task.loss(batch)).total / loss.count < 0.05)
    assert evaluate(task, data, "validation").metrics["accuracy"].value > 0.9


def test_a_scheme_that_the_tags_are_not_in_is_refused():
    data = make_data()
    model = TransformerEncoder(data.facts.vocab_size, width=16, layers=1, heads=2)
    assert Tagging(model, data.facts, data.tokenizer).scheme == "bio"
    assert Tagging(model, data.facts, data.tokenizer, scheme="none").scheme is None
    splits = {"train": [{"tokens": ["a", "b"], "tags": ["NOUN", "VERB"]}]}
    other = TextData(GivenRows(splits), TaggedText, TokenizerSpec("char", 30), Bucketed(), None, seed=1)
    with pytest.raises(UserError, match=r"scheme=bio: the tag 'NOUN'.*Try scheme=auto"):
        Tagging(model, other.facts, other.tokenizer, scheme="bio")


def test_answers_have_a_tag_for_each_word_that_was_read():
    data = make_data(max_length=16)
    task = make_task(data).eval()
    rows = [{"tokens": ["oak", "tree"]}, {"tokens": []}, {"tokens": ["crow"] * 30}]
    loader, examples = data.rows_loader(rows, task.collator())
    with torch.inference_mode():
        answers = {
            index: row for batch in loader for index, row in zip(batch["index"].tolist(), task.predict_batch(batch))
        }
    assert [len(answers[index]["predicted"]) for index in range(3)] == [2, 0, 3]
    assert examples.statuses(rows) == ["ok", "empty", "truncated"]


def test_texts_without_words_are_refused():
    splits = {"train": [{"text": "fern", "label": "x"}]}
    with pytest.raises(UserError, match=r"Try data\.tokens=COLUMN data\.tags=COLUMN"):
        TextData(GivenRows(splits), TaggedText, TokenizerSpec("char", 30), Bucketed(), None, seed=1)
    with pytest.raises(UserError, match=r"truncation=tail"):
        make_data(truncation="tail")


@pytest.mark.parametrize("crf", [False, True])
def test_entities_are_told_with_their_words_and_the_probability_of_their_tags(crf):
    data = make_data()
    task = make_task(data, crf=crf).eval()
    torch.nn.init.normal_(task.head.linear.weight, std=0.5)
    rows = [{"tokens": ["oak", "tree", "and", "crow"]}, {"tokens": []}, TaggedText.of_text("海 fern,  crow")]
    loader, _ = data.rows_loader(rows, task.collator())
    (batch,) = loader
    with torch.inference_mode():
        emissions, mask = task.emissions(batch)
        answers = dict(zip(batch["index"].tolist(), task.predict_batch(batch)))
    found = [task.joined([answers[index]], row) for index, row in enumerate(rows)]
    assert found[1] == {"predicted": [], "probabilities": [], "entities": []}
    assert found[2]["words"] == ["海", "fern", ",", "crow"] and "words" not in found[0]
    chances = emissions.softmax(-1)
    for place, index in enumerate(batch["index"].tolist()):
        one, row = found[index], rows[index]
        if not crf:  # each word stands for itself
            assert one["probabilities"] == pytest.approx(chances[place, mask[place]].amax(-1).tolist(), abs=1e-5)
        spans = word_spans(row["text"]) if "text" in row else None
        for entity in one["entities"]:
            text = row["text"] if spans else row["tokens"]
            said = text[entity["start"] : entity["end"]]
            assert entity["text"] == (said if spans else together(said))
            first = [begin for begin, _ in spans].index(entity["start"]) if spans else entity["start"]
            words = len(TaggedText.of_text(entity["text"])["tokens"])
            assert one["predicted"][first] == f"B-{entity['type']}"
            shares = one["probabilities"][first : first + words]
            assert 0 <= entity["score"] <= min(shares) + 1e-6
            if not crf:
                assert entity["score"] == pytest.approx(math.prod(shares), abs=1e-4)
    assert any(one["entities"] for one in found)
