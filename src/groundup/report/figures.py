"""The pictures of a page as SVG files for papers, each with its title, its legend and its colours, on white."""

from __future__ import annotations

import re
import unicodedata
from importlib.resources import files
from pathlib import Path

from groundup.system.files import write_text

_FIGURE = re.compile(r"<figure[^>]*>(.*?)</figure>", re.DOTALL)
_SVG = re.compile(r"<svg([^>]*)>(.*)</svg>", re.DOTALL)
_KEY = re.compile(r'<span class="key ([\w ]+)">(.*?)</span>', re.DOTALL)
_AXES = re.compile(r"<span>(.*?)</span>", re.DOTALL)
_SIDE, _ROW, _LETTER = 14, 18, 6.4  # pixels: margin, height of a row above the picture, width of a letter
# Plain rules alone: not every program that reads SVG knows the variables of style.css.
_STYLE = """text{font-family:sans-serif;font-size:11px;fill:#475467}
.title{font-weight:bold;font-size:13px;fill:#1c2430}.mark{font-weight:bold;fill:#1c2430}
.grid{stroke:#e4e7ec}.axis{stroke:#667085}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.faint{opacity:.28;stroke-width:1}.spread{opacity:.5;stroke-width:1.3}.even{stroke-dasharray:4 4;stroke-width:1.2}
.dashed{stroke-dasharray:5 3}.cloud{fill-opacity:.35}.best{fill:#fff;stroke-width:2}.field{fill:none;stroke:#e4e7ec}"""


def write_figures(page: Path, folder: Path) -> list[Path]:
    """Writes each picture of a page of ours into ``folder``, named by its title; returns the files. Tables are none."""
    written: dict[str, Path] = {}
    for content in _FIGURE.findall(page.read_text(encoding="utf-8")):
        if (svg := _SVG.search(content)) is None:
            continue
        caption = re.search(r"<b>(.*?)</b>", content, re.DOTALL)
        label = re.search(r'aria-label="([^"]*)"', svg[1])
        title = caption[1] if caption else label[1] if label else "figure"
        name = first = _file_name(title)
        number = 1
        while name in written:
            number += 1
            name = f"{first}_{number}"
        written[name] = folder / f"{name}.svg"
        axes = _AXES.search(content) if caption else None
        write_text(written[name], _alone(svg[1], svg[2], title, axes[1] if axes else "", _KEY.findall(content)))
    return list(written.values())


def _alone(attributes: str, inside: str, title: str, axes: str, keys: list[tuple[str, str]]) -> str:
    """A picture that needs no page around it; ``axes``: what they are, where their figures do not say it. All that it
    takes from the page is markup of ours, or made harmless there."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', attributes)
    assert box is not None, "every picture of ours has a viewBox"
    width, height = float(box[1]), float(box[2])
    y = 3 if axes else 2
    legend, x = [f'<text x="{_SIDE}" y="{2 * _ROW - 5}">{axes}</text>'] if axes else [], float(_SIDE)
    for colour, text in keys:
        wide = 24 + _LETTER * len(text) + _SIDE
        if x + wide > width and x > _SIDE:
            x, y = float(_SIDE), y + 1
        at = y * _ROW - 5
        legend.append(
            f'<path class="line {colour}" d="M{x:.1f} {at - 4}h14"/><text x="{x + 20:.1f}" y="{at}">{text}</text>'
        )
        x += wide
    top = (y if keys else y - 1) * _ROW + 6
    head = f'<text class="title" x="{_SIDE}" y="{_ROW - 3}">{title}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height + top:g}" '
        f'viewBox="0 0 {width:g} {height + top:g}"><style>{_STYLE}{_colours()}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{head}{"".join(legend)}'
        f'<g transform="translate(0 {top})">{inside}</g></svg>\n'
    )


def _colours() -> str:
    """Rules for the names of colours, as the style sheet has them in its light form."""
    sheet = files("groundup.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    variables = dict(re.findall(r"--([\w-]+): (#\w+);", sheet[: sheet.index("@media")]))
    named = re.findall(r"^\.(\w+) \{ --line: (?:var\(--([\w-]+)\)|(#\w+)); \}", sheet, re.MULTILINE)
    found = {name: variables.get(variable, plain) for name, variable, plain in named}
    rules = [
        f".line.{name},.best.{name}{{stroke:{colour}}}.dots.{name}{{fill:{colour}}}" for name, colour in found.items()
    ]
    return "".join(rules) + f".weight{{fill:{variables['one']}}}"


def _file_name(title: str) -> str:
    plain = unicodedata.normalize("NFKC", re.sub(r"&#?\w+;", " ", title)).lower()
    return re.sub(r"\W+", "_", plain).strip("_")[:60] or "figure"
