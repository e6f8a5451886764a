"""Sentences on their way through a tagger: lines in portions that hold whole ones."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from charlm.errors import TextError
from charlm.text.conll import Sentence, is_break

if TYPE_CHECKING:
    from charlm.text.streaming import Line

_SENTENCES = 256  # sentences that are read at a time, where they are there
_TOKENS = 8192


def portions(lines: "Iterable[Line | None]", *, raw: bool) -> "Iterator[list[Line]]":
    """Lines in portions that end with a sentence; none waits for a sentence that is yet to come.

    A line that is ``raw`` is a sentence. Raises TextError at a line that is no text, when those
    before it have been given out.
    """
    batch: list[Line] = []
    whole = count = 0  # lines up to the last break, breaks among them
    for line in lines:
        if line is not None and line.problem is not None:
            if batch:
                yield batch
            raise TextError(line.problem)
        if line is not None:
            batch.append(line)
            if raw or is_break(line.text):
                whole, count = len(batch), count + 1
        full = line is None or count >= _SENTENCES or len(batch) >= _TOKENS
        if whole and full:
            yield batch[:whole]
            batch, whole, count = batch[whole:], 0, 0
    if batch:
        yield batch


def numbered(lines: "Iterable[Line | None]") -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1. Raises TextError at one that is no text."""
    there = (line for line in lines if line is not None)
    for number, line in enumerate(there, start=1):
        if line.problem is not None:
            raise TextError(line.problem)
        yield number, line.text


def together(sentences: Iterable[Sentence]) -> Iterator[list[Sentence]]:
    """Sentences in portions that are tagged at a time."""
    left = iter(sentences)
    while portion := list(itertools.islice(left, _SENTENCES)):
        yield portion
