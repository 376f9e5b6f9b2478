"""Cleaning of raw text, all of it off unless asked for."""

from __future__ import annotations

import html as html_entities
import re
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any, Literal

# Function words: they hold a sentence together and say little of its topic.
STOP_WORDS = {
    "en": frozenset(
        """a an the this that these those i me my we us our you your he him his she her it its they them their who whom
        whose which what am is are was were be been being have has had having do does did doing will would shall should
        can could may might must and or but nor so if then than because while as until of at by for with about against
        between into through during before after above below to from up down in out on off over under again once here
        there when where why how all any both each few more most other some such own same too very just also not no
        only""".split()
    ),
    "zh": frozenset(
        """的 了 着 过 地 得 是 在 有 和 与 及 或 而 且 并 但 但是 而且 或者 以及 因为 所以 如果 虽然 然而 于是
        我 你 您 他 她 它 我们 你们 他们 她们 它们 自己 这 那 这个 那个 这些 那些 这样 那样 哪 谁 什么 怎么
        吗 呢 吧 啊 呀 嘛 哦 就 都 也 还 又 再 才 把 被 让 给 对 对于 关于 从 到 向 往 由 于 以 为 为了 之 其
        将 会 能 可以 很 太 更 最 一个 一些""".split()
    ),
}
_HIDDEN = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(r"</?(?:p|div|br|li|ul|ol|tr|table|h[1-6]|blockquote|section|article)\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r" ?\n(?: ?\n)* ?")
_WORD = re.compile(r"\w+")
_HALF = re.compile("[\ud800-\udfff]")
# Chinese has no spaces to find words by: at each place the longest stop word goes, even inside a longer word.
_CHINESE = re.compile("|".join(sorted(STOP_WORDS["zh"], key=lambda word: (-len(word), word))))


def valid_unicode(text: str) -> str:
    """Replace lone surrogates (half characters, from broken JSON escapes or shell bytes) by U+FFFD."""
    if text.isascii() or not _HALF.search(text):  # no copy, of a text of any size
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True)
class Clean:
    """``str -> str``. Steps run in the order of the fields; with every default the text is returned as it is.

    unicode: NFC joins letters and accents; NFKC also makes full-width and ligatures plain (it loses information).
    html: drop tags, scripts and comments; block tags become a line break; entities become characters.
    whitespace: runs of blanks become one space, runs of line breaks one line break; ends are stripped.
    lowercase: ``str.lower``.
    stop_words: remove the function words of a language (``en``: whole words; ``zh``: by longest match).
    """

    unicode: Literal["NFC", "NFKC"] | None = None
    html: bool = False
    whitespace: bool = False
    lowercase: bool = False
    stop_words: Literal["en", "zh"] | None = None

    def __call__(self, text: str) -> str:
        if self.unicode:
            text = unicodedata.normalize(self.unicode, text)
        if self.html:
            text = _BLOCK.sub("\n", _HIDDEN.sub("", text))
            text = html_entities.unescape(_TAG.sub("", text))
        if self.lowercase:
            text = text.lower()
        if self.stop_words == "en":
            text = _WORD.sub(lambda match: "" if match[0].lower() in STOP_WORDS["en"] else match[0], text)
        elif self.stop_words == "zh":
            text = _CHINESE.sub("", text)
        # Removed words leave their blanks behind, so stop_words="en" tidies up after itself.
        if self.whitespace or self.stop_words == "en":
            text = _BLANK_LINES.sub("\n", _SPACES.sub(" ", text)).strip()
        return text

    def as_dict(self) -> dict[str, Any]:
        """The settings, for cache keys."""
        return asdict(self)
