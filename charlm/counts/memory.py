"""What came after each context before: a text, indexed by the keys of contexts.py.

Of every place and context a number is kept, the key in its high bits and the place in its low
ones, all sorted. So the places of one key lie side by side, the latest last, and no two of the
numbers are equal. What is read later is a stretch of its own, united with the one before as soon
as it is a quarter of it. Letters: P places, C contexts, N queries, M matches.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.contexts import NO_KEY, PLACE_BITS, Keys, scrambled

MOST_MATCHES = 48  # of a query
_LOW = np.uint64(2**PLACE_BITS - 1)
_GROWTH = 4

Ids = NDArray[np.integer[Any]]


class Stretch(NamedTuple):
    """A part of a text. sorted (C P,), which of its key's each is, and the tokens (P,)."""

    sorted: Keys
    earlier: NDArray[np.uint8]  # (C P,) 1 for the first of its key, at most MOST_MATCHES
    tokens: NDArray[np.int32]

    @property
    def size(self) -> int:
        """How many places it has."""
        return len(self.tokens)


class Matches(NamedTuple):
    """What stood after the keys that were looked for, in any order.

    query (M,) says which of them it was; of each, rank (M,) is 0 for the latest place, then 1, …;
    token (M,) is what stood there.
    """

    query: NDArray[np.int64]
    rank: NDArray[np.int64]
    token: NDArray[np.int32]


def stretch(keys: Keys, tokens: Ids) -> Stretch:
    """Of keys (C, P) and the tokens (P,) at the same places."""
    places = np.arange(len(tokens), dtype=np.uint64)
    return _indexed(np.sort((keys | places).reshape(-1)), tokens.astype(np.int32))


def grown(stretches: Sequence[Stretch], more: Stretch) -> tuple[Stretch, ...]:
    """Stretches, the earliest first, with a later one: few, whatever the number of pieces."""
    kept = list(stretches)
    while kept and kept[-1].size < _GROWTH * more.size:
        before = kept.pop()
        packed = np.concatenate((before.sorted, more.sorted + np.uint64(before.size)))
        packed.sort()
        more = _indexed(packed, np.concatenate((before.tokens, more.tokens)))
    return (*kept, more)


def matches(stretches: Sequence[Stretch], keys: Keys, own: Matches | None = None) -> Matches:
    """The latest MOST_MATCHES places with each key (C, N), in all stretches.

    Query number i C + c is that of context c at place i. ``own`` are matches of them that come
    before, in later text.
    """
    queries = keys.T.reshape(-1)
    parts = [] if own is None else [own]
    taken = np.zeros(len(queries), dtype=np.int64)
    if own is not None:
        taken += np.bincount(own.query, minlength=len(queries))
    order = np.argsort(queries)  # looked up in their order they are found several times as fast
    slot = np.empty(len(queries), dtype=np.int64)
    for one in reversed(stretches):
        slot[order] = np.searchsorted(one.sorted, queries[order] | _LOW, side="right") - 1
        at = np.maximum(slot, 0)
        found = same_key(one.sorted[at], queries) & (slot >= 0) & (queries != NO_KEY)
        number = np.where(found, one.earlier[at], 0)
        number = np.minimum(number, MOST_MATCHES - taken)
        query, rank = ragged(number)
        place = (one.sorted[slot[query] - rank] & _LOW).astype(np.int64)
        parts.append(Matches(query, taken[query] + rank, one.tokens[place]))
        taken += number
    return joined(parts)


def matches_within(keys: Keys, tokens: Ids, sequence: NDArray[np.int64], first: int) -> Matches:
    """Of the places from ``first`` on the earlier ones of the same key and sequence.

    keys are (C, P), tokens (P,) and the numbers of sequences (P,) those of the same places.
    """
    contexts, places = keys.shape
    own = keys ^ (scrambled(sequence.astype(np.uint64)) & ~_LOW)
    packed = (own | np.arange(places, dtype=np.uint64)).reshape(-1)
    order = np.argsort(packed)
    context, place = order // places, order % places
    before = _number_of_earlier(packed[order])
    is_query = (place >= first) & (keys.reshape(-1)[order] != NO_KEY)
    slot = np.flatnonzero(is_query & (before > 0))
    which, rank = ragged(np.minimum(before[slot], MOST_MATCHES))
    query = (place[slot] - first) * contexts + context[slot]
    token = tokens[place[slot[which] - 1 - rank]].astype(np.int32)
    return Matches(query[which], rank, token)


def matches_of_last(keys: Keys, tokens: Ids, last: Keys) -> Matches:
    """The same of one more place with the keys last (C,), after P places with keys (C, P)."""
    same = (keys == last[:, None]) & (last != NO_KEY)[:, None]
    query, back = np.nonzero(same[:, ::-1])  # of each context the latest first
    _, rank = ragged(np.bincount(query, minlength=len(last)))
    near = rank < MOST_MATCHES
    token = tokens[len(tokens) - 1 - back[near]].astype(np.int32)
    return Matches(query[near], rank[near], token)


def joined(parts: Sequence[Matches]) -> Matches:
    """All matches of several, one or more."""
    return parts[0] if len(parts) == 1 else Matches(*map(np.concatenate, zip(*parts, strict=True)))


def same_key(one: Keys, other: Keys) -> NDArray[np.bool_]:
    """Whether numbers with places in their low bits are of one key."""
    return (one ^ other) <= _LOW


def ragged(number: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """0 so often as number (N,) says, then 1, …; and 0, 1, … within each (M,)."""
    which = np.repeat(np.arange(len(number)), number)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)


def _indexed(packed: Keys, tokens: NDArray[np.int32]) -> Stretch:
    """With the number of each among those of its key."""
    earlier = np.minimum(_number_of_earlier(packed) + 1, MOST_MATCHES)
    return Stretch(packed, earlier.astype(np.uint8), tokens)


def _number_of_earlier(packed: Keys) -> NDArray[np.int64]:
    """How many of the same key stand before each of sorted numbers (M,)."""
    slots = np.arange(len(packed))
    begins = np.ones(len(packed), dtype=bool)
    begins[1:] = ~same_key(packed[1:], packed[:-1])
    return slots - np.maximum.accumulate(np.where(begins, slots, 0))
