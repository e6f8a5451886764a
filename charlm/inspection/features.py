"""Features of a text that a person can name, one value for each character: what units may follow.

Each function maps a text to floats (C,). A token has the value of its last character, which has
just been read.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError

Values = NDArray[np.float64]
Feature = Callable[[str], Values]

_OPENING, _CLOSING = "([{⟨", ")]}⟩"
_QUOTES = {"“": "”", "„": "“", "«": "»", "‘": "’"}


def bracket_depth(text: str) -> Values:
    """How many brackets are open; a closing one that closes nothing counts for nothing."""
    depth, found = 0, np.empty(len(text))
    for at, char in enumerate(text):
        depth = max(0, depth + (char in _OPENING) - (char in _CLOSING))
        found[at] = depth
    return found


def inside_brackets(text: str) -> Values:
    """1 from an opening bracket on to before the one that closes it."""
    return np.minimum(bracket_depth(text), 1)


def inside_quotes(text: str) -> Values:
    """1 from an opening quotation mark on to before the closing one; a blank line ends it too."""
    found, closing = np.zeros(len(text)), ""
    for at, char in enumerate(text):
        if closing:
            if char == closing or (char == "\n" and text[at - 1] == "\n"):
                closing = ""
        elif char == '"':
            closing = '"'
        else:
            closing = _QUOTES.get(char, "")
        found[at] = bool(closing)
    return found


def position_in_line(text: str) -> Values:
    """How many characters have been read since the line began."""
    found, begin = np.empty(len(text)), -1
    for at, char in enumerate(text):
        begin = at if char == "\n" else begin
        found[at] = at - begin
    return found


def after_newline(text: str) -> Values:
    """1 where a newline has just been read."""
    return _where(text, lambda char: char == "\n")


def upper_case(text: str) -> Values:
    """1 at a capital."""
    return _where(text, str.isupper)


def digits(text: str) -> Values:
    """1 at a digit."""
    return _where(text, str.isdigit)


def word_boundary(text: str) -> Values:
    """1 at what is no letter or digit, as a space or a comma."""
    return _where(text, lambda char: not char.isalnum())


FEATURES: Mapping[str, Feature] = {
    "inside quotes": inside_quotes,
    "inside brackets": inside_brackets,
    "bracket depth": bracket_depth,
    "position in line": position_in_line,
    "after a newline": after_newline,
    "upper case": upper_case,
    "digits": digits,
    "word boundary": word_boundary,
}


def expression(pattern: str) -> Feature:
    """1 within each match of a regular expression. Raises UsageError for what is none."""
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no regular expression: {error}.") from None

    def feature(text: str) -> Values:
        values = np.zeros(len(text))
        for match in found.finditer(text):
            values[slice(*match.span())] = 1
        return values

    return feature


def along(feature: Feature, text: str, ranges: Sequence[tuple[int, int]]) -> Values:
    """The feature (T,) of tokens of a text that have these ranges."""
    values = feature(text)
    return values[[max(0, end - 1) for _, end in ranges]] if len(text) else np.empty(0)


def _where(text: str, holds: Callable[[str], bool]) -> Values:
    return np.array([holds(char) for char in text], dtype=np.float64)
