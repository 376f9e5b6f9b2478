"""What was typed, in the quotes that Hydra's grammar asks for: ``data.text=评论`` and ``data.train=a (1).csv`` work as they are.

Hydra's own syntax keeps its meaning: numbers, ``true``, ``null``, lists, dicts, ``'quoted text'``, ``${key}``, functions
such as ``range(1,5)``, and with ``-m`` the comma between the values of a sweep. All else is text, character by character.
https://hydra.cc/docs/advanced/override_grammar/basic/
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from groundup.errors import UserError

TEXTS = ("prompt", "prefix")  # values that are text whatever they look like: prompt=5, prompt=[x]
# What people write, and what Hydra 1.3 understands.
ALIASES = {
    "+experiment=": "experiment=",
    "hydra.launcher=": "hydra/launcher=",
    "launcher=": "hydra/launcher=",
    "launcher.": "hydra.launcher.",
    "hydra.sweeper=": "hydra/sweeper=",
}
OF_SWEEPS = {"sweep=": "hydra/sweeper=", "sweep.": "hydra.sweeper."}  # with -m; else sweep= names the folder of one
TAKE_A_WORD = ("-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir")
OVERRIDE = re.compile(r"([+~]{0,2}[\w./@:$-]+)=(.+)", re.ASCII | re.DOTALL)
PLAIN = re.compile(r"[\w/\-+.$%*@?|:]*", re.ASCII)  # Hydra reads these characters as they are
NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?")
CONSTANT = re.compile(rf"{NUMBER.pattern}|[+-]?inf|nan|true|false|null", re.IGNORECASE)
INTERPOLATION = re.compile(r"(?<!\\)\$\{[^{}]*[^{}\s][^{}]*\}")
FUNCTIONS = "int str bool float choice range interval tag sort shuffle glob".split()  # those of Hydra's grammar


def quoted(words: Sequence[str], sweep: bool = False) -> list[str]:
    """A command line as Hydra must see it; quoting it again changes nothing. Flags and words without ``=`` stay.

    Args:
        words: what stands after the verb.
        sweep: a comma separates the values of several runs (``-m``). Without it a comma is a character of a text; only
            numbers, and names of a group's choices, are left for Hydra to refuse.
    """
    return [
        word if previous in TAKE_A_WORD else quoted_word(word, sweep)
        for previous, word in zip(["", *words], words, strict=False)
    ]


def quoted_word(word: str, sweep: bool) -> str:
    for short, full in (ALIASES | (OF_SWEEPS if sweep else {})).items():
        if word.startswith(short):
            word = full + word.removeprefix(short)
            break
    match = OVERRIDE.fullmatch(word)
    if match is None:
        return word
    key, value = match.groups()
    if key in TEXTS:
        parts = parted(value) if sweep else [value]
        return f"{key}={','.join(literal(part.strip() if sweep else part) for part in parts)}"
    if PLAIN.fullmatch(value):
        return word
    if sweep:
        return f"{key}={','.join(element(part.strip()) for part in parted(value))}"
    return word if "," in value and are_several(key, value.split(",")) else f"{key}={element(value)}"


def typed(word: str) -> str:
    """A word as it was typed, of one that ``quoted`` may have put in quotes."""
    key, equals, value = word.partition("=")
    plain = f"{key}={value[1:-1]}".replace(r"\'", "'")
    return plain if equals and len(value) > 1 and is_quoted(value) and quoted_word(plain, False) == word else word


def shell_word(word: str) -> str:
    """A word ready to paste into a shell; letters of any script need no quotes there."""
    return word if word.endswith("=...") or re.fullmatch(r"[\w@%+=:,./-]+", word) else shlex.quote(word)


def element(text: str) -> str:
    """One value: as it is where Hydra reads it as something of its own, else in quotes."""
    inner = text.strip()
    if (inner == text and PLAIN.fullmatch(text)) or CONSTANT.fullmatch(inner) or is_quoted(inner) or is_call(inner):
        return text
    if inner[:1] == "[" and inner[-1:] == "]":
        return f"[{','.join(element(part.strip()) for part in parted(inner[1:-1]))}]"
    if inner[:1] == "{" and inner[-1:] == "}":
        pairs = [part.partition(":") for part in parted(inner[1:-1])]
        return "{" + ",".join(f"{key}{colon}{element(value.strip())}" for key, colon, value in pairs) + "}"
    return literal(text, interpolate=bool(INTERPOLATION.search(text)))


def literal(text: str, interpolate: bool = False) -> str:
    """Text in quotes, each character itself, and ``${key}`` too unless ``interpolate``."""
    if is_quoted(text):
        return text
    if not interpolate:
        text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)  # in Hydra's quotes a backslash counts before a quote only
    text = re.sub(r"(\\+)\Z", r"\1\1", text)
    return f"'{text}'"


def is_quoted(text: str) -> bool:
    """Whether the quote that a text begins with is closed by its last character."""
    return text[:1] in ("'", '"') and closing_quote(text, 0) == len(text) - 1


def is_call(text: str) -> bool:
    """``range(1,5)``; a file may be called ``data(1)``."""
    name, bracket, _ = text.partition("(")
    return bool(bracket) and text[-1] == ")" and name.strip() in FUNCTIONS


def are_several(key: str, parts: Sequence[str]) -> bool:
    """Whether what stands between commas cannot be one text: numbers, or choices of a group."""
    from groundup.config.files import conf_dir

    numbers = all(CONSTANT.fullmatch(part.strip()) for part in parts)
    return numbers or (conf_dir() / key.lstrip("+").partition("@")[0]).is_dir()


def parted(text: str) -> list[str]:
    """``text`` at the commas that stand in no bracket and in no quotes."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        letter = text[position]
        opens = letter in "'\"" and text[position - 1 : position].strip(" [{(:,=") == ""  # not the ' of it's
        if opens and (end := closing_quote(text, position)) is not None:
            position = end
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth <= 0:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def closing_quote(text: str, start: int) -> int | None:
    """Where the quote that opens at ``start`` is closed, if it is."""
    position = start + 1
    while position < len(text):
        if text[position] == text[start]:
            return position
        position += 2 if text[position] == "\\" else 1
    return None


NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*")  # of a choice: below the folders of configurations, never beside them


def inert(overrides: Iterable[str]) -> list[str]:
    """The same overrides with ``${`` as text, for ``compose``; they set keys and make choices, and nothing else.

    Raises:
        UserError: one that cannot be read, that sweeps, sets a key of Hydra's, or takes a choice from another folder.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, safe = OverridesParser.create(), []
    for override in quoted([*overrides]):
        try:
            parsed = parser.parse_override(override)
        except HydraException:
            raise UserError(f"{override}: cannot be read as KEY=VALUE") from None
        key, value = parsed.key_or_group, parsed.value()
        if not key or re.match(r"hydra\b", key) or parsed.is_sweep_override():
            raise UserError(f"{override}: only KEY=VALUE of the stage can stand here. Leave it out")
        if is_group(key) and not all(NAME.fullmatch(name) for name in names(value)):
            raise UserError(f"{override}: {key} is chosen by a name")
        head, equals, _ = override.partition("=")
        safe.append(f"{head}={written(value)}" if equals else head)
    return safe


def is_group(key: str) -> bool:
    from groundup.config.files import conf_dir, extra_config_dirs

    folders = [conf_dir(), *(Path(name.removeprefix("file://")) for name in extra_config_dirs())]
    return any((folder / key).is_dir() for folder in folders)


def names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else [] if value is None else [str(value)]


def written(value: Any) -> str:
    """A parsed value in Hydra's grammar again, each text in quotes."""
    if isinstance(value, list):
        return f"[{','.join(written(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    # An even number of backslashes would leave OmegaConf's interpolation as it is.
    text = re.sub(r"(\\*)\$\{", lambda found: found[0] if len(found[1]) % 2 else f"{found[1]}\\${{", value)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)  # in Hydra's quotes a backslash counts before a quote only
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", text) + "'"
