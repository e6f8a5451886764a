"""How surprising a token is, as one of eight steps, and which part of a text has which step.

The steps are fixed in bits, so that one shade means the same in every text. Their colours go
evenly from the background's lightness to the other end (OKLab, Ottosson 2020), so that they can be
told apart by lightness alone.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, Self

STEPS = 8
_BITS = {"char": 1.0, "subword": 2.0, "word": 2.0}  # a step, at each level
_JOINERS = "\u200c\u200d"


class Shaded(Protocol):
    """A scored token: what stands at text[start:end], and how surprising it is."""

    @property
    def start(self) -> int:
        """Where its range in the text begins."""

    @property
    def end(self) -> int:
        """Where the range ends; an empty one is that of <EOS>."""

    @property
    def piece(self) -> str:
        """The token as it is shown."""

    @property
    def surprisal(self) -> float:
        """In bits, 0 or more."""

    @property
    def rank(self) -> int | None:
        """1 for the likeliest type at its place; None where there is no such figure."""

    @property
    def is_unknown(self) -> bool:
        """Whether it is outside the vocabulary."""

    @property
    def num_tokens(self) -> int:
        """1, or of a word so many as it has."""


class Patch(NamedTuple):
    """A part of a text that has one shade, with the tokens that stand there; or none between."""

    start: int
    end: int
    tokens: tuple[Shaded, ...]

    @property
    def bits(self) -> float:
        """The surprisal of all its tokens."""
        return math.fsum(token.surprisal for token in self.tokens)

    @property
    def is_unknown(self) -> bool:
        """Whether one of its tokens is outside the vocabulary."""
        return any(token.is_unknown for token in self.tokens)


def patches(text: str, tokens: Sequence[Shaded]) -> Iterator[Patch]:
    """The text cut into patches, all of it in order; tokens with an empty range come last.

    Tokens that share a character (its bytes) are one patch, and so is a character with the marks
    that stand upon it. A space that a longer token begins with lies between patches: so words are
    seen apart.
    """
    at, held = 0, Patch(0, 0, ())
    for token in tokens:
        if token.start == token.end:
            continue
        shares = token.start < held.end
        if held.tokens and (shares or (token.start == at and _stands_upon(text, at))):
            at = max(at, token.end)
            held = Patch(held.start, at, (*held.tokens, token))
            continue
        if held.tokens:
            yield held
        brings_space = text[token.start] == " " and token.end - token.start > 1
        start = token.start + brings_space
        if at < start:
            yield Patch(at, start, ())
        at = token.end
        held = Patch(start, at, (token,))
    if held.tokens:
        yield held
    if at < len(text):
        yield Patch(at, len(text), ())
    for token in tokens:
        if token.start == token.end:
            yield Patch(len(text), len(text), (token,))


def is_mark(char: str) -> bool:
    """Whether a character takes no room of its own beside the one before it."""
    return char in _JOINERS or unicodedata.category(char) in ("Mn", "Me")


def _stands_upon(text: str, at: int) -> bool:
    """Whether text[at] is a mark on the character before it."""
    return is_mark(text[at]) and text[at - 1] != "\n"


class Scale(NamedTuple):
    """Eight steps of so many bits each; the last has no end."""

    bits: float

    @classmethod
    def of(cls, level: str) -> Self:
        """The scale for tokens that are characters, subwords or words."""
        return cls(_BITS[level])

    def step(self, surprisal: float) -> int:
        """The step, 0 to 7, of a surprisal in bits."""
        return int(min(surprisal / self.bits, STEPS - 1))

    @property
    def labels(self) -> tuple[str, ...]:
        """The range of each step in bits."""
        bounds = [f"{step * self.bits:g}" for step in range(STEPS)]
        inner = (f"{low}–{high}" for low, high in pairwise(bounds))
        return (*inner, f"{bounds[-1]}+")


class Shade(NamedTuple):
    """A background and the colour of the text on it, for screens of many colours and of 256."""

    background: str
    ink: str
    number: int

    @property
    def ink_number(self) -> int:
        """The ink among 256 colours."""
        return 233 if self.ink == _BLACK else 255


_BLACK, _WHITE = "#121212", "#eeeeee"

# From paper to ink, and from night to fire: the more surprising, the farther from the background.
LIGHT: tuple[Shade, ...] = (
    Shade("#ffffff", _BLACK, 231),
    Shade("#f6dfb3", _BLACK, 223),
    Shade("#efbb76", _BLACK, 215),
    Shade("#e98f3e", _BLACK, 208),
    Shade("#dc6127", _BLACK, 166),
    Shade("#c1332b", _WHITE, 160),
    Shade("#991b37", _WHITE, 124),
    Shade("#6d1240", _WHITE, 88),
)
DARK: tuple[Shade, ...] = (
    Shade("#1c1c1c", _WHITE, 234),
    Shade("#412752", _WHITE, 53),
    Shade("#782f63", _WHITE, 89),
    Shade("#af3c57", _WHITE, 125),
    Shade("#da5948", _BLACK, 167),
    Shade("#f78338", _BLACK, 208),
    Shade("#feb84a", _BLACK, 215),
    Shade("#feea74", _BLACK, 221),
)
# Where nobody says which of the two the background is: what is likely keeps the terminal's own
# colours (None), and what is surprising ends at a red that stands out from black and from white.
EITHER: tuple[Shade | None, ...] = (
    None,
    None,
    Shade("#eddcb4", _BLACK, 223),
    Shade("#efbe70", _BLACK, 215),
    Shade("#ee9b46", _BLACK, 208),
    Shade("#ea7633", _BLACK, 202),
    Shade("#de4d2b", _BLACK, 196),
    Shade("#c41e3a", _WHITE, 160),
)
