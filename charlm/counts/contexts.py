"""What of the tokens before a place is looked for in a memory: contexts, as numbers to compare.

Each is a function of the last ``REACH`` tokens, of which none stands before the mark of the
sequence. Two places with the same tokens there have the same key, others differ but for one chance
in 2^38. A key is the hash of a polynomial in the tokens modulo 2^64, taken from sums over the whole
stream, so all places are looked at side by side. Letters: T places of a stream, N of them that are
asked about, C contexts.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 64  # tokens, a mark among them
PLACE_BITS = 26  # of a key are left free, for a place
MOST_PLACES = 2**PLACE_BITS - 1
NO_KEY = np.uint64(0)  # where there is no such context: the sequence has only just begun
NOW = -1

Ids = NDArray[np.integer[Any]]
Keys = NDArray[np.uint64]


class Context(NamedTuple):
    """A part of what stands before a place.

    tokens (a, b) are those from a to b back, b not among them. words are stretches of folded
    letters: (i, j) begins with the word i back (0 is the one the place is in) and ends where word
    j begins, or at the place where that is NOW.
    """

    tokens: tuple[int, int] | None = None
    words: tuple[tuple[int, int], ...] = ()


_PREFIX = (0, NOW)
CONTEXTS: dict[str, Context] = {
    **{f"order {n}": Context(tokens=(n, 0)) for n in (1, 2, 3, 4, 5, 6, 8, 12, 20)},
    "word": Context(words=(_PREFIX,)),
    "word, last": Context(words=((1, 0), _PREFIX)),
    "word, last two": Context(words=((2, 0), _PREFIX)),
    "word, last but one": Context(words=((2, 1), _PREFIX)),
    "skip 1": Context(tokens=(3, 1)),
    "skip 2": Context(tokens=(4, 2)),
    "token 2 back": Context(tokens=(2, 1)),
    "token 3 back": Context(tokens=(3, 2)),
}
# The longest run of tokens seen before, two long matches and the words choose weights (mixer.py).
CHAIN = tuple(f"order {n}" for n in (1, 2, 3, 4, 5, 6, 8))
LONG = ("order 12", "order 20")
WORDS = ("word", "word, last", "word, last two")
OF_LEVEL: dict[str, tuple[str, ...]] = {
    "char": (*CHAIN, *WORDS, "word, last but one", "skip 1", "skip 2", *LONG),
    "word": (*CHAIN[:6], "token 2 back", "token 3 back", "skip 1"),
    "subword": (*CHAIN[:6], "token 2 back", "token 3 back", "skip 1", *LONG),
}


_WITHIN_WORDS = "'’"


def letters_of(level: str, pieces: Sequence[str]) -> NDArray[np.int64]:
    """Of types (V,) in a readable form a number above 0 for a letter, one for small and large.

    Types at word and subword level are no letters: all are 0.
    """
    found = np.zeros(len(pieces), dtype=np.int64)
    for number, piece in enumerate(pieces):
        if level == "char" and len(piece) == 1 and (piece.isalpha() or piece in _WITHIN_WORDS):
            found[number] = ord(piece.lower()[0])
    return found


class Places(NamedTuple):
    """Where tokens are asked about: keys (C, N), and how far into its word each place is (N,)."""

    keys: Keys
    in_word: NDArray[np.int64]

    def take(self, which: NDArray[np.int64]) -> "Places":
        """Some of the places."""
        return Places(self.keys[:, which], self.in_word[which])


class Contexts:
    """Some contexts, by name, of the texts of one vocabulary.

    ``letters`` (V,) tells which types are letters of words: a number above 0, the same for the
    large and the small one; 0 for what stands between words.
    """

    def __init__(self, names: Sequence[str], letters: Ids) -> None:
        self.names = tuple(names)
        self._contexts = [CONTEXTS[name] for name in self.names]
        self._letters = np.append(letters, 0).astype(np.int64)  # and of the mark

    def __len__(self) -> int:
        return len(self.names)

    def indices(self, names: Sequence[str]) -> list[int]:
        """Where contexts of these names stand, as far as they do."""
        return [self.names.index(name) for name in names if name in self.names]

    def places(self, stream: Ids, since: Ids, at: Ids) -> Places:
        """At the places ``at`` (N,) of a stream (T,), the place after its end among them.

        Each sequence has a mark in front, the id V. since (N,) is how many tokens ago it stood;
        of a stream that begins within a sequence it is REACH or more.
        """
        since = np.minimum(since, REACH).astype(np.int64)
        at = at.astype(np.int64)
        limit: NDArray[np.int64] = at - since
        letters = self._letters[stream]
        begins = _word_begins(letters, at.astype(np.int64), limit)
        of_tokens, of_letters = _Hashes(stream), _Hashes(np.maximum(letters, 1))
        keys = np.empty((len(self), len(at)), dtype=np.uint64)
        for number, context in enumerate(self._contexts, start=1):
            key = np.full(len(at), number, dtype=np.uint64)
            if context.tokens is not None:
                first, last = context.tokens
                there = since >= first
                begin = np.where(there, at - first, limit)
                key += of_tokens.between(begin, np.maximum(at - last, begin))
            for begin_of, end_of in context.words:
                end = at.astype(np.int64) if end_of == NOW else begins[end_of]
                key = np.add(scrambled(key), of_letters.between(begins[begin_of], end))
            key = (scrambled(key) >> np.uint64(PLACE_BITS)) << np.uint64(PLACE_BITS)
            keys[number - 1] = key
            if context.tokens is not None:
                keys[number - 1, ~there] = NO_KEY
        return Places(keys, at - begins[0])


def _word_begins(
    letters: NDArray[np.int64], at: NDArray[np.int64], limit: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Where the word that each place is in begins, the one before it, and the one before that.

    Nothing before limit (N,) is looked at. Where there is no word, it begins with the next one.
    """
    number = np.arange(len(letters))
    between = np.maximum.accumulate(np.where(letters == 0, number, -1))  # the last up to a place
    within = np.maximum.accumulate(np.where(letters > 0, number, -1))
    begins = [np.maximum(between[at - 1] + 1, limit)]
    for _ in range(2):
        before = begins[-1]
        end = within[np.maximum(before - 1, 0)]
        found = (before > limit) & (end >= limit)
        begin = np.maximum(between[np.maximum(end, 0)] + 1, limit)
        begins.append(np.where(found, begin, before))
    return begins


_FACTOR = 0x9E3779B97F4A7C15
_INVERSE = pow(_FACTOR, -1, 2**64)


class _Hashes:
    """Hashes of any stretch of a stream (T,)."""

    def __init__(self, stream: Ids) -> None:
        values = scrambled(stream.astype(np.uint64) + np.uint64(1))
        self._sums = np.zeros(len(stream) + 1, dtype=np.uint64)
        np.cumsum(values * _powers(_FACTOR, len(stream)), out=self._sums[1:])
        self._back = _powers(_INVERSE, len(stream) + 1)

    def between(self, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Keys:
        """Of the stretches from begin to end (N,)."""
        found = (self._sums[end] - self._sums[begin]) * self._back[begin]
        return scrambled(found + (end - begin).astype(np.uint64) * np.uint64(_FACTOR))


def _powers(factor: int, number: int) -> Keys:
    """1, factor, its square, …, modulo 2^64."""
    found = np.ones(number, dtype=np.uint64)
    filled, step = 1, factor
    while filled < number:
        more = min(filled, number - filled)
        found[filled : filled + more] = found[:more] * np.uint64(step)
        filled, step = 2 * filled, step * step % 2**64
    return found


def scrambled(keys: Keys) -> Keys:
    """Numbers of which every bit depends on every bit of the others (the end of SplitMix64)."""
    keys = keys ^ (keys >> np.uint64(30))
    keys = keys * np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    return keys
