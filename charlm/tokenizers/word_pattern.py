"""The pattern of a token at word level: a word, a number, an ideograph or any other character.

What a letter is depends on the Unicode version of the Python that runs.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain, pairwise

# A run of other characters, or white space that is not a lone space between two of them.
_CHUNK = re.compile(r"\S+|(?!(?<=\S) (?=\S))\s")
_PIECE = re.compile(r"\n|\S+")  # of a text cut already

# Ideographs and kana, which are written without spaces; each is a token.
_CJK = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001afff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_INNER = "'’\u200c\u200d"  # kept inside a word: apostrophes and the (non-)joiners of some scripts


def find_chunks(text: str, pretokenized: bool) -> Iterator[re.Match[str]]:
    """The parts of a text, but for its implicit spaces, between which no token touches another."""
    return (_PIECE if pretokenized else _CHUNK).finditer(text)


@functools.cache
def token_pattern() -> re.Pattern[str]:
    """Matches one token; group 1 if it is a word, a number or an ideograph."""
    letter = _character_class("L", but_not=_CJK)
    mark = _character_class("M")
    letters = f"[{letter}][{letter}{mark}]*"
    word = f"{letters}(?:[{_INNER}]{letters})*"
    number = r"\d+(?:[.,]\d+)*"
    # Marks modify the character before them, so they stay with an ideograph or a symbol too.
    return re.compile(f"({word}|{number}|[{_CJK}][{mark}]*)|.[{mark}]*", re.DOTALL)


def _character_class(category: str, *, but_not: str = "") -> str:
    """The code points whose category starts with ``category``, as the ranges of a regex class.

    Planes 2 and 3 hold ideographs alone, and of plane 14 only the variation selectors matter.
    """
    excluded = re.compile(f"[{but_not}]").match if but_not else lambda _: None
    members = [
        code
        for code in chain(range(0x20000), range(0xE0100, 0xE01F0))
        if unicodedata.category(chr(code))[0] == category and not excluded(chr(code))
    ]
    gaps = [(a, b) for a, b in pairwise(members) if b != a + 1]
    starts = [members[0], *(b for _, b in gaps)]
    ends = [*(a for a, _ in gaps), members[-1]]
    return "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in zip(starts, ends, strict=True))


def begins_with_word(text: str) -> bool:
    """Whether a text begins with a word, a number or an ideograph."""
    match = token_pattern().match(text)
    return match is not None and match.lastindex is not None
