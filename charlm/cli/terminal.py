"""Writing to people and to pipes: data on stdout, all else on stderr."""

import json
import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any


def say(message: str) -> None:
    """A line for the person, on stderr; nothing in it can drive the terminal."""
    sys.stderr.write(safe_text(message, keep="\n") + "\n")
    sys.stderr.flush()


def out(text: str) -> None:
    """Data, on stdout: exact in a pipe, harmless on a terminal."""
    sys.stdout.write(safe_text(text, keep="\n\t") if sys.stdout.isatty() else text)


def out_json(values: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own; lone surrogates survive as escapes."""
    line = json.dumps(values, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(values, allow_nan=False)
    sys.stdout.write(line + "\n")


def safe_text(text: str, keep: str = "") -> str:
    """The text with every character that could drive a terminal written out, as in \\x1b.

    Those are the control, format, surrogate and private characters, except the ones in ``keep``
    and the joiners that scripts and emoji need (U+200C, U+200D).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char in keep or char in "\u200c\u200d" or unicodedata.category(char) not in _UNSAFE
        else _escaped(char)
        for char in text
    )


_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def _escaped(char: str) -> str:
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def is_live(stream: Any) -> bool:
    """Whether a stream is a terminal that can redraw a line."""
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def number(value: float | None) -> str:
    """A number for a machine to read: all its digits; nothing where there is none."""
    return "" if value is None else repr(float(value))
