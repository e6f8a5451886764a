"""Sequences in portions that are dealt with side by side, and what deals with one after another.

A portion fits in memory however long the text is. What becomes of one does not depend on the
others, but for the parts of a very long sequence: those are told by ``part_of``, and belong to
what dealt with the parts before.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

from charlm.memory import give_back
from charlm.text.streaming import Piece

T = TypeVar("T")
R = TypeVar("R")

# Sequences are dealt with some at a time: so many characters, more where that would be few
# sequences (they are read side by side), but never more than a text may have that is read whole.
_CHARACTERS = 2**18
_FEW = 64
_MOST_CHARACTERS = 2**22


class Portion(NamedTuple):
    """Whole sequences; or a part, the only text, of one that is very long.

    size are the characters by which an engine is chosen. part_of is the number of the long
    sequence that the part belongs to, counted from 1, and ``ends`` tells whether it is the last.
    """

    texts: list[str]
    size: int
    part_of: int | None = None
    ends: bool = True


class Mapped(Protocol):
    """What has portions done, in their order: in this process, or in several.

    None among the portions says that the next one may be long in coming: what is at hand is done
    first.
    """

    def __call__(self, work: Callable[[T], R], portions: Iterable[T | None]) -> Iterator[R]:
        """What ``work`` makes of each portion."""


def in_turn(work: Callable[[T], R], portions: Iterable[T | None]) -> Iterator[R]:
    """The same in this process, each portion before the next is read."""
    for portion in portions:
        if portion is not None:
            yield work(portion)
            give_back()


def in_portions(pieces: Iterable[Piece]) -> Iterator[Portion]:
    """Short sequences together, a very long one a part at a time."""
    waiting: list[str] = []
    parts: list[str] = []  # of a sequence that has not ended
    numbers = 0  # of long sequences so far
    is_long = False
    size = 0  # characters of both
    for piece in pieces:
        parts.append(piece.text)
        size += len(piece.text)
        if not is_long and not piece.ends and size >= _MOST_CHARACTERS:
            is_long = True
            numbers += 1
        if is_long:
            yield Portion(["".join(parts)], size, numbers, piece.ends)
            size -= sum(map(len, parts))
            parts = []
            is_long = not piece.ends
        elif piece.ends:
            waiting.append("".join(parts))
            parts = []
        if waiting and size >= (_CHARACTERS if len(waiting) >= _FEW else _MOST_CHARACTERS):
            yield Portion(waiting, size)
            size -= sum(map(len, waiting))
            waiting = []
    if waiting:
        yield Portion(waiting, size)


def in_whole_portions(pieces: Iterable[Piece]) -> Iterator[Portion]:
    """Whole sequences alone, some 260,000 characters of them at a time."""
    waiting: list[str] = []
    parts: list[str] = []
    size = 0
    for piece in pieces:
        parts.append(piece.text)
        size += len(piece.text)
        if piece.ends:
            waiting.append("".join(parts))
            parts = []
        if waiting and size >= _CHARACTERS:
            yield Portion(waiting, sum(map(len, waiting)))
            waiting, size = [], sum(map(len, parts))
    if waiting:
        yield Portion(waiting, sum(map(len, waiting)))
