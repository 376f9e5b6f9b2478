"""Where a decoder looked in its source while it wrote: heat maps as inline SVG."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape

_CELL = 18  # pixels
_LONGEST = 60  # tokens on a side; more are cut
_MAPS = 12
_LETTER, _WIDE = 8.2, 13.0  # pixels a character takes
_FAINT = 0.01  # weights below are not drawn


def attention_maps(maps: Sequence[Mapping]) -> str:
    """One map a text: source tokens across, tokens written down; the depth of colour is the square root of the weight, so that
    a little shows.

    Args:
        maps: ``{"source": [S tokens], "target": [U tokens], "weights": [[S numbers] for each of U]}``.
    """
    shown = [
        _map(one["source"], one["target"], one["weights"]) for one in maps[:_MAPS] if one["source"] and one["target"]
    ]
    note = (
        "Across: the source. Down: what the decoder wrote. The darker, the more weight on that place of the source; "
        "each row adds up to 1. Of the pointer where there is one, else of the top layer, mean over heads."
    )
    return f'<p class="note">{note}</p><div class="maps">{"".join(shown)}</div>'


def _map(source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    across, down = [_shown(token) for token in source[:_LONGEST]], [_shown(token) for token in target[:_LONGEST]]
    left = max(map(_width, down)) + 10
    top = max(_width(token) for token in across) * 0.71 + 18  # labels rise at 45 degrees
    last = max(_CELL * i + _width(token) * 0.71 for i, token in enumerate(across))
    width, height = left + max(_CELL * len(across), last + _CELL) + 4, top + _CELL * len(down) + 4
    parts = [
        f'<text transform="translate({left + _CELL * i + 12:.0f} {top - 6:.0f}) rotate(-45)">{escape(token)}</text>'
        for i, token in enumerate(across)
    ]
    parts.append(
        f'<rect class="field" x="{left:.0f}" y="{top:.0f}" width="{_CELL * len(across)}" height="{_CELL * len(down)}"/>'
    )
    for u, token in enumerate(down):
        y = top + _CELL * u
        parts.append(f'<text x="{left - 6:.0f}" y="{y + 13:.0f}" text-anchor="end">{escape(token)}</text>')
        for s, weight in enumerate(weights[u][: len(across)]):
            if weight is not None and weight >= _FAINT:
                title = f"{escape(token)} ← {escape(across[s])}: {weight:.2f}"
                parts.append(
                    f'<rect class="weight" x="{left + _CELL * s:.0f}" y="{y:.0f}" width="{_CELL}" height="{_CELL}" '
                    f'fill-opacity="{min(weight, 1) ** 0.5:.2f}"><title>{title}</title></rect>'
                )
    cut = [side for side, tokens in (("source", source), ("target", target)) if len(tokens) > _LONGEST]
    caption = (
        f"<figcaption><span>the first {_LONGEST} tokens of the {' and the '.join(cut)}</span></figcaption>"
        if cut
        else ""
    )
    return (
        f'<figure class="map"><svg width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="cross-attention">{"".join(parts)}</svg>{caption}</figure>'
    )


def _shown(token: str) -> str:
    """A token as it can be seen: blanks by their signs, long ones cut."""
    token = re.sub(r"[\n\r]", "↵", token)
    token = re.sub(r"\s", "␣", token) or "∅"
    return token if len(token) <= 16 else token[:15] + "…"


def _width(text: str) -> float:
    """Pixels of a text, about: Chinese, Japanese and Korean characters are twice as wide."""
    return sum(_WIDE if unicodedata.east_asian_width(character) in "WF" else _LETTER for character in text)
