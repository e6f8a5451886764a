"""A count-based language model: interpolated modified Kneser-Ney over token ids, in NumPy.

Chen & Goodman 1998 ("An Empirical Study of Smoothing Techniques for Language Modeling", section
3), as KenLM estimates it (Heafield et al. 2013): for a context h and its tail h' of one token less

    p(w | h) = max(c(h w) - D(c), 0) / Σw c(h w) + γ(h) p(w | h')

where c counts occurrences at the highest order and distinct tokens on the left below it, and D is
D1, D2 or D3 for counts of 1, 2 and more. Below the unigrams stands the uniform distribution over
all types. A sequence begins after one mark, whose id is vocab_size; an n-gram that begins with the
mark has nothing on its left and keeps its occurrences.

How they are looked up is backoff.py's. Letters: T tokens, V types, G n-grams of one order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.backoff import (
    BackOff,
    Ids,
    damaged,
    keys_from_arrays,
    keys_to_arrays,
    marked_stream,
    small,
    tables_of,
)
from charlm.errors import UsageError

HIGHEST_ORDER = 8
_FALLBACK = (0.5, 1.0, 1.5)  # where there are too few n-grams to estimate a discount from


class Level(NamedTuple):
    """The n-grams of one order: keys (G,), sorted, and what is counted of each, counts (G,)."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]


class NGram(BackOff):
    """The model of counts.

    It is all in the counts of its levels, of orders 1, 2, …; whatever they are, every
    distribution adds up to 1.
    """

    def __init__(self, vocab_size: int, levels: Sequence[Level]) -> None:
        self.levels = tuple(levels)
        size = vocab_size + 1
        own: list[NDArray[np.float64]] = []
        backoffs: list[NDArray[np.float64]] = []
        for n, (keys, counts) in enumerate(self.levels, start=1):
            contexts = keys // size if n > 1 else np.zeros(len(keys), dtype=np.int64)
            number = len(self.levels[n - 2].keys) if n > 1 else 1
            shares, backoff = _discounted(counts, contexts, number)
            own.append(shares)
            if n == 1:  # backed off to the uniform distribution
                unigrams = (shares + backoff[0] / vocab_size)[:vocab_size]
            else:
                backoffs.append(backoff)
        backoffs.append(np.ones(len(self.levels[-1].keys)))
        keys_of_all = [level.keys for level in self.levels]
        super().__init__(vocab_size, unigrams, tables_of(vocab_size, keys_of_all, own, backoffs))


def train(sequences: Sequence[Ids], vocab_size: int, order: int) -> NGram:
    """The model of sequences of ids, each ending in <EOS>.

    Raises UsageError if the order is not 1 to 8 or there is no token.
    """
    return _trained(*marked_stream(sequences, vocab_size), vocab_size, order)


def train_text(ids: Ids, starts: NDArray[np.int64], vocab_size: int, order: int) -> NGram:
    """The same of sequences one after another: ids (T,), and where each (S + 1,) begins."""
    marked = np.insert(ids.astype(np.int64), starts[:-1], vocab_size)
    lengths = np.diff(starts) + 1
    depth = np.arange(len(marked)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return _trained(marked, depth, vocab_size, order)


def _trained(
    stream: NDArray[np.int64], depth: NDArray[np.int64], vocab_size: int, order: int
) -> NGram:
    """The model of a marked stream (T,)."""
    check_order(order)
    if not (depth > 0).any():
        raise UsageError("there are no tokens to count.")
    size = vocab_size + 1
    keys, firsts, occurrences = _unigrams(stream, size)
    of_place = [stream.astype(np.int64)]  # for each order (T,) the index of the n-gram ending there
    found = [(keys, firsts, occurrences)]
    for n in range(2, order + 1):
        places = np.flatnonzero(depth >= n - 1)
        numbers = of_place[-1][places - 1] * size + stream[places]
        keys, firsts, inverse, occurrences = np.unique(
            numbers, return_index=True, return_inverse=True, return_counts=True
        )
        index = np.full(len(stream), -1, dtype=np.int64)
        index[places] = inverse
        of_place.append(index)
        found.append((keys, places[firsts], occurrences))
    levels = []
    for n, (keys, firsts, occurrences) in enumerate(found, start=1):
        counts = occurrences.astype(np.int64)
        if n < order:
            longer = found[n][1]  # a place where each (n+1)-gram ends: there its tail ends, too
            counts = np.bincount(of_place[n - 1][longer], minlength=len(keys))
            marked = (depth[firsts] == n - 1) & (occurrences > 0)
            counts[marked] = occurrences[marked]
        if n == 1:
            counts[vocab_size] = 0  # the mark is never predicted
        levels.append(Level(keys, counts))
    return NGram(vocab_size, levels)


def check_order(order: int) -> None:
    """Raise UsageError if there are no n-grams of such an order."""
    if not 1 <= order <= HIGHEST_ORDER:
        raise UsageError(f"the order of n-grams must be 1 to {HIGHEST_ORDER}, got {order}.")


def to_arrays(model: NGram) -> dict[str, NDArray[Any]]:
    """The counts in little memory: of each order what follows each context, and how often.

    Of order n, ``tokens.n`` (G,) are the last tokens, ``sizes.n`` how many of them each (n-1)-gram
    has, ``counts.n`` (G,) the counts; of order 1 the counts (V + 1,) alone.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for n, (keys, counts) in enumerate(model.levels, start=1):
        arrays[f"counts.{n}"] = small(counts)
        if n > 1:
            arrays |= keys_to_arrays(n, keys, len(model.levels[n - 2].keys), model.vocab_size)
    return arrays


def from_arrays(vocab_size: int, arrays: Mapping[str, NDArray[Any]]) -> NGram:
    """The model that ``to_arrays`` wrote. Raises CheckpointError if these are not its arrays."""
    order = (len(arrays) + 2) // 3
    names = {"counts.1"} | {
        f"{kind}.{n}" for n in range(2, order + 1) for kind in ("counts", "tokens", "sizes")
    }
    if set(arrays) != names or not 1 <= order <= HIGHEST_ORDER:
        raise damaged("the wrong arrays")
    for n in range(1, order + 1):
        array = arrays[f"counts.{n}"]
        if array.ndim != 1 or array.dtype.kind != "u":
            raise damaged(f"a wrong kind of counts.{n}")
    counts = arrays["counts.1"].astype(np.int64)
    if len(counts) != vocab_size + 1 or counts[vocab_size] != 0 or not counts.any():
        raise damaged("the wrong number of types")
    levels = [Level(np.arange(vocab_size + 1), counts)]
    for n in range(2, order + 1):
        keys = keys_from_arrays(n, arrays, len(levels[-1].keys), vocab_size)
        counts = arrays[f"counts.{n}"].astype(np.int64)
        if len(counts) != len(keys) or not (counts > 0).all():
            raise damaged(f"wrong n-grams of order {n}")
        levels.append(Level(keys, counts))
    return NGram(vocab_size, levels)


def _unigrams(
    stream: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Keys (V + 1,), a place where each token stands (0 for none) and how often it occurs."""
    firsts = np.zeros(size, dtype=np.int64)
    firsts[stream[::-1]] = np.arange(len(stream))[::-1]
    return np.arange(size), firsts, np.bincount(stream, minlength=size)


def _discounted(
    counts: NDArray[np.int64], contexts: NDArray[np.int64], num_contexts: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Discounted shares (G,) of n-grams in their contexts, and γ of every context."""
    classes = np.minimum(counts, 3).astype(np.int64)  # 0 for what is never predicted
    discount = np.array([0.0, *discounts(counts)])[classes]
    totals = np.bincount(contexts, weights=counts, minlength=num_contexts)
    taken = np.bincount(contexts, weights=discount, minlength=num_contexts)
    seen = totals > 0
    backoff = np.ones(num_contexts)
    backoff[seen] = taken[seen] / totals[seen]
    own = np.zeros(len(counts))
    there = counts > 0
    own[there] = (counts[there] - discount[there]) / totals[contexts[there]]
    return own, backoff


def discounts(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """D1, D2 and D3+ of Chen & Goodman, from how many n-grams occur 1, 2, 3 and 4 times.

    A discount of 0 would leave nothing for what was not seen.
    """
    n1, n2, n3, n4 = (float((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return _FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < d <= k for k, d in enumerate(found, start=1)) else _FALLBACK
