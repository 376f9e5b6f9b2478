"""Round trips, unknown text, special strings, determinism."""

import itertools
import json
import random
import re
import subprocess
import sys

import pytest
from timing import processor_seconds

from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.pieces import Sample
from groundup.text.tokenizer import SPECIALS, Tokenizer, TokenizerSpec

KINDS = ["char", "word", "byte_bpe", "wordpiece", "unigram"]
ENGLISH = ["The quick brown fox jumps over the lazy dog.", "It doesn't stop; the dog sleeps (again)!", "A dog, a fox."]
CHINESE = ["早餐非常简单，房间很好。", "我们住的酒店非常好，服务很好。", "早餐很好，房间非常小。"]
NASTY = [
    "",
    " ",
    "\r\n\t x",
    "全角ＡＢＣ　１２３！",
    "naïve café e\u0301",
    "👩‍👩‍👧 🇨🇳 emoji",
    "a\u2028b\x00c\x0c",
    "<pad> <unk>\n",
]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return Tokenizer.train((ENGLISH + CHINESE) * 20, request.param, 400)


def test_special_tokens_are_the_first_ids(tokenizer):
    assert tokenizer.tokens(range(7)) == list(SPECIALS)
    assert [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id] == [0, 1, 2, 3]
    assert [tokenizer.sep_id, tokenizer.mask_id, tokenizer.cls_id] == [4, 5, 6]


def test_vocabulary_is_no_larger_than_asked_and_ids_stay_inside(tokenizer):
    assert tokenizer.vocab_size <= 400
    assert len(set(tokenizer.tokens(range(tokenizer.vocab_size)))) == tokenizer.vocab_size
    for text in ENGLISH + CHINESE + NASTY:
        assert all(0 <= token < tokenizer.vocab_size for token in tokenizer.encode(text))


@pytest.mark.parametrize("text", ENGLISH + CHINESE)
def test_training_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", [*NASTY, "\ud83d half a character"])
def test_unknown_text_never_raises_and_never_gives_other_specials(tokenizer, text):
    ids = tokenizer.encode(text)
    assert not {0, 2, 3, 4, 5, 6} & set(ids)
    assert isinstance(tokenizer.decode(ids), str)


def test_names_of_special_tokens_in_a_text_are_plain_text(tokenizer):
    text = " ".join(SPECIALS) * 30
    trained_on_them = Tokenizer.train([text, *ENGLISH, "<unk> <pad>" * 50] * 5, tokenizer.kind, 400)
    for candidate in (tokenizer, trained_on_them):
        ids = candidate.encode(f"x{SPECIALS[0]}y {text}")
        assert not {0, 2, 3, 4, 5, 6} & set(ids)
    assert trained_on_them.unk_id not in trained_on_them.encode(text)


def test_batch_equals_single(tokenizer):
    texts = ENGLISH + CHINESE + NASTY
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_decoding_leaves_special_tokens_out(tokenizer):
    ids = tokenizer.encode(ENGLISH[0])
    assert tokenizer.decode([tokenizer.cls_id, *ids, tokenizer.sep_id, tokenizer.pad_id]) == tokenizer.decode(ids)


def test_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.kind, loaded.fingerprint) == (tokenizer.kind, tokenizer.fingerprint)
    assert loaded.encode(NASTY[3] + CHINESE[0]) == tokenizer.encode(NASTY[3] + CHINESE[0])


@pytest.mark.parametrize("split_digits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_sentences_of_several_languages_are_restored(kind, split_digits):
    german = [
        "Ein blau-weißes T-Shirt kostet 3,50 €.",
        'Er sagte: "Ja, gern!"',
        "Zwei Männer (24) gehen über die Straße.",
    ]
    english = ["You must be back by 10 o'clock.", 'He said, "Let\'s go."', "A high-pitched voice?"]
    chinese = ["Tom是我哥哥。", "我7点起床了。", "他说：“好！”", "我 住 hotel 里 , 很好"]
    code = ["os.path.join(a, b)", "x86 and/or utf8: 1st, 20-30 # ## (a ) [ b] it 's 'tis ' x", "2001-03-02 1 2 3 4,5"]
    accents = ["e\u0301te\u0301 na\u0131ve", "שלום, עולם!", "الكتاب (جديد).", "हिन्दी - भाषा", "👩‍👩‍👧 🇨🇳!"]
    texts = german + english + chinese + code + accents
    tokenizer = Tokenizer.train(texts, kind, 900, split_digits=split_digits)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == texts


@pytest.mark.parametrize("text", NASTY + CHINESE)
def test_byte_bpe_restores_any_text(text):
    english_only = Tokenizer.train(ENGLISH, "byte_bpe", 300)
    assert english_only.decode(english_only.encode(text)) == text


def test_char_dictionary_gives_the_backend_s_ids():
    tokenizer = Tokenizer.train(ENGLISH + CHINESE, "char", 300)
    text = "".join(ENGLISH + CHINESE + NASTY)
    assert tokenizer.encode(text) == tokenizer._backend.encode(text).ids


def test_char_maps_unseen_characters_to_unknown():
    tokenizer = Tokenizer.train(["abc"], "char", 300)
    assert tokenizer.encode("a☃c") == [7, 1, 9]


def test_wordpiece_spells_a_text_that_begins_inside_a_word():
    tokenizer = Tokenizer.train(["forfeit forget ## it"], "wordpiece", 60)
    ids = tokenizer.encode("forge")
    assert len(ids) > 1 and tokenizer.tokens(ids)[1].startswith("##")
    assert tokenizer.decode(ids) == "forge" and tokenizer.decode(ids[1:]) == "forge".removeprefix(
        tokenizer.decode(ids[:1])
    )
    assert tokenizer.decode(tokenizer.encode("## it")).startswith("#")


def test_wordpiece_and_word_split_chinese_into_characters():
    for kind in ("wordpiece", "word"):
        tokenizer = Tokenizer.train(CHINESE, kind, 300)
        assert tokenizer.tokens(tokenizer.encode("酒店好abc"))[:3] == ["酒", "店", "好"]


def test_unigram_finds_chinese_words():
    parts = (["早餐", "房间", "服务", "酒店", "位置"], ["非常", "不太", "确实"], ["简单", "干净", "满意", "便宜"])
    texts = ["".join(words) for words in itertools.product(*parts)]
    tokenizer = Tokenizer.train(texts, "unigram", 60)
    pieces = tokenizer.tokens(tokenizer.encode("房间确实便宜"))
    ends = {len("".join(pieces[: i + 1])) for i in range(len(pieces))}
    assert len(pieces) <= 3
    assert ends <= {3, 5, 7}  # after each word, the first of which has a blank before it


@pytest.mark.parametrize("kind", KINDS)
def test_lowercase_ignores_case_in_training_and_encoding(kind):
    tokenizer = Tokenizer.train(["The THE the tHe"] * 3, kind, 300, lowercase=True)
    assert tokenizer.encode("THE") == tokenizer.encode("the")
    assert tokenizer.unk_id not in tokenizer.encode("THE")


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_use_lower_letters_alike(kind):
    texts = ["ΟΔΟΣ İSTANBUL ΣΑΣ STRASSE Ǆ ⓐⒷ", "ὈΔΥΣΣΕΎΣ ΐ ΣΣ."]
    tokenizer = Tokenizer.train(texts, kind, 500, lowercase=True)
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.unk_id not in ids and tokenizer.decode(ids) == text.lower()
        assert tokenizer.encode(text.lower()) == ids


ODD = {
    "emoji alone": "😀😃🎉🚀",
    "joined emoji": "👩‍👩‍👧‍👦👨🏽‍🚒🏳️‍🌈",
    "flags": "🇨🇳🇩🇪🇫🇷",
    "stacked accents": "e\u0301Z\u0351\u036b\u0343a\u0334",
    "right to left": "שלום עולם، مرحبا (نص) \u202eabc\u202c",
    "control": "".join(map(chr, range(32))),
    "nul": "a\x00b\x00\x00 c",
    "half a character": "a\ud83d b\udc00",
    "a whole one in halves": "\ud83d\ude00",
    "no characters": "\ufffe\uffff x\ufdd0\U0010ffff\ue000",
    "byte order mark": "\ufeffabc",
    "one letter": "a",
    "blanks": "   ",
    "blanks around": "  a ",
    "line ends": "\n\n\r\n\u2028\u2029\x85",
    "specials": "<eos> <pad><unk> x<mask>y </s> [CLS] ##ing Ġb",
    "vowel signs": "हिन्दी में लिखा",
    "no spaces": "ภาษาไทยไม่มีช่องว่าง",
    "syllables": "한국어 \u1112\u1161\u11ab 텍스트",
    "full width": "ＡＢＣ　１２３",
    "numbers": "٣٤ ४५ ①② 1²",
}
BLANKS = "\t\n\x0b\x0c\r \x85\xa0\u2028\u2029\u3000"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ODD)
def test_odd_texts_come_back(kind, name):
    text = ODD[name]
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if kind in ("word", "wordpiece"):
        expected = re.sub(f"[{BLANKS}]+", " ", expected).strip(" ")
    for split_digits, lowercase in itertools.product([False, True], repeat=2):
        tokenizer = Tokenizer.train([text, f"{text} {text}"], kind, 600, lowercase, 1, split_digits)
        ids = tokenizer.encode(text)
        assert all(7 <= token < tokenizer.vocab_size for token in ids)
        assert tokenizer.decode(ids) == (expected.lower() if lowercase else expected)
    english_only = Tokenizer.train(ENGLISH, kind, 300)
    assert not {0, 2, 3, 4, 5, 6} & set(english_only.encode(text))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [["a"], [""], [" "], ["\n" * 1000], ["a"] * 1000, ["same row"] * 50], ids=str)
@pytest.mark.parametrize("vocab_size", [8, 9, 20, 270, 1 << 20])
def test_a_corpus_of_next_to_nothing_has_a_tokenizer(kind, texts, vocab_size):
    if kind == "byte_bpe" and vocab_size < 263:
        return
    tokenizer = Tokenizer.train(texts, kind, vocab_size)
    assert tokenizer.vocab_size <= vocab_size
    for token in range(tokenizer.vocab_size):
        tokenizer.decode([token])
    tokenizer.encode("a b")


@pytest.mark.parametrize("kind", KINDS)
def test_an_alphabet_larger_than_the_vocabulary_is_cut(kind):
    tokenizer = Tokenizer.train(["".join(map(chr, range(0x4E00, 0x5E00))), "abc def"], kind, 270)
    assert tokenizer.vocab_size <= 270 and tokenizer.unk_id not in tokenizer.encode("" if kind == "word" else "b")


@pytest.mark.parametrize("kind", ["word", "wordpiece"])
def test_a_run_of_blanks_is_one_space(kind):
    tokenizer = Tokenizer.train(["a b , ( c ) 好 d !"], kind, 200)
    blanks = " \t a \n\r\n b  ,\u2028 (\u00a0c )\n\n好   d !\n"
    assert tokenizer.decode(tokenizer.encode(blanks)) == "a b , ( c ) 好 d !"


@pytest.mark.parametrize("kind", ["word", "wordpiece"])
def test_what_is_decoded_only_grows(kind):
    tokenizer = Tokenizer.train(ENGLISH + CHINESE, kind, 400)
    ids = tokenizer.encode(ENGLISH[1] + " - " + CHINESE[0] + " x")
    texts = [tokenizer.decode(ids[:count]) for count in range(len(ids) + 1)]
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(texts))


@pytest.mark.parametrize("kind", KINDS)
def test_rare_entries_are_left_out(kind):
    often, once = ["ab ab ab ab"] * 3, ["zq"]
    tokenizer = Tokenizer.train(often + once, kind, 300, min_frequency=2)
    assert not {"z", "zq", "##q"} & set(tokenizer.tokens(range(263 if kind == "byte_bpe" else 7, tokenizer.vocab_size)))


RUNS = {"letters": "acgt", "lines": "\n", "blanks": " ", "marks": "-=.", "characters": "早餐很", "words": "the dog, "}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("run", RUNS)
def test_time_is_linear_in_a_run_of_any_kind(kind, run):
    def learn_and_read(size):
        units = [RUNS[run]] * size if run == "words" else random.Random(1).choices(RUNS[run], k=size)
        text = f"x{''.join(units)[:size]}"
        tokenizer = Tokenizer.train([text, "the end"], kind, 300)
        ids = tokenizer.encode(text)
        if kind in ("byte_bpe", "unigram", "char"):
            assert tokenizer.decode(ids) == text

    # With the square of the length, eight times the text took 64 times as long.
    limit = 25 * processor_seconds(lambda: learn_and_read(10_000), enough=0.0) + 0.5
    assert processor_seconds(lambda: learn_and_read(80_000), limit) < limit


@pytest.mark.parametrize("kind", ["word", "byte_bpe", "wordpiece", "unigram"])
def test_much_text_is_learned_from_by_a_sample_and_that_is_said(kind, monkeypatch, caplog):
    monkeypatch.setattr("groundup.text.pieces._TEXT", 2000)
    lines = [f"common {'early' if number < 900 else 'late'} line number {number}" for number in range(1000)]
    caplog.set_level("INFO")
    tokenizer = Tokenizer.train(iter(lines), kind, 330)
    assert "tokenizer: learned from" in caplog.text and "evenly spread" in caplog.text
    assert tokenizer.decode(tokenizer.encode("common line number early late")) == "common line number early late"
    sampled = Sample(lines, 2000, 1 << 20)
    assert 1000 < sum(map(len, sampled.texts)) <= 2000 and sampled.characters == sum(map(len, lines))
    places = [lines.index(text) for text in sampled.texts]
    assert len({later - earlier for earlier, later in itertools.pairwise(places)}) == 1  # evenly spread
    assert Sample(lines, 1 << 20, 1 << 20).texts == lines and Sample(lines, 1 << 20, 500).share < 0.2


def test_large_rows_are_fast_for_characters():
    tokenizer = Tokenizer.train(ENGLISH, "char", 300)
    text = ENGLISH[0] * 25_000  # 1.1 MB in one row
    assert len(tokenizer.encode(text)) == len(text)
    assert processor_seconds(lambda: tokenizer.encode(text), enough=1.5) < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_same_texts_give_the_same_tokenizer_in_another_process(kind):
    texts = [f"{a} {b} {a[::-1]}{b}" for a in ENGLISH + CHINESE for b in ENGLISH + CHINESE]
    code = (
        "import json, sys; from groundup.text.tokenizer import Tokenizer; "
        "print(Tokenizer.train(json.load(sys.stdin), sys.argv[1], 290).fingerprint)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, kind], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == Tokenizer.train(texts, kind, 290).fingerprint


def test_one_pass_iterators_are_enough():
    for kind in KINDS:
        expected = Tokenizer.train(ENGLISH, kind, 300).fingerprint
        assert Tokenizer.train(iter(ENGLISH), kind, 300).fingerprint == expected


def test_spec_trains_once_for_the_same_text(tmp_path):
    passes = []

    def texts():
        passes.append(1)
        return iter(ENGLISH)

    spec, cache = TokenizerSpec("word", 100), Cache(tmp_path)
    first = spec.build(texts, cache, fingerprint="abc")
    count = len(passes)
    assert spec.build(texts, cache, fingerprint="abc").fingerprint == first.fingerprint
    assert len(passes) == count > 0
    assert TokenizerSpec("word", 9).build(texts, cache, fingerprint="abc").vocab_size == 9
    other = spec.build(lambda: CHINESE, cache)
    assert other.fingerprint != first.fingerprint
    assert spec.build(lambda: ENGLISH, cache).fingerprint == first.fingerprint


def test_spec_loads_a_given_file(tmp_path):
    trained = Tokenizer.train(ENGLISH, "char", 50)
    trained.save(tmp_path / "mine.json")
    spec = TokenizerSpec("byte_bpe", path=str(tmp_path / "mine.json"))
    assert spec.build(list, Cache(tmp_path)).fingerprint == trained.fingerprint


def test_messages_say_what_to_type(tmp_path):
    with pytest.raises(UserError, match=r"try tokenizer\.vocab_size=1024"):
        Tokenizer.train(ENGLISH, "byte_bpe", 100)
    with pytest.raises(UserError, match="train split is empty"):
        Tokenizer.train([], "word", 100)
    with pytest.raises(UserError, match="choose one of char, word"):
        Tokenizer.train(ENGLISH, "words", 100)
    with pytest.raises(UserError, match=r"tokenizer\.path=null"):
        Tokenizer.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match=r"not a tokenizer\.json"):
        Tokenizer.load(tmp_path / "bad.json")
    import tokenizers

    foreign = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    foreign.save(str(tmp_path / "foreign.json"))
    with pytest.raises(UserError, match=r"none of those that this version writes.*tokenizer\.path=null"):
        Tokenizer.load(tmp_path / "foreign.json")


DIGITS = "0123456789"


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "wordpiece", "word"])
def test_split_digits_gives_every_digit_a_token(kind):
    texts = ["in 1999 and 2001", "2001年3月", "page 20 of 1999"] * 4
    tokenizer = Tokenizer.train(texts, kind, 400, split_digits=True)
    tokens = tokenizer.tokens(tokenizer.encode("in 1999 and 19")) + tokenizer.tokens(tokenizer.encode("2001年"))
    assert "".join(c for token in tokens for c in token if c in DIGITS) == "1999192001"
    assert all(sum(c in DIGITS for c in token) <= 1 for token in tokens)
    joined = Tokenizer.train(texts, kind, 400)
    assert any(sum(c in DIGITS for c in token) > 1 for token in joined.tokens(joined.encode("in 1999")))
    assert tokenizer.decode(tokenizer.encode("in 1999 and 2001")) == "in 1999 and 2001"


@pytest.mark.parametrize("kind", KINDS)
def test_further_text_adds_to_a_vocabulary(kind):
    further = ["quixotic zebras vex 7 jumps, éß"] * 6
    alone, both = (Tokenizer.train(ENGLISH * 3, kind, 700, further=more) for more in ((), further))
    unknown = [tokenizer.encode(further[0]).count(tokenizer.unk_id) for tokenizer in (alone, both)]
    assert unknown[1] == 0 and (unknown[0] > 0 or kind == "byte_bpe")
    assert len(both.encode(further[0])) <= len(alone.encode(further[0]))


def test_words_of_further_text_come_after_all_of_the_texts_themselves():
    texts = ["once rare and rare once"]
    further = ["often seen " * 9 + "thrice thrice thrice"]
    tokenizer = Tokenizer.train(texts, "word", 20, further=further)
    words = tokenizer.tokens(range(7, tokenizer.vocab_size))
    assert {*words[:3]} == {"once", "rare", "and"} and words[3:] == ["often", "seen"]
    assert Tokenizer.train(texts, "word", 11, further=further).vocab_size == 11
