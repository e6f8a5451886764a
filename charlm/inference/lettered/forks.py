"""Forks: how what has come of a chunk may go on, and which types of a word model that leaves.

A chunk is what stands between white space; no token reaches over two. Of types in alphabetical
order those with one beginning stand side by side. Letters: A characters, V types, M pairs of a
character and a beginning that the last token has with it.
"""

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.tokenizers.base import NUM_SPECIALS
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import types_in

_REMEMBERED = 20_000  # chunks
_LAST = "\U0010ffff"


class Fork(NamedTuple):
    """The characters that may come next, after types of the chunk that are settled then.

    character (M,) numbers it; first and stop (M,) are the span of the types that begin as the last
    token does with it; parents are such beginnings less that character, and parent (M,) numbers
    them.
    """

    before: tuple[str, ...]
    character: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    parent: NDArray[np.int64]
    parents: tuple[str, ...]


def kinds_in(left: str, chunk: str) -> list[str]:
    """The types of a chunk, of which those up to ``left`` are settled, if that is not empty."""
    kinds = list(types_in(left + chunk)) if left or chunk else []
    return kinds[1:] if left else kinds


class Forks:
    """Of a tokenizer of words and an alphabet: the forks after each beginning of a chunk."""

    def __init__(self, words: WordTokenizer, alphabet: Sequence[str]) -> None:
        self._words, self._alphabet = words, tuple(alphabet)
        order = sorted(range(len(words.types)), key=words.types.__getitem__)
        self.order = np.array(order, dtype=np.int64) + NUM_SPECIALS  # ids (V - 2,)
        self._types = [words.types[i] for i in order]
        self._of: dict[tuple[str, str], tuple[Fork, ...]] = {}

    def of(self, left: str, chunk: str) -> tuple[Fork, ...]:
        """The forks after what has come of a chunk, which may be nothing.

        Of a chunk whose first tokens are settled ``left`` is the last of these, and they do not
        count; else it is empty.
        """
        key = (left, chunk)
        if key not in self._of:
            if len(self._of) >= _REMEMBERED:
                self._of.clear()
            self._of[key] = self._made(left, chunk)
        return self._of[key]

    def _made(self, left: str, chunk: str) -> tuple[Fork, ...]:
        found: dict[tuple[str, ...], list[tuple[int, str]]] = {}
        for number, character in enumerate(self._alphabet):
            if character.isspace():
                continue
            kinds = kinds_in(left, chunk + character)
            for before, beginnings in self._words.ways(kinds):
                pairs = found.setdefault(tuple(before), [])
                pairs += [(number, beginning) for beginning in beginnings]
        return tuple(self._fork(before, pairs) for before, pairs in found.items())

    def _fork(self, before: tuple[str, ...], pairs: list[tuple[int, str]]) -> Fork:
        first = [bisect.bisect_left(self._types, beginning) for _, beginning in pairs]
        stop = [bisect.bisect_right(self._types, beginning + _LAST) for _, beginning in pairs]
        numbers: dict[str, int] = {}
        parent = [numbers.setdefault(beginning[:-1], len(numbers)) for _, beginning in pairs]
        return Fork(
            before,
            np.array([number for number, _ in pairs], dtype=np.int64),
            np.array(first, dtype=np.int64),
            np.array(stop, dtype=np.int64),
            np.array(parent, dtype=np.int64),
            tuple(numbers),
        )
