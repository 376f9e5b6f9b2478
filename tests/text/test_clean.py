"""Each step does its own thing only, and all are off by default."""

import pytest

from groundup.text.clean import Clean, valid_unicode

MESSY = "  <p>Tom &amp; <b>Ann</b></p>\r\n\n ＡＢＣ e\u0301 \t The END "


def test_everything_is_off_by_default():
    assert Clean()(MESSY) == MESSY


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"unicode": "NFC"}, "e\u0301 Ａ ﬁ", "é Ａ ﬁ"),
        ({"unicode": "NFKC"}, "e\u0301 Ａ ﬁ", "é A fi"),
        ({"html": True}, "a<br/>b <i>c</i> &lt;d&gt; <!-- no -->e", "a\nb c <d> e"),
        ({"html": True}, "<script>var x = '<p>';</script>kept<STYLE>p {}</STYLE>", "kept"),
        ({"html": True}, "1 < 2 and 3 > 2, a <- b", "1 < 2 and 3 > 2, a <- b"),
        ({"whitespace": True}, " a \t b\r\n \n\n c\u3000d ", "a b\nc d"),
        ({"lowercase": True}, "ÄB C中", "äb c中"),
        ({"stop_words": "en"}, "The cat and a dog, not In the house", "cat dog, house"),
        ({"stop_words": "zh"}, "我们的酒店很好", "酒店好"),
    ],
)
def test_each_step(options, text, expected):
    assert Clean(**options)(text) == expected


@pytest.mark.parametrize("options", [{"unicode": "NFKC"}, {"whitespace": True}, {"lowercase": True}, {"html": True}])
def test_cleaning_twice_changes_nothing_more(options):
    clean = Clean(**options)
    assert clean(clean(MESSY)) == clean(MESSY)


def test_lone_surrogates_become_replacement_characters():
    assert valid_unicode("a\ud83db") == "a\ufffdb"
    assert valid_unicode("\ud83d\ude00") == "😀"
    assert valid_unicode("é中😀") == "é中😀"


def test_settings_are_part_of_the_key():
    assert Clean(html=True).as_dict() != Clean().as_dict()
