"""Files of weights that others read and write: ``.safetensors``, tensor by tensor.

Eight bytes with the size of a JSON header, the header (name -> dtype, shape and place), then the numbers. Nothing in it can
run. Source: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from groundup.errors import UserError
from groundup.system.files import no_link, require_regular

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CODES = {dtype: code for code, dtype in TYPES.items()}
_MOST_HEADER = 16 << 20  # bytes


class Place(NamedTuple):
    """Where a tensor lies: its file, first byte, dtype and shape."""

    file: Path
    begin: int
    dtype: torch.dtype
    shape: tuple[int, ...]


def places_in(file: Path) -> dict[str, Place]:
    """The tensors of a file by name; no number is read.

    Raises UserError for a file that is a link or damaged, for types other than float32 and its halves, and where sizes and
    places do not agree with the file's own size.
    """
    try:
        require_regular(file)
        with open(file, "rb", opener=no_link) as opened:
            size = file.stat().st_size
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or length > min(size - 8, _MOST_HEADER):
                raise ValueError(f"its header has {length:,} bytes, and the file {size:,}")
            header = json.loads(opened.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is no table")
        header.pop("__metadata__", None)
        return {str(name): _place(file, 8 + length, size, name, entry) for name, entry in header.items()}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise UserError(f"{file} cannot be read: {said}. Get a whole copy of it") from None


def _place(file: Path, start: int, size: int, name: str, entry: Mapping) -> Place:
    shape, (begin, end), code = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(f"{name} has no shape")
    if code not in TYPES:
        raise ValueError(f"{name} is {code!s:.20}, and {', '.join(TYPES)} are read")
    if end - begin != math.prod(shape) * TYPES[code].itemsize or start + end > size:
        raise ValueError(f"{name} of shape {shape!s:.60} does not lie in its {size:,} bytes")
    return Place(file, start + begin, TYPES[code], tuple(shape))


def read(place: Place, into: Tensor | None = None) -> Tensor:
    """One tensor, in its own dtype, or ``into`` a contiguous one of its size. Raises UserError where the file ends too early."""
    numbers = torch.empty(math.prod(place.shape), dtype=place.dtype) if into is None else into.view(-1)
    assert numbers.dtype == place.dtype and numbers.numel() == math.prod(place.shape)
    if numbers.numel():
        with open(place.file, "rb", opener=no_link) as opened:
            opened.seek(place.begin)
            if opened.readinto(numbers.view(torch.uint8).numpy().data) != numbers.nbytes:
                raise UserError(f"{place.file} became shorter while it was read. Get a whole copy of it")
    return numbers.view(place.shape)


def write(file: Path, shapes: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], get: Callable[[str], Tensor]) -> None:
    """Writes tensors by name; ``get`` brings each when its turn comes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # what Transformers asks for
    end = 0
    for name, (dtype, shape) in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "xb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for name, (dtype, shape) in shapes.items():
            tensor = get(name).detach().contiguous()
            assert (tensor.dtype, tuple(tensor.shape)) == (dtype, tuple(shape)), name
            if tensor.numel():
                opened.write(tensor.flatten().view(torch.uint8).numpy().data)


def places_of(folder: Path, files: Iterable[Path]) -> dict[str, Place]:
    """The tensors of several files. Raises UserError for a name that two of them have, and as ``places_in``."""
    found: dict[str, Place] = {}
    for file in files:
        part = places_in(file)
        if twice := found.keys() & part.keys():
            raise UserError(f"{folder} holds {min(twice)} twice, in {found[min(twice)].file.name} and {file.name}")
        found |= part
    return found
