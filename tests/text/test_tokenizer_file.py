"""A tokenizer.json may come from anyone: what we do not write is refused, and what we write is the library's."""

import json
import math

import pytest

from groundup.errors import UserError
from groundup.text.tokenizer import Tokenizer

KINDS = ["char", "word", "byte_bpe", "wordpiece", "unigram"]
ENGLISH = ["The quick brown fox jumps over the lazy dog.", "It doesn't stop; the dog sleeps (again)!", "A dog, a fox."]
CHINESE = ["早餐非常简单，房间很好。", "我们住的酒店非常好，服务很好。", "早餐很好，房间非常小。"]

EVIL_REGEX = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
EXPANDING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10_000}
SOILED = {
    "an expanding normalizer": lambda c: c.update(normalizer=EXPANDING),
    "a normalizer in a sequence": lambda c: c.update(normalizer={"type": "Sequence", "normalizers": [EXPANDING]}),
    "another regex": lambda c: c.update(pre_tokenizer=EVIL_REGEX),
    "another decoder": lambda c: c.update(decoder={"type": "ByteFallback"}),
    "a post-processor": lambda c: c.update(post_processor={"type": "ByteLevel"}),
    "truncation": lambda c: c.update(truncation={"max_length": 1, "strategy": "LongestFirst", "stride": 0}),
    "padding": lambda c: c.update(padding={"strategy": {"Fixed": 10**9}}),
    "an added token": lambda c: c.update(added_tokens=[{"id": 9, "content": "a", "special": True}]),
    "an unknown key": lambda c: c.update(python="print()"),
    "no model": lambda c: c.pop("model"),
    "a model that is a list": lambda c: c.update(model=[]),
    "another model": lambda c: c["model"].update(type="WordPiece" if c["model"]["type"] == "BPE" else "BPE"),
    "a large word": lambda c: c["model"].update(max_input_chars_per_word=10**9),
    "no vocabulary": lambda c: c["model"].pop("vocab"),
    "an empty vocabulary": lambda c: c["model"].update(vocab=type(c["model"]["vocab"])()),
    "a number for a vocabulary": lambda c: c["model"].update(vocab=7),
    "a gap in the ids": lambda c: change(c, lambda v: v.update(a=2**31), lambda v: v.append(["a"])),
    "an id twice": lambda c: change(c, lambda v: v.update(new=7), lambda v: v.append(v[-1])),
    "an id that is true": lambda c: change(c, lambda v: v.update({"<unk>": True}), lambda v: v.append([1, 1.0])),
    "specials elsewhere": lambda c: change(c, lambda v: v.update({"<pad>": 1, "<unk>": 0}), lambda v: v.reverse()),
    "half a character": lambda c: change(
        c, lambda v: v.update({"\ud83d": len(v)}), lambda v: v.append(["\ud83d", -1.0])
    ),
    "an endless entry": lambda c: change(c, lambda v: v.update({"a" * 10**5: len(v)}), lambda v: v.append(["", -1.0])),
    "merges": lambda c: c["model"].update(merges=[["a", "nowhere"]]),
    "not a number": lambda c: change(c, lambda v: v.update(a=math.nan), lambda v: v.append(["qq", math.nan])),
}


def change(content, of_a_dict, of_a_list):
    vocabulary = content["model"]["vocab"]
    (of_a_dict if isinstance(vocabulary, dict) else of_a_list)(vocabulary)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("soil", SOILED)
def test_a_file_with_anything_of_another_s_is_refused(kind, soil, tmp_path):
    Tokenizer.train(ENGLISH, kind, 300).save(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    SOILED[soil](content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"tokenizer\.json.*not a tokenizer\.json of groundup"):
        Tokenizer.load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"model": ' + "9" * 5000 + "}", "[]", "null", "", "\x00", '{"a": "\ufffd', b"\xff\xfe{}", b"\x80"],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_is_no_json_object_is_one_line(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"not a tokenizer\.json") as refusal:
        Tokenizer.load(path)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(10**10)
    with pytest.raises(UserError, match="at most"):
        Tokenizer.load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("split_digits", [False, True])
def test_a_file_of_ours_is_the_library_s_too(kind, lowercase, split_digits, tmp_path):
    import tokenizers

    ours = Tokenizer.train(ENGLISH + CHINESE + ["12 of 34"], kind, 400, lowercase, 1, split_digits)
    ours.save(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*ENGLISH, *CHINESE, "12 of 34"]:
        assert theirs.encode(text).ids == ours.encode(text)
    assert theirs.get_vocab_size() == ours.vocab_size
