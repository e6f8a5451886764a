"""JSON objects of a checkpoint's files, within bounds: finite numbers, each key once."""

import json
import math
from pathlib import Path
from typing import Any

from charlm.errors import CheckpointError

_MOST_PARTS = 10_000_000  # strings, lists and commas of a JSON file: what it may take to hold it


def parse_json(name: Path, data: bytes | bytearray) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError naming the file if it is none, or out of bounds."""
    check_parts(name, data)
    try:
        value = json.loads(
            data, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_distinct
        )
    except (ValueError, RecursionError):  # the latter: brackets nested too deep
        raise CheckpointError(f"{name} is damaged: it is not JSON.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} is damaged: it is not a JSON object.")
    return value


def check_parts(name: Path, data: bytes | bytearray) -> None:
    """Raise CheckpointError if what a JSON file holds would take far more memory than the file."""
    if sum(map(data.count, (b"[", b"{", b",", b'"'))) > _MOST_PARTS:
        raise CheckpointError(f"{name} is damaged: no file of a checkpoint has so many parts.")


def to_json(value: object) -> bytes:
    """JSON as charlm writes it: never NaN or Infinity."""
    return (json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1) + "\n").encode()


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose keys are distinct; json alone would keep the last of each."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values
