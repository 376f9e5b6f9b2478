"""Tokens of raw text for metrics, whatever the script."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

_HAN = "\u2e80-\u2fdf\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u309f\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
# One Han, kana or Hangul character, or a run of other letters and digits.
_TOKEN = re.compile(rf"[{_HAN}{_KANA}{_HANGUL}]|[^\W_{_HAN}{_KANA}{_HANGUL}]+")
_SCRIPTS = {name: re.compile(f"[{letters}]") for name, letters in (("zh", _HAN), ("ja", _KANA), ("ko", _HANGUL))}
_LETTER = re.compile(r"[^\W\d_]")

Script = Literal["zh", "ja", "ko", "other"]


def tokens(text: str) -> list[str]:
    """Lower-cased words and numbers, and each Chinese, Japanese or Korean character by itself; no punctuation.

    On ASCII text these are the tokens of the ``rouge-score`` package without stemming.
    """
    return _TOKEN.findall(unicodedata.normalize("NFC", text.lower()))


def script(texts: Iterable[str]) -> Script:
    """What most of the texts are written in: Chinese, Japanese, Korean, or a script that parts its words (``other``).

    A fifth of the letters decides, as such texts hold Latin names too. Japanese is told from Chinese by its kana.
    """
    text = "".join(texts)
    letters = len(_LETTER.findall(text))
    han, kana, hangul = (len(pattern.findall(text)) for pattern in _SCRIPTS.values())
    if hangul > letters / 5:
        return "ko"
    if han + kana <= letters / 5:
        return "other"
    return "ja" if kana > (han + kana) / 20 else "zh"


def ngrams(sequence: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``n`` tokens occurs."""
    return Counter(zip(*(sequence[start:] for start in range(n)), strict=False))
