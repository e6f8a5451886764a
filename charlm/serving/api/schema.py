"""The bodies of requests: each field is declared once, with its type, its range and its meaning.

From a declaration a body is read, strictly, and described in OpenAPI. null is the same as leaving
a field out. What is not declared is refused: nothing that was asked for is ignored in silence.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from charlm.errors import did_you_mean
from charlm.serving.problems import RequestError

REQUIRED: Any = object()
_SHOWN = 40  # characters of what was got
_LARGEST = 2**63 - 1


class Kind(Protocol):
    """A type of field."""

    def read(self, value: Any, name: str) -> Any:
        """The value as it is used. Raises RequestError."""

    def size(self, value: Any) -> int:
        """How many characters or ids of text it holds."""

    def schema(self) -> dict[str, Any]:
        """The type as JSON Schema."""


class _Plain:
    def size(self, value: Any) -> int:
        """None: it holds no text."""
        del value
        return 0


class Text:
    """A string; half a surrogate pair, which is no character, is refused."""

    def read(self, value: Any, name: str) -> str:
        """The string."""
        if not isinstance(value, str):
            raise wrong(name, "a string", value)
        return whole(value, name)

    def size(self, value: str) -> int:
        """Its characters."""
        return len(value)

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string"}


class Texts:
    """A string, or a list of strings; a tuple of strings when it is read."""

    def __init__(self, least: int = 1, most: int = 1024) -> None:
        self.least, self.most = least, most

    def read(self, value: Any, name: str) -> tuple[str, ...]:
        """The strings."""
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
            raise wrong(name, "a string or a list of strings", value)
        if not self.least <= len(several) <= self.most:
            raise wrong(name, f"from {self.least} to {self.most:,} strings", len(several))
        return tuple(whole(one, name) for one in several)

    def size(self, value: Sequence[str]) -> int:
        """Their characters, and one more for each."""
        return sum(map(len, value)) + len(value)

    def schema(self) -> dict[str, Any]:
        """Either."""
        several = {"type": "array", "items": {"type": "string"}, "maxItems": self.most}
        return {"oneOf": [{"type": "string"}, {**several, "minItems": self.least}]}


class Ids:
    """A list of token ids."""

    def read(self, value: Any, name: str) -> list[int]:
        """The ids."""
        if not isinstance(value, list) or not all(is_id(one) for one in value):
            raise wrong(name, "a list of token ids", value)
        return value

    def size(self, value: Sequence[int]) -> int:
        """Their number."""
        return len(value)

    def schema(self) -> dict[str, Any]:
        """A list of whole numbers."""
        return {"type": "array", "items": {"type": "integer", "minimum": 0}}


class Prompts:
    """What completions take: a string, a list of them, ids, or lists of ids; a list of prompts."""

    def __init__(self, most: int = 1024) -> None:
        self.most = most

    def read(self, value: Any, name: str) -> list[str] | list[list[int]]:
        """The prompts."""
        if isinstance(value, str):
            return [whole(value, name)]
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            found: Any = [whole(one, name) for one in value]
        elif isinstance(value, list) and all(is_id(one) for one in value):
            found = [value]
        elif isinstance(value, list) and all(
            isinstance(one, list) and all(is_id(token) for token in one) for one in value
        ):
            found = value
        else:
            raise wrong(name, "a string, a list of strings, token ids or lists of them", value)
        if len(found) > self.most:
            raise wrong(name, f"at most {self.most:,} prompts", len(found))
        return found  # type: ignore[no-any-return]

    def size(self, value: Sequence[Sequence[Any]]) -> int:
        """Characters, or ids."""
        return sum(map(len, value)) + len(value)

    def schema(self) -> dict[str, Any]:
        """One of four."""
        text, ids = Text().schema(), Ids().schema()
        several = [{"type": "array", "items": kind, "maxItems": self.most} for kind in (text, ids)]
        return {"oneOf": [text, several[0], ids, several[1]]}


class Whole(_Plain):
    """A whole number in a range."""

    def __init__(self, low: int = 0, high: int = _LARGEST) -> None:
        self.low, self.high = low, high

    def read(self, value: Any, name: str) -> int:
        """The number."""
        if type(value) is not int or not self.low <= value <= self.high:
            raise wrong(name, f"a whole number from {self.low:,} to {self.high:,}", value)
        return value

    def schema(self) -> dict[str, Any]:
        """A whole number."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class Number(_Plain):
    """A number in a range."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def read(self, value: Any, name: str) -> float:
        """The number."""
        if type(value) not in (int, float) or not self.low <= value <= self.high:
            raise wrong(name, f"a number from {self.low:g} to {self.high:g}", value)
        return float(value)

    def schema(self) -> dict[str, Any]:
        """A number."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}


class Flag(_Plain):
    """true or false."""

    def read(self, value: Any, name: str) -> bool:
        """The flag."""
        if type(value) is not bool:
            raise wrong(name, "true or false", value)
        return value

    def schema(self) -> dict[str, Any]:
        """A flag."""
        return {"type": "boolean"}


class Choice(_Plain):
    """One of some strings."""

    def __init__(self, *values: str) -> None:
        self.values = values

    def read(self, value: Any, name: str) -> str:
        """The string."""
        if not isinstance(value, str) or value not in self.values:
            raise wrong(name, f"one of {', '.join(self.values)}", value)
        return value

    def schema(self) -> dict[str, Any]:
        """One of them."""
        return {"type": "string", "enum": list(self.values)}


class Neutral(_Plain):
    """A field that other servers have and this one has not: only what changes nothing is taken."""

    def __init__(self, *values: Any, because: str) -> None:
        self.values, self.because = values, because

    def read(self, value: Any, name: str) -> None:
        """Nothing."""
        same = [one for one in self.values if type(one) is type(value) and one == value]
        number = type(value) in (int, float) and value in [v for v in self.values if v == 0]
        if not (same or number):
            raise RequestError(
                400, f"{name}: {self.because}.", param=name, code="unsupported_value"
            )

    def schema(self) -> dict[str, Any]:
        """What it may be."""
        return {"enum": [*self.values, None]}


class Anything(_Plain):
    """A field that says something of the client and changes nothing here."""

    def read(self, value: Any, name: str) -> None:
        """Nothing."""

    def schema(self) -> dict[str, Any]:
        """All there is."""
        return {}


class Object:
    """An object with fields of its own."""

    def __init__(self, *fields: "Field") -> None:
        self.body = Body("", "", fields)

    def read(self, value: Any, name: str) -> dict[str, Any]:
        """Its fields."""
        return self.body.read(value, f"{name}.")

    def size(self, value: Mapping[str, Any]) -> int:
        """That of its fields."""
        return self.body.size(value)

    def schema(self) -> dict[str, Any]:
        """An object."""
        return self.body.schema()


class Field(NamedTuple):
    """A field of a body; without a default it has to be there."""

    name: str
    kind: Kind
    told: str
    default: Any = REQUIRED


class Body:
    """A body by its fields."""

    def __init__(self, name: str, told: str, fields: Sequence[Field]) -> None:
        self.name, self.told = name, told
        self.fields = {field.name: field for field in fields}

    def read(self, value: Any, prefix: str = "") -> dict[str, Any]:
        """The value of each field. Raises RequestError naming the field that is wrong."""
        if not isinstance(value, dict):
            raise wrong(prefix.rstrip(".") or "the body", "a JSON object", value)
        for name in value:
            if name not in self.fields:
                shown = f"{name!r:.{_SHOWN}}".encode("ascii", "backslashreplace").decode()
                raise RequestError(
                    400,
                    f"there is no field {prefix}{shown}.{did_you_mean(name[:_SHOWN], self.fields)}",
                    param=f"{prefix}{name}"[:_SHOWN],
                    code="unknown_parameter",
                )
        found = {}
        for name, field in self.fields.items():
            given = value.get(name)
            if given is not None:
                found[name] = field.kind.read(given, f"{prefix}{name}")
            elif field.default is REQUIRED:
                raise RequestError(
                    400,
                    f"{prefix}{name} is missing: {field.told[:1].lower()}{field.told[1:]}",
                    param=f"{prefix}{name}",
                    code="missing_required_parameter",
                )
            else:
                found[name] = field.default
        return found

    def size(self, values: Mapping[str, Any]) -> int:
        """How many characters or ids of text all fields hold."""
        sizes = (
            self.fields[name].kind.size(value)
            for name, value in values.items()
            if value is not None
        )
        return sum(sizes)

    def schema(self) -> dict[str, Any]:
        """The body as JSON Schema."""
        properties = {}
        for name, field in self.fields.items():
            properties[name] = {**field.kind.schema(), "description": field.told}
            if field.default is not REQUIRED and isinstance(field.default, (str, int, float)):
                properties[name]["default"] = field.default
        required = [name for name, field in self.fields.items() if field.default is REQUIRED]
        found = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**found, "required": required} if required else found


def whole(text: str, name: str) -> str:
    """The text, if it is made of whole characters. Raises RequestError."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            400, f"{name}: character {error.start} is half a surrogate pair.", param=name
        ) from None
    return text


def is_id(value: Any) -> bool:
    """Whether a value may be the id of a token."""
    return type(value) is int and 0 <= value <= _LARGEST


def wrong(name: str, what: str, value: Any) -> RequestError:
    """The problem of a value that is not what it must be."""
    if isinstance(value, (list, dict)):
        got = f"a list of {len(value):,}" if isinstance(value, list) else "an object"
    elif isinstance(value, int) and abs(value) > _LARGEST:
        got = "a number of many digits"
    elif isinstance(value, float) and not math.isfinite(value):
        got = "a number that is too large"
    else:
        got = f"{value!r:.{_SHOWN}}"
    return RequestError(400, f"{name} must be {what}, got {got}.", param=name)
