"""JSON lines: one object a line. https://jsonlines.org"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundup.data.formats.text import open_text
from groundup.data.reading import Located, Reading
from groundup.errors import UserError

SUFFIXES = (".jsonl",)
OPTIONS = ("encoding",)
COLUMNS = ()


def read(path: Path, reading: Reading) -> Iterator[Located]:
    """Objects in the order of their lines; empty lines are none. Raises UserError for a line that is no object."""
    with open_text(path, reading.encoding) as file:
        for number, line in enumerate(file, 1):
            where = f"{path} line {number}"
            if not line.strip():
                continue
            try:
                row = _JSON.decode(line)
            except json.JSONDecodeError as error:
                reason = f"{error.msg.removesuffix(' at')} at column {error.colno}"
                advice = "write one object a line" if line.strip() in ("{", "[") else "mend this line"
                raise UserError(f"{where}: broken JSON ({reason}); {advice}") from error
            except ValueError as error:  # a key that stands twice; a number longer than Python reads
                reason = str(error).split(";")[0]
                raise UserError(f"{where}: {reason[0].lower()}{reason[1:]}; mend this line") from error
            except RecursionError as error:
                raise UserError(f"{where}: JSON nested too deeply") from error
            if not isinstance(row, dict):
                kind = "array" if isinstance(row, list) else type(row).__name__
                raise UserError(f'{where}: a JSON {kind}, not an object such as {{"text": "..."}}; one object a line')
            yield where, row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two values for '{next(name for name in names if names.count(name) > 1)}'")
    return row


_JSON = json.JSONDecoder(strict=False, object_pairs_hook=_object)  # strict: no tabs in texts
