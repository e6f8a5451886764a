"""The form of a text in a cell between tabs."""

from unicodedata import category

from charlm.cli.terminal import safe_text


def cell(text: str) -> str:
    """A text in one TSV cell: backslash, control characters and lone bytes are escaped."""
    for char, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, escape)
    return safe_text(text, keep="".join(c for c in set(text) if category(c) not in ("Cc", "Cs")))
