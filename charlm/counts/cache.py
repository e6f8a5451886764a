"""A cache: what a sequence has said before, it is likelier to say again.

Kuhn & De Mori 1990 ("A Cache-Based Natural Language Model for Speech Recognition"), smoothed by
Dirichlet priors as in MacKay & Peto 1995 ("A Hierarchical Dirichlet Language Model"). For context
lengths k, the shortest first,

    p_k(w) = (c_k(w) + α_k p(w)) / (N_k + α_k),    α_k = a_k (1 + N_k)^b_k

where p is what came out for the next shorter length, and before all of them another model's
distribution. Of the last ``window`` tokens of the same sequence N_k follow the k tokens that stand
last now, and c_k(w) of these are w. Where nothing follows them, p stays as it is; if p adds up to
1, so does p_k.

A sequence begins after a mark, the id vocab_size. Letters: K lengths, N tokens, V types, B rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.backoff import marked_stream

Ids = NDArray[np.integer[Any]]


class Counts(NamedTuple):
    """For each length and token: how often it itself, and how many in all, stood there before."""

    seen: NDArray[np.int32]  # (K, N), c of the token
    total: NDArray[np.int32]  # (K, N), N


class Cache:
    """Counts in the tokens just read. ``lengths`` are those of the contexts, ascending."""

    def __init__(self, vocab_size: int, lengths: Sequence[int], window: int) -> None:
        self.vocab_size = vocab_size
        self.lengths = tuple(lengths)
        self.window = window

    @property
    def reach(self) -> int:
        """How many tokens back there is anything to see."""
        return self.window + self.lengths[-1]

    def count(self, sequences: Sequence[Ids]) -> Counts:
        """Of every token of sequences, one after another; none sees another sequence."""
        return self._count(*marked_stream(sequences, self.vocab_size))

    def count_on(self, before: Ids, ids: Ids) -> Counts:
        """Of ids (T,) that go on where ``before`` ends.

        It has the mark that the sequence begins with, or ``reach`` + 1 tokens.
        """
        stream = np.concatenate((before, ids)).astype(np.int64)
        counts = self._count(stream, np.arange(len(stream)))
        own = slice(len(stream) - 1 - len(ids), None)
        return Counts(counts.seen[:, own], counts.total[:, own])

    def _count(self, stream: NDArray[np.int64], depth: NDArray[np.int64]) -> Counts:
        """At each place that is no mark; depth is how many tokens ago one was.

        As many places have the same k + 1 tokens behind them as have had a token with the same k
        before it: what is counted of tokens for one length is the total for the next.
        """
        within = depth > 0
        size = self.vocab_size + 1
        seen = np.zeros((len(self.lengths), len(stream)), dtype=np.int32)
        total = np.zeros_like(seen)
        context = np.cumsum(~within)  # (T,) which k tokens stand before; of none, which sequence
        number = np.minimum(np.maximum(depth - 1, 0), self.window)  # (T,) how often they did
        for k in range(self.lengths[-1] + 1):
            places = np.flatnonzero(depth > k)
            group = np.zeros(len(stream), dtype=np.int64)
            count = np.zeros(len(stream), dtype=np.int64)
            group[places], count[places] = _earlier(
                context[places] * size + stream[places], places, self.window
            )
            if k in self.lengths:
                row = self.lengths.index(k)
                seen[row], total[row] = count, np.where(depth > k, number, 0)
            context = np.concatenate(([0], group[:-1]))
            number = np.concatenate(([0], count[:-1]))
        return Counts(seen[:, within], total[:, within])

    def rows(
        self, log_p: NDArray[Any], histories: Ids, a: NDArray[Any], b: NDArray[Any]
    ) -> NDArray[Any]:
        """log p_K (B, V) from log p (B, V) and histories (B, L); a and b (K,).

        A history ends at the right with the token just read; left of its mark stands -1. Of a
        longer one, its last ``reach`` tokens or more.
        """
        known = (histories >= 0) & (histories < self.vocab_size)
        length = histories.shape[1]
        first = max(0, length - self.window)  # what came before has left the window
        log_p = log_p.copy()
        shortest = min(self.lengths[0], 1)
        first = max(first, shortest)
        if shortest:  # the next token may be any that follows one like the last
            same = histories[:, first - 1 : length - 1] == histories[:, length - 1 :]
            row, at = _places(same & known[:, length - 1 :])
        else:
            row, at = _places(known[:, first:])
        at += first  # where the k tokens before are those at the end
        for k in range(shortest, self.lengths[-1] + 1):
            if k > shortest:
                there = at >= k
                row, at = row[there], at[there]
                end = length - k
                same = histories[row, at - k] == histories[row, end] if end >= 0 else row < 0
                same &= known[row, end] if end >= 0 else False
                row, at = row[same], at[same]
            if k not in self.lengths:
                continue
            if not len(row):
                break
            index = self.lengths.index(k)
            number = np.bincount(row, minlength=len(log_p))
            log_alpha = np.log(a[index]) + b[index] * np.log1p(number)
            log_sum = np.logaddexp(np.log(np.maximum(number, 1)), log_alpha)
            less = np.where(number > 0, log_alpha - log_sum, 0.0)  # where nothing follows, as it is
            log_p += less[:, None].astype(log_p.dtype)
            where, count = _counted(row * log_p.shape[1] + histories[row, at], log_p.size)
            of_cache = np.log(count) - log_sum[where // log_p.shape[1]]
            flat = log_p.reshape(-1)
            flat[where] = np.logaddexp(flat[where], of_cache)
        return log_p


def _places(there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """np.nonzero of a matrix, several times as fast."""
    flat = np.flatnonzero(there)
    row = flat // max(1, there.shape[1])
    return row, flat - row * there.shape[1]


def _counted(cells: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of ``size`` cells occur, and how often: without sorting, for there are many."""
    number = np.arange(len(cells))
    last = np.empty(size, dtype=np.int64)
    last[cells] = number  # of equal ones the one that is written last stays
    stays = last[cells]
    count = np.bincount(stays, minlength=len(cells))
    kept = stays == number
    return cells[kept], count[kept]


def _earlier(
    keys: NDArray[np.int64], places: NDArray[np.int64], window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for each different key, and how many of the same key are at most ``window`` back."""
    order = np.argsort(keys, kind="stable")
    ordered, spots = keys[order], places[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    number = np.cumsum(new)
    stride = int(places[-1]) + window + 2 if len(places) else 1
    line = number * stride + spots  # ascending; the groups lie more than a window apart
    earliest = np.searchsorted(line, line - window)
    group, count = np.empty_like(keys), np.empty_like(keys)
    group[order] = number
    count[order] = np.arange(len(keys)) - earliest
    return group, count
