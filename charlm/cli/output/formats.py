"""The form of texts and numbers in cells of tables."""

import re
from unicodedata import category

from charlm.display.safe_text import safe_text

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def decimal(text: str) -> float:
    """The number that a cell holds. Raises ValueError if it is none; 1_0 is none."""
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"no number: {text!r}")
    return float(text)


def cell(text: str) -> str:
    """A text in one TSV cell: backslash, control characters and lone bytes are escaped."""
    for char, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, escape)
    return safe_text(text, keep="".join(c for c in set(text) if category(c) not in ("Cc", "Cs")))
