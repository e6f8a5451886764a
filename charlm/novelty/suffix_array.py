"""A suffix array: where a sequence of symbols stands in others, and how much of it does.

The suffixes of a text in their order (Manber & Myers 1993), sorted by prefix doubling: first by as
many symbols as fit into one number, then the groups that are still equal by twice as many, and so
on (Larsson & Sadakane 2007). What a query shares with the text is found for all places of all
queries at once, by binary search on those numbers; nothing here loops over symbols in Python.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError

Numbers = NDArray[np.int64]
Symbols = NDArray[np.unsignedinteger[Any]]

END = 0  # the symbol that ends a sequence
_KEY_BITS = 62  # of a key; one more than it holds must still be a number
_FIRST_LEVELS = 8  # keys that are compared at every place before the long matches are sought


class SuffixArray:
    """Sequences of symbols 1 to A in one array, each ended by END, and the order of their suffixes.

    Attributes:
        symbols: (N,), the last one END.
        order: (N,) int32, where the suffixes begin, in order. Those that are the same up to the
            end of their sequences stand in the order of their places.
        largest: A. A query may hold any symbol above it for what the text does not have.
    """

    def __init__(self, symbols: Symbols, order: NDArray[np.int32], largest: int) -> None:
        self.symbols = symbols
        self.order = order
        self.largest = largest
        self._bits = (largest + 1).bit_length()
        self.width = max(1, _KEY_BITS // self._bits)  # symbols of a key
        self._keys = self._packed(symbols, _to_end(symbols))

    @classmethod
    def build(cls, symbols: Symbols, largest: int) -> Self:
        """Sort the suffixes of symbols (N,). Raises UsageError if they do not end with END."""
        if len(symbols) and symbols[-1] != END:
            raise UsageError("a text of a suffix array must end with its end symbol.")
        array = cls(symbols, np.zeros(0, dtype=np.int32), largest)
        array.order = _sorted(array._keys, _to_end(symbols), array.width)
        return array

    def lengths(self, query: Numbers) -> NDArray[np.int64]:
        """How many symbols (M,), from each place of a query (M,) on, stand somewhere in the text.

        The query is sequences too, each ended by END, which matches nothing.
        """
        places = np.arange(len(query))
        if not len(query) or not len(self.symbols):
            return np.zeros(len(query), dtype=np.int64)
        keys = self._query_keys(query)
        found = self._matches(keys, places, _FIRST_LEVELS)
        deep = np.flatnonzero(found == _FIRST_LEVELS * self.width)
        if not len(deep):
            return found
        # The match at p ends no later than that at p + 1. So where it ends in the same place for
        # the first and the last of a stretch it does for all between, and only where it does not
        # has the middle to be looked at: a long copy costs little more than two matches.
        ends = places + found
        ends[deep] = 0
        gaps = np.flatnonzero(np.diff(deep) > 1)
        left = deep[np.concatenate(([0], gaps + 1))]
        right = deep[np.concatenate((gaps, [len(deep) - 1]))]
        known = np.union1d(left, right)
        ends[known] = known + self._matches(keys, known)
        while True:
            apart = (right - left > 1) & (ends[left] != ends[right])
            left, right = left[apart], right[apart]
            if not len(left):
                return np.maximum.accumulate(ends) - places
            middle = (left + right) // 2
            ends[middle] = middle + self._matches(keys, middle)
            left, right = np.concatenate((left, middle)), np.concatenate((middle, right))

    def locate(
        self, query: Numbers, places: Numbers, lengths: Numbers
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where spans of a query first stand in the text, and how often they do (each (S,)).

        Each is so many symbols from a place on; one of none stands nowhere: at 0, never.
        """
        first, counts = np.zeros((2, len(places)), dtype=np.int64)
        keys = self._query_keys(query)
        open_ = np.flatnonzero(lengths)
        low = np.zeros(len(open_), dtype=np.int64)
        high = np.full(len(open_), len(self.symbols))
        depth = 0
        while len(open_):
            wanted = np.minimum(lengths[open_] - depth, self.width)
            shift = self._bits * (self.width - wanted)
            least = keys[places[open_] + depth] >> shift << shift
            low = self._bisect(low, high, depth, least)
            high = self._bisect(low, high, depth, least + (np.int64(1) << shift))
            depth += self.width
            done = lengths[open_] <= depth
            for span, begin, end in zip(open_[done], low[done], high[done], strict=True):
                counts[span] = end - begin
                first[span] = self.order[begin:end].min(initial=len(self.symbols))
            open_, low, high = open_[~done], low[~done], high[~done]
        return first, counts

    def _query_keys(self, query: Numbers) -> NDArray[np.int64]:
        """The key (M,) at each place of a query; an end is a symbol that the text does not have."""
        other = self.largest + 1
        return self._packed(np.where((query == END) | (query > other), other, query), None)

    def _packed(
        self, symbols: Numbers | Symbols, to_end: NDArray[np.int32] | None
    ) -> NDArray[np.int64]:
        """The next ``width`` symbols from each place on as one number (N,), in the same order.

        With the distances to the ends, what comes after an END is left out.
        """
        other = END if to_end is not None else self.largest + 1
        padded = np.concatenate((symbols, np.full(self.width - 1, other))).astype(np.int64)
        keys = np.zeros(len(symbols), dtype=np.int64)
        for i in range(self.width):
            following = padded[i : i + len(symbols)]
            keys <<= self._bits
            keys |= following if to_end is None else np.where(to_end >= i, following, END)
        return keys

    def _matches(
        self, keys: NDArray[np.int64], places: Numbers, levels: int | None = None
    ) -> NDArray[np.int64]:
        """The lengths (P,) of the longest matches at places (P,), no more than so many keys."""
        found = np.zeros(len(places), dtype=np.int64)
        open_ = np.arange(len(places))
        low = np.zeros(len(places), dtype=np.int64)
        high = np.full(len(places), len(self.symbols))
        bounds = np.int64(1) << (self._bits * np.arange(self.width))  # of keys that differ so far
        depth = 0
        while len(open_) and (levels is None or depth < levels * self.width):
            key = keys[places[open_] + depth]
            begin = self._bisect(low, high, depth, key)
            end = self._bisect(begin, high, depth, key + 1)
            whole = begin < end
            # Of the suffixes that agree so far, those next to the key in order agree longest.
            ends_here = np.flatnonzero(~whole)
            shared = np.zeros(len(ends_here), dtype=np.int64)
            at = begin[ends_here]
            for near, there in ((at - 1, at > low[ends_here]), (at, at < high[ends_here])):
                inside = np.flatnonzero(there)
                suffixes = self.order[near[inside]]
                differing = self._keys[suffixes + depth] ^ key[ends_here[inside]]
                agree = self.width - np.searchsorted(bounds, differing, side="right")
                shared[inside] = np.maximum(shared[inside], agree)
            found[open_[ends_here]] = depth + shared
            open_, low, high = open_[whole], begin[whole], end[whole]
            depth += self.width
        found[open_] = depth
        return found

    def _bisect(
        self, low: Numbers, high: Numbers, depth: int, keys: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """In each range (P,) of the order, the first suffix whose key at that depth is no less."""
        low, high = low.copy(), high.copy()
        open_ = np.flatnonzero(low < high)
        while len(open_):
            middle = (low[open_] + high[open_]) // 2
            less = self._keys[self.order[middle] + depth] < keys[open_]
            low[open_[less]] = middle[less] + 1
            high[open_[~less]] = middle[~less]
            open_ = open_[low[open_] < high[open_]]
        return low


def is_order(order: NDArray[np.int32], symbols: Symbols) -> bool:
    """Whether that is the order (N,) of the suffixes of symbols (N,), which end with END.

    It is if every place is in it once, and of two neighbours with the same first symbol the rests
    stand in the same order as they do (Burkhardt & Kärkkäinen 2003).
    """
    number = len(symbols)
    if len(order) != number or (number and not 0 <= order.min() <= order.max() < number):
        return False
    rank = np.full(number + 1, -1, dtype=np.int32)
    rank[order] = np.arange(number, dtype=np.int32)
    if (rank[:number] < 0).any():
        return False
    heads = symbols[order]
    rests = np.where(heads == END, order, rank[order + 1])
    same = (heads[1:] == heads[:-1]) & (rests[1:] > rests[:-1])
    return bool(((heads[1:] > heads[:-1]) | same).all())


def _to_end(symbols: Symbols) -> NDArray[np.int32]:
    """How far it is from each place (N,) to the end of its sequence."""
    ends = np.flatnonzero(symbols == END)
    last = np.repeat(ends, np.diff(ends, prepend=-1))
    return (last - np.arange(len(last))).astype(np.int32)


def _sorted(keys: NDArray[np.int64], to_end: NDArray[np.int32], width: int) -> NDArray[np.int32]:
    """The places (N,) of all suffixes in order, from their keys of so many symbols."""
    order = np.argsort(keys, kind="stable").astype(np.int32)
    at = np.arange(len(keys))  # the places in the order of suffixes that may not be settled
    who, pairs, depth = order, keys[order], width
    rank = np.empty(len(keys), dtype=np.int32)  # of each suffix: where its group begins
    while True:
        begins = np.ones(len(at), dtype=bool)
        begins[1:] = pairs[1:] != pairs[:-1]
        heads = at[np.maximum.accumulate(np.where(begins, np.arange(len(at)), 0))]
        rank[who] = heads
        # A group of one is settled, and so is one whose sequences have ended, being the same.
        alone = begins & np.append(begins[1:], True)
        left = np.flatnonzero(~alone & (to_end[who] >= depth))
        if not len(left):
            return order
        at, who = at[left], who[left]
        pairs = heads[left] << 32 | rank[who + depth]
        within = np.argsort(pairs, kind="stable")
        who, pairs = who[within], pairs[within]
        order[at] = who
        depth *= 2
