"""Data in rows, for programs: JSON Lines, or a table with a header."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from charlm.cli.input.records import as_cell
from charlm.cli.output.terminal import out, out_json


def write_json(objects: Iterable[Mapping[str, Any]]) -> None:
    """Objects on lines of their own; a number that is none (nan) is null."""
    for one in objects:
        out_json(_finite(one))


def write_tsv(rows: Iterable[Mapping[str, Any]]) -> None:
    """A header and a line for each row; all rows have the same names."""
    for number, row in enumerate(rows):
        if not number:
            out("\t".join(row) + "\n")
        out("\t".join(as_cell(_finite(value)) for value in row.values()) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
