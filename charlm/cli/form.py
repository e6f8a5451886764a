"""The forms that figures are written in: a unit, JSON Lines, cells between tabs."""

from unicodedata import category

from charlm.cli.terminal import safe_text
from charlm.errors import UsageError


def check_form(*, json: bool, tsv: bool) -> None:
    """Raise UsageError if two forms are asked for."""
    if json and tsv:
        raise UsageError("give --json or --tsv, not both.")


def cell(text: str) -> str:
    """A text in one TSV cell: backslash, control characters and lone bytes are escaped."""
    for char, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, escape)
    return safe_text(text, keep="".join(c for c in set(text) if category(c) not in ("Cc", "Cs")))
