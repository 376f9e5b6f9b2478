"""Checkpoints are data, not code: checked for damage, then read without running anything in them."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from pathlib import Path

from groundup.errors import UserError


def damage(path: Path) -> str | None:
    """What is wrong with the file, or None. ``torch.load`` does not notice a flipped bit; the CRC-32 of the zip does."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except FileNotFoundError:
        return "it does not exist"
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        return f"it is not a complete checkpoint ({str(error) or type(error).__name__})"
    return f"its part {broken} is damaged" if broken else None


def load_checkpoint(path: str | os.PathLike[str]) -> dict:
    """The content of a checkpoint on the CPU: tensors and plain values only.

    Raises:
        UserError: the file is missing or damaged, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if problem := damage(path):
        raise UserError(f"cannot read {path}: {problem}. Try another checkpoint of {path.parent}")
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"refused to load {path}: it holds more than tensors and plain values ({_reason(error)}). "
            "Nothing in it was run. Use a checkpoint made by groundup"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}, not a dict")
    return content


def _reason(error: Exception) -> str:
    """The informative line of torch's page-long message."""
    said = re.search(r"unsupported [^\n]*|WeightsUnpickler error: [^\n]*", str(error), re.IGNORECASE)
    return said[0][:120].rstrip(". ") if said else type(error).__name__
