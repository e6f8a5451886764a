"""How wide text is where every character has one column or two."""

import unicodedata


def width(text: str) -> int:
    """The columns that a text takes on a terminal at most."""
    return sum(map(char_width, text))


def char_width(char: str) -> int:
    """The columns of a character: 0 of a mark upon another, 2 of a wide one."""
    if char == "\ufe0f":  # makes an emoji, twice as wide, of the character before
        return 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
