"""Forks: how what has come of a chunk may go on, and which types of a word model that leaves.

A chunk is what stands between white space; no token reaches over two. Of types in alphabetical
order those with one beginning stand side by side. Letters: A characters, V types, M pairs of a
character and a beginning that the last token has with it.
"""

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


class Forks:
    """Of a tokenizer of words and an alphabet: the forks after each beginning of a chunk."""

    def __init__(self, words: WordTokenizer, alphabet: Sequence[str]) -> None:
        self._words, self._alphabet = words, tuple(alphabet)
        order = sorted(range(len(words.types)), key=words.types.__getitem__)
        self.order = np.array(order, dtype=np.int64) + NUM_SPECIALS  # ids (V - 2,)
        self._types = np.array([words.types[i] for i in order])
        self._of: dict[str, tuple[Fork, ...]] = {}

    def of(self, chunk: str) -> tuple[Fork, ...]:
        """The forks after what has come of a chunk, which may be nothing."""
        if chunk not in self._of:
            if len(self._of) >= _REMEMBERED:
                self._of.clear()
            self._of[chunk] = self._made(chunk)
        return self._of[chunk]

    def _made(self, chunk: str) -> tuple[Fork, ...]:
        found: dict[tuple[str, ...], list[tuple[int, str]]] = {}
        for number, character in enumerate(self._alphabet):
            if character.isspace():
                continue
            kinds = list(types_in(chunk + character))
            for before, beginnings in self._words.ways(kinds):
                pairs = found.setdefault(tuple(before), [])
                pairs += [(number, beginning) for beginning in beginnings]
        return tuple(self._fork(before, pairs) for before, pairs in found.items())

    def _fork(self, before: tuple[str, ...], pairs: list[tuple[int, str]]) -> Fork:
        beginnings = np.array([beginning for _, beginning in pairs])
        lasts = np.array([beginning + _LAST for _, beginning in pairs])
        numbers: dict[str, int] = {}
        parent = [numbers.setdefault(beginning[:-1], len(numbers)) for _, beginning in pairs]
        return Fork(
            before,
            np.array([number for number, _ in pairs], dtype=np.int64),
            np.searchsorted(self._types, beginnings, side="left"),
            np.searchsorted(self._types, lasts, side="right"),
            np.array(parent, dtype=np.int64),
            tuple(numbers),
        )
