"""JSON as it comes in and goes out: strict in what is read, pure ASCII in what is written."""

import json
from typing import Any, NoReturn


class JsonError(ValueError):
    """Bytes are no JSON that is read here; the message says why."""


def to_json(value: object) -> bytes:
    """A value as a line of ASCII: no NaN, no lone surrogates, nothing that could be HTML."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("ascii")


def from_json(data: bytes) -> Any:
    """The value of bytes in UTF-8. Raises JsonError, for NaN, Infinity and great depth as well."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"the body is not UTF-8: byte {error.start}.") from None
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise JsonError(
            f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except RecursionError:
        raise JsonError("the body is nested too deep.") from None
    except ValueError as error:  # a number of thousands of digits, a constant
        raise JsonError(f"the body is not JSON that is read here: {str(error)[:100]}.") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
