"""Rows of a Parquet file as lines of CSV, below a line that names the columns.

So whatever reads a table reads it, and writes it as CSV, one row at a time.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from charlm.errors import TextError
from charlm.text.streaming import Line

_MAGIC = b"PAR1"
_ROWS = 1_000  # at a time
_BLOCK = 2**20


def is_parquet(path: Path | str) -> bool:
    """Whether a file is one, by how it begins."""
    if str(path) == "-" or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False  # whoever opens it next says why


def parquet_lines(path: Path | str) -> Iterator[Line]:
    """The lines; what is no text or number is JSON there. Raises TextError if it cannot be read."""
    pyarrow = arrow(path)
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BLOCK) as file:
            yield Line(_row(file.schema_arrow.names), 0)
            rows, size, done = max(1, file.metadata.num_rows), Path(path).stat().st_size, 0
            for batch in file.iter_batches(batch_size=_ROWS):
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    done += 1
                    yield Line(_row(map(_cell, cells)), size * done // rows)
    except (OSError, pyarrow.ArrowException) as error:
        told = " ".join(str(error).split())
        raise TextError(f"cannot read {path}: {told:.200}.") from None


def arrow(path: Path | str) -> Any:
    """The module pyarrow. Raises TextError where there is none."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise TextError(
            f"{path} is a Parquet file: to read it the package pyarrow is needed: pip install "
            "'charlm[parquet]'."
        ) from None
    return pyarrow


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float | int):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _row(cells: Iterable[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(cells)
    return written.getvalue()
