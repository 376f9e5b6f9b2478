"""Parquet tables, read by ``pyarrow`` a thousand rows at a time. https://parquet.apache.org"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from groundup.data.formats.text import kind_of
from groundup.data.reading import Located, Reading, refuse_repeated
from groundup.errors import UserError

SUFFIXES = (".parquet",)
OPTIONS = ()
COLUMNS = ()


def read(path: Path, reading: Reading) -> Iterator[Located]:
    """Rows as dicts of plain Python values. Raises UserError for a damaged file, and for two columns of one name."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        refuse_repeated(file.schema_arrow.names, str(path))
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        with open(path, "rb") as start:
            kind = kind_of(path, start.read(32))
        if kind and "parquet" not in kind:
            raise UserError(f"{path} is {kind}") from error
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"{path}: not a parquet file, or a damaged one ({reason}); fetch it again") from error
