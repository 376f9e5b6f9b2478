"""Texts and plain values as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from groundup.report.charts import number


def key_values(values: Mapping) -> str:
    """A table of names and plain values; nested ones become ``outer.inner``."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(_plain(value))}</td></tr>" for name, value in _flat(values))
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def text_cell(value: object, most: int = 280) -> str:
    """Text on one line; what is beyond ``most`` characters is folded away."""
    text = " ".join(str(value).split())
    if len(text) <= most:
        return escape(text)
    return f"<details><summary>{escape(text[:most])} …</summary>{escape(text[most:4000])}</details>"


def _flat(values: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat += _flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return flat


def _plain(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "–" if value is None else str(value)
