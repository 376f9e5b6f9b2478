"""What is typed arrives: any text as it is, and Hydra's own syntax with its meaning."""

from __future__ import annotations

import random
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf

from groundup.config.quoting import CONSTANT, FUNCTIONS, quoted, quoted_word, shell_word, typed

AS_TYPED = [
    "评论",
    "数据/训练.csv",
    "my file.csv",
    "train (1).csv",
    "a,b.csv",
    "it's.csv",
    'the "best".csv',
    "a=b.csv",
    "a: b=[c",
    "#1 & more; <x>",
    "C:\\data\\new.csv",
    "ends in a backslash\\",
    "C:\\数据\\",
    "~/own.csv",
    "données/été!.txt",
    "  two blanks at each end  ",
    "$5 {x}",
    "${ not closed",
    "data(1)",
    "parts/[ab]*.csv",
    "'unbalanced",
    "a\nb",
    "50%",
]


def parse(word: str):
    (override,) = OverridesParser.create().parse_overrides([word])
    return override


def arrives(text: str, key: str = "data.text", sweep: bool = False):
    """What a configuration holds after ``key=text``."""
    (word,) = quoted([f"{key}={text}"], sweep)
    return OmegaConf.create({"key": parse(word).value()}).key


@pytest.mark.parametrize("text", AS_TYPED)
def test_text_arrives_as_it_was_typed(text):
    assert arrives(text) == text
    assert arrives(text, "prompt") == text
    word = f"data.text={text}"
    assert quoted([typed(quoted_word(word, False))]) == quoted([word])
    assert shlex.split(shell_word(word)) == [word]


def test_a_word_is_shown_as_it_was_typed():
    for word in (
        "data.text=评论",
        "data.train=my file.csv",
        "data.train=it's.csv",
        "seed=1",
        "data.labels=[a,b]",
        "finetune",
    ):
        assert typed(quoted_word(word, False)) == word
    assert typed("data.text='评论'") == "data.text=评论" and typed("data.text='1'") == "data.text='1'"
    assert shell_word("data.text=评论") == "data.text=评论" and shell_word("data.text=a b") == "'data.text=a b'"


def test_any_text_arrives_as_it_was_typed_and_quoting_twice_changes_nothing():
    generator = random.Random(0)
    letters = "ab1 ,.=()[]{}'\"\\\\:#$~!%&|;<>*?/@+-_\t\n评é"
    seen = 0
    for _ in range(600):
        text = "".join(generator.choices(letters, k=generator.randint(1, 12)))
        if text[0] not in "'\"":
            assert arrives(text, "prompt") == text
        stripped = text.strip()
        its_own = (
            (stripped[:1], stripped[-1:]) in (("[", "]"), ("{", "}"))
            or stripped[:1] in ("'", '"', "")
            or "${" in text
            or (stripped.partition("(")[0].strip() in FUNCTIONS and stripped[-1:] == ")")
            or all(CONSTANT.fullmatch(part.strip()) for part in stripped.split(","))
        )
        if not its_own:
            seen += 1
            assert arrives(text) == text, repr(text)
        once = quoted_word(f"data.text={text}", False)
        assert quoted_word(once, False) == once
    assert seen > 300


@pytest.mark.parametrize(
    "word",
    [
        "seed=1",
        "optimizer.lr=1e-3",
        "compile=true",
        "data.label=null",
        "optimizer.betas=[0.9,0.98]",
        "optimizer.betas=[0.9, 0.98]",
        "data.hub_columns={sentence: text, b: c}",
        "data.train='quoted, text'",
        'data.train="quoted, text"',
        "data.labels=[[1,2],[a,'b,c']]",
        "callbacks=[default,ema]",
        "tokenizer@target_tokenizer=char",
        "~callbacks.progress",
        "data.labels=[]",
        "data.labels=[ ]",
        "data.clean={}",
        "+wandb.x=str(3)",
    ],
)
def test_syntax_of_hydra_keeps_its_meaning(word):
    (typed,) = quoted([word])
    assert plain(parse(typed).value()) == plain(parse(word).value())


def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value.text if isinstance(value, QuotedString) else value


def test_elements_of_lists_and_values_of_dicts_are_quoted_too():
    assert arrives("[好评, 差评,it's, 3]") == ["好评", "差评", "it's", 3]
    assert arrives("{sentence: 评论, b: [x (1).csv]}") == {"sentence": "评论", "b": ["x (1).csv"]}


def test_interpolations_stay():
    cfg = OmegaConf.create({"paths": {"logs": "logs"}, "a": parse(quoted_word("a=${paths.logs}/数据", False)).value()})
    assert cfg.a == "logs/数据"
    cfg = OmegaConf.create({"seed": 3, "a": parse(quoted_word("a=${seed}", False)).value()})
    assert cfg.a == 3


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("seed=1,2", ["1", "2"]),
        ("data.text=评论, 标题", ["'评论'", "'标题'"]),
        ("model=transformer_encoder,bilstm_encoder", ["transformer_encoder", "bilstm_encoder"]),
        ("optimizer.betas=[0.9,0.98],[0.9,0.99]", ["[0.9,0.98]", "[0.9,0.99]"]),
        ("data.train=a (1).csv,'b,c.csv'", ["'a (1).csv'", "'b,c.csv'"]),
        ("seed=range(1,4)", ["1", "2", "3"]),
        ("model=choice(a,b)", ["a", "b"]),
    ],
)
def test_sweeps_keep_their_commas(word, values):
    override = parse(quoted_word(word, True))
    assert override.is_sweep_override()
    assert list(override.sweep_string_iterator()) == values


def test_interval_of_a_sweep_stays():
    assert parse(quoted_word("optimizer.lr=interval(0.1, 0.5)", True)).is_interval_sweep()


def test_several_numbers_or_choices_without_m_are_left_to_hydra_and_texts_are_not():
    assert quoted(["seed=1,2", "model=a,b", "data.train=a,b.csv"]) == ["seed=1,2", "model=a,b", "data.train='a,b.csv'"]


def test_flags_and_what_they_take_stay():
    words = ["-m", "--config-dir", "a=b (1)", "--cfg", "job", "prompt"]
    assert quoted(words) == words
