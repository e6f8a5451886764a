"""Text that a person hands to a command, as it is: a prompt, a text to look at."""

import sys
from pathlib import Path

from charlm.cli.terminal import say
from charlm.errors import TextError, UsageError


def read_beginning(text: str | None, file: str | Path | None, *, name: str, ways: str) -> str:
    """What a text begins with: given as it is, or read from a file or (``-``) stdin, or nothing.

    The last newline of what is read is not part of it. Raises UsageError if both of the two
    ``ways`` are used, TextError if it cannot be read or is not UTF-8.
    """
    if text is not None and file is not None:
        raise UsageError(f"give {ways}, not both.")
    source = "-" if text == "-" else file
    if source is not None:
        return read_utf8(source).removesuffix("\n")
    if text is not None and any("\ud800" <= char <= "\udfff" for char in text):
        raise TextError(f"the {name} is not UTF-8.")
    return text or ""


def read_utf8(source: str | Path) -> str:
    """All of a file, or of standard input for ``-``; a byte order mark is dropped.

    Raises TextError if it cannot be read or is not UTF-8.
    """
    name = "standard input" if source == "-" else str(source)
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        text = data.decode()
    except UnicodeDecodeError as error:
        at, line = error.start, data.count(b"\n", 0, error.start) + 1
        raise TextError(
            f"{name} is not UTF-8: byte 0x{data[at]:02x} at offset {at} (line {line}). Convert it "
            "first: iconv -f cp1252 -t utf-8, for example."
        ) from None
    except OSError as error:
        raise TextError(f"cannot read {name}: {error.strerror}.") from None
    if text.startswith("\ufeff"):
        say(f"{name}: dropped the byte order mark at its start")
    return text.removeprefix("\ufeff")
