"""Arguments as text: one rule for every command and every option.

The system hands over bytes. What the locale could not read of them (PEP 383) is read as UTF-8, so
that a character is one in a plain C locale, too; what is not UTF-8 either is refused. Names of
files are left as the system has them: those may be any bytes.
"""

import os
from collections.abc import Mapping
from typing import Any

from charlm.errors import TextError

# Parameters of commands that name files and runs, which whoever opens them looks at. A parameter
# that is a Path is one of them, too.
PATHS = frozenset(
    (
        "files",
        "file",
        "corpus",
        "valid",
        "model",
        "models",
        "runs",
        "against",
        "one",
        "other",
        "name",
    )
)


def as_text(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command, those that are texts read as such.

    Raises TextError naming the one that is not UTF-8.
    """
    return {
        name: value if name in PATHS else _as_text(name, value) for name, value in arguments.items()
    }


def _as_text(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_as_text(name.removesuffix("s"), one) for one in value)
    if not isinstance(value, str) or not any("\ud800" <= char <= "\udfff" for char in value):
        return value
    try:
        return os.fsencode(value).decode()
    except UnicodeError:
        raise TextError(
            f"the {name.replace('_', ' ')} is not UTF-8. Convert it first: iconv -f cp1252 -t "
            "utf-8, for example."
        ) from None
