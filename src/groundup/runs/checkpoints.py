"""Checkpoints are data, not code: checked for damage and for size, then read without running anything in them."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from groundup.errors import UserError
from groundup.system.files import require_regular

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
# What a checkpoint may name besides plain values. torch.load knows more, and some of it asks for any amount of memory.
_NAMES = re.compile(
    r"torch \w+Storage|torch (Size|device|u?int\d+|b?float\d+|bool)|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|collections (OrderedDict|defaultdict)|__builtin__ set|builtins set|_codecs encode"
)
_MOST_PICKLE = 32 << 20  # bytes of everything that is no tensor
_MOST_VALUES, _MOST_DEPTH = 10_000_000, 100


def damage(path: Path) -> str | None:
    """What is wrong with the file, or None. ``torch.load`` does not notice a flipped bit; the CRC-32 of the zip does."""
    try:
        require_regular(path)
        with zipfile.ZipFile(path) as archive:
            if inflated := _inflated(archive, path):
                return inflated
            broken = archive.testzip()
    except FileNotFoundError:
        return "it does not exist"
    except UserError as error:
        return str(error)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"it is not a complete checkpoint ({str(error) or type(error).__name__})"
    return f"its part {broken} is damaged" if broken else _unreadable(path)


def _unreadable(path: Path) -> str | None:
    """What torch's own reader, which is stricter about the list of parts than Python's, says of the file."""
    import torch

    try:
        with open(path, "rb") as file:  # torch takes no path that is not UTF-8
            torch._C.PyTorchFileReader(file)
    except RuntimeError as error:
        return f"it is not a complete checkpoint ({_reason(error)})"
    return None


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu", mmap: bool = False) -> dict:
    """The content of a checkpoint: tensors and plain values only. It takes no more memory than the file has bytes.

    ``mmap``: tensors are read from the disk only when they are used, and their part is not checked for damage.

    Raises:
        UserError: the file is missing or damaged, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if not mmap and (problem := damage(path)):
        raise UserError(f"cannot read {path}: {problem}. Try another checkpoint of {path.parent}")
    import torch

    try:
        require_plain(path)
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
        _require_finite_size(content)
    except (pickle.UnpicklingError, zipfile.BadZipFile, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"refused to load {path}: it holds more than tensors and plain values ({_reason(error)}). "
            "Nothing in it was run. Use a checkpoint made by groundup"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}, not a dict")
    return content


def require_finite(weights: Mapping[str, Any], path: Path) -> None:
    """Raises UserError for weights of the checkpoint ``path`` that are NaN or infinite: such a model says nothing."""
    import torch

    for name, weight in weights.items():
        if isinstance(weight, torch.Tensor) and not torch.isfinite(weight).all():
            raise UserError(
                f"{path}: {name} holds NaN or infinity, and answers of such a model mean nothing. "
                f"Try another checkpoint of {path.parent}, or train anew with a smaller optimizer.lr"
            )


def require_plain(path: Path) -> None:
    """Raises ValueError unless the archive is stored as it is and names only what tensors and plain values need."""
    require_regular(path)
    with zipfile.ZipFile(path) as archive:
        if inflated := _inflated(archive, path):
            raise ValueError(inflated)
        for part in archive.infolist():
            if part.filename.endswith(".pkl"):
                if part.file_size > _MOST_PICKLE:
                    raise ValueError(f"{part.file_size:,} bytes of plain values")
                for name in _named(archive.read(part)):
                    if not _NAMES.fullmatch(name):
                        raise ValueError(f"unsupported {name.replace(' ', '.')}")


def _inflated(archive: zipfile.ZipFile, path: Path) -> str | None:
    """What shows that reading the archive takes more memory than the file has bytes, or None."""
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        return "it is compressed, and a checkpoint never is"
    if sum(part.file_size for part in parts) > path.stat().st_size:
        return "its parts are larger than the whole"
    return None


def _named(code: bytes) -> Iterator[str]:
    """``module name`` of everything that a pickle would look up."""
    for opcode, argument, _ in pickletools.genops(code):
        if opcode.name == "GLOBAL":
            yield str(argument)
        elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            yield opcode.name


def _require_finite_size(content: Any) -> None:
    """Raises ValueError for values that grow when they are walked or copied.

    These are tensors larger than what is stored for them, and containers that hold each other again and again.
    """
    import torch

    sizes: dict[int, int] = {}  # values in a container, everything below it counted

    def size(value: Any, depth: int) -> int:
        if isinstance(value, torch.Tensor):
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of {tuple(value.shape)} with {value.untyped_storage().nbytes():,} bytes")
            return 1
        if not isinstance(value, dict | list | tuple | set):
            return 1
        if id(value) not in sizes:
            if depth > _MOST_DEPTH:
                raise ValueError("values nested too deeply")
            sizes[id(value)] = _MOST_VALUES  # what holds itself
            children = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(size(child, depth + 1) for child in children)
            if sizes[id(value)] > _MOST_VALUES:
                raise ValueError("too many values")
        return sizes[id(value)]

    size(content, 0)


def _reason(error: Exception) -> str:
    """The informative line of torch's page-long message."""
    text = str(error)
    said = re.search(r"unsupported [^\n]*|WeightsUnpickler error: [^\n]*", text, re.IGNORECASE)
    return said[0][:120].rstrip(". ") if said else (text.split("\n")[0][:120].rstrip(". ") or type(error).__name__)
