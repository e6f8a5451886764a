"""Fields of JSON objects, one per line: found by name, also inside one another, and told apart."""

import json
import math
from collections.abc import Mapping
from typing import Any

_KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


def object_of(line: str) -> dict[str, Any]:
    """The object that a line is. Raises ValueError, with a sentence, if it is none."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    return values


def value_of(values: Mapping[str, Any], name: str) -> Any:
    """A field by its name; ``doc.text`` is the field text in the object doc.

    A field whose own name is that, dots and all, comes first. Null is as good as no field: None.
    """
    if name in values:
        return values[name]
    at = name.rfind(".")
    while at >= 0:
        inside = values.get(name[:at])
        if isinstance(inside, dict) and (found := value_of(inside, name[at + 1 :])) is not None:
            return found
        at = name.rfind(".", 0, at)
    return None


def text_of(values: Mapping[str, Any], name: str) -> str:
    """A field that is a text. Raises ValueError saying what is there instead."""
    value = value_of(values, name)
    if value is None:
        raise ValueError(f'it has no field "{name}"')
    if not isinstance(value, str):
        raise ValueError(f'it has no text in the field "{name}" but {_KINDS[type(value)]}')
    return value


def label_of(values: Mapping[str, Any], name: str) -> str:
    """A field that is a label: a text, or what JSON writes for true, false or a number.

    Raises ValueError saying what is there instead.
    """
    value = value_of(values, name)
    if value is None:
        raise ValueError(f'it has no label in the field "{name}"')
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'its label in the field "{name}" is no finite number')
    if isinstance(value, (list, dict)):
        raise ValueError(f'it has no label in the field "{name}" but {_KINDS[type(value)]}')
    return value if isinstance(value, str) else json.dumps(value)
