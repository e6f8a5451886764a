"""Text that a person hands to a command, as it is: a prompt, a text to look at."""

import sys
from pathlib import Path

from charlm.errors import TextError


def read_utf8(source: str | Path) -> str:
    """All of a file, or of standard input for ``-``; a byte order mark is dropped.

    Raises TextError if it cannot be read or is not UTF-8.
    """
    name = "standard input" if source == "-" else str(source)
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{name} is not UTF-8, at byte {error.start} of it.") from None
    except OSError as error:
        raise TextError(f"cannot read {name}: {error.strerror}.") from None
