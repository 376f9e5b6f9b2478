"""Text from elsewhere on a terminal: a file name, a label or a generated text must not move the cursor or worse."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def visible(text: str) -> str:
    r"""``text`` with control characters written out (``\x1b``), line breaks and tabs aside."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
