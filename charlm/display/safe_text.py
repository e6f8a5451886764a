"""Text of any origin, made harmless and visible for a person to read."""

import unicodedata

_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def safe_text(text: str, keep: str = "") -> str:
    """The text with every character that could drive a terminal written out, as in \\x1b.

    Those are the control, format, surrogate and private characters, except the ones in ``keep``
    and the joiners that scripts and emoji need (U+200C, U+200D).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or not is_unsafe(char) else escape(char) for char in text)


def visible(piece: str) -> str:
    """A token that can be seen: white space by its name."""
    names = {" ": "␣", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if piece.isspace():
        return names.get(piece) or "".join(map(escape, piece))
    return safe_text(piece)


def is_unsafe(char: str) -> bool:
    """Whether a character is one of those that safe_text writes out."""
    return unicodedata.category(char) in _UNSAFE and char not in "\u200c\u200d"


def escape(char: str) -> str:
    """A character written out: \\x1b, \\u3000 or \\U000e0001."""
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
