"""A count-based language model: interpolated modified Kneser-Ney over token ids, in NumPy.

Chen & Goodman 1998 ("An Empirical Study of Smoothing Techniques for Language Modeling", section
3), as KenLM estimates it (Heafield et al. 2013): for a context h and its tail h' of one token less

    p(w | h) = max(c(h w) - D(c), 0) / Σw c(h w) + γ(h) p(w | h')

where c counts occurrences at the highest order and distinct tokens on the left below it, and D is
D1, D2 or D3 for counts of 1, 2 and more. Below the unigrams stands the uniform distribution over
all types. A sequence begins after one mark, whose id is vocab_size; an n-gram that begins with the
mark has nothing on its left and keeps its occurrences.

An n-gram is known by the index of its first n-1 tokens in the table before and its last token,
as one number; each table is sorted, so all n-grams of one context lie side by side. Letters: T
tokens, V types, G n-grams of one order.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError

HIGHEST_ORDER = 7
_FALLBACK = (0.5, 1.0, 1.5)  # where there are too few n-grams to estimate a discount from
_NOWHERE = -1

Ids = NDArray[np.integer[Any]]


@dataclasses.dataclass(frozen=True)
class Table:
    """The n-grams of one order.

    keys (G,) are sorted; own (G,) is what the discounted count gives of p(w | h); backoff (G,) is
    γ of the n-gram as a context, 1 where nothing was seen after it.
    """

    keys: NDArray[np.int64]
    own: NDArray[np.float64]
    backoff: NDArray[np.float64]


class NGram:
    """p(w | the tokens before), for tokens and for whole distributions."""

    def __init__(
        self, vocab_size: int, unigrams: NDArray[np.float64], tables: Sequence[Table]
    ) -> None:
        self.vocab_size = vocab_size
        self.unigrams = unigrams  # (V,) p(w), backed off to the uniform distribution
        self.tables = tuple(tables)  # of orders 1, 2, …; the first holds the backoffs of V + 1 ids

    @property
    def order(self) -> int:
        """The longest n-gram: what a token depends on, itself included."""
        return len(self.tables)

    def token_log_probs(self, sequences: Sequence[Ids]) -> NDArray[np.float64]:
        """log P (N,) in nats of each token of sequences that end in <EOS>, one after another."""
        stream, depth = _stream(sequences, self.vocab_size)
        within = depth > 0
        p = np.ones(len(stream))
        p[within] = self.unigrams[stream[within]]
        before = stream.copy()  # (T,) the index of the (n-1)-gram that ends at each place
        for order, table in enumerate(self.tables[1:], start=2):
            shorter = self.tables[order - 2]
            places = np.flatnonzero(depth >= order - 1)
            contexts = before[places - 1]
            places, contexts = places[contexts >= 0], contexts[contexts >= 0]
            p[places] *= shorter.backoff[contexts]
            found = _find(table.keys, contexts * (self.vocab_size + 1) + stream[places])
            hit = found >= 0
            p[places[hit]] += table.own[found[hit]]
            before = np.full(len(stream), _NOWHERE)
            before[places] = found
        return np.log(p[within])

    def next_probs(self, ids: Ids) -> NDArray[np.float64]:
        """P (V,) of the token after a sequence that begins with ids (T,)."""
        context = (
            [self.vocab_size, *np.asarray(ids).tolist()][-(self.order - 1) :]
            if self.order > 1
            else []
        )
        p = self.unigrams.copy()
        for length in range(1, len(context) + 1):
            index = self._index(context[-length:])
            if index < 0:
                break
            p *= self.tables[length - 1].backoff[index]
            table = self.tables[length]
            first = index * (self.vocab_size + 1)
            begin, end = np.searchsorted(table.keys, (first, first + self.vocab_size + 1))
            p[table.keys[begin:end] - first] += table.own[begin:end]
        return p

    def _index(self, gram: list[int]) -> int:
        """Where an n-gram stands in the table of its order, or -1."""
        index = gram[0]
        for order, token in enumerate(gram[1:], start=2):
            key = np.array([index * (self.vocab_size + 1) + token])
            index = int(_find(self.tables[order - 1].keys, key)[0])
            if index < 0:
                break
        return index


def train(sequences: Sequence[Ids], vocab_size: int, order: int) -> NGram:
    """The model of sequences of ids, each ending in <EOS>.

    Raises UsageError if the order is not 1 to 7 or there is no token.
    """
    if not 1 <= order <= HIGHEST_ORDER:
        raise UsageError(f"the order of n-grams must be 1 to {HIGHEST_ORDER}, got {order}.")
    stream, depth = _stream(sequences, vocab_size)
    if not (depth > 0).any():
        raise UsageError("there are no tokens to count.")
    size = vocab_size + 1
    keys, firsts, occurrences = _unigrams(stream, size)
    of_place = [stream.astype(np.int64)]  # for each order (T,) the index of the n-gram ending there
    levels = [(keys, firsts, occurrences)]
    for n in range(2, order + 1):
        places = np.flatnonzero(depth >= n - 1)
        numbers = of_place[-1][places - 1] * size + stream[places]
        keys, firsts, inverse, occurrences = np.unique(
            numbers, return_index=True, return_inverse=True, return_counts=True
        )
        index = np.full(len(stream), _NOWHERE, dtype=np.int64)
        index[places] = inverse
        of_place.append(index)
        levels.append((keys, places[firsts], occurrences))
    tables: list[Table] = []
    for n, (keys, firsts, occurrences) in enumerate(levels, start=1):
        counts = occurrences.astype(np.float64)
        if n < order:
            longer = levels[n][1]  # a place where each (n+1)-gram ends: there its tail ends, too
            counts = np.bincount(of_place[n - 1][longer], minlength=len(keys)).astype(np.float64)
            marked = (depth[firsts] == n - 1) & (occurrences > 0)
            counts[marked] = occurrences[marked]
        if n == 1:
            counts[vocab_size] = 0  # the mark is never predicted
        contexts = keys // size if n > 1 else np.zeros(len(keys), dtype=np.int64)
        own, backoff = _discounted(counts, contexts, len(tables[-1].keys) if n > 1 else 1)
        if n == 1:
            unigrams = (own + backoff[0] / vocab_size)[:vocab_size]
        else:
            tables[-1] = dataclasses.replace(tables[-1], backoff=backoff)
        tables.append(Table(keys, own, np.ones(len(keys))))
    return NGram(vocab_size, unigrams, tables)


def _unigrams(
    stream: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Keys (V + 1,), a place where each token stands (0 for none) and how often it occurs."""
    firsts = np.zeros(size, dtype=np.int64)
    firsts[stream[::-1]] = np.arange(len(stream))[::-1]
    return np.arange(size), firsts, np.bincount(stream, minlength=size)


def _discounted(
    counts: NDArray[np.float64], contexts: NDArray[np.int64], num_contexts: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Discounted shares (G,) of n-grams in their contexts, and γ of every context."""
    classes = np.minimum(counts, 3).astype(np.int64)  # 0 for what is never predicted
    discount = np.array([0.0, *_discounts(counts)])[classes]
    totals = np.bincount(contexts, weights=counts, minlength=num_contexts)
    taken = np.bincount(contexts, weights=discount, minlength=num_contexts)
    seen = totals > 0
    backoff = np.ones(num_contexts)
    backoff[seen] = taken[seen] / totals[seen]
    own = np.zeros(len(counts))
    there = counts > 0
    own[there] = (counts[there] - discount[there]) / totals[contexts[there]]
    return own, backoff


def _discounts(counts: NDArray[np.float64]) -> tuple[float, float, float]:
    """D1, D2 and D3+ of Chen & Goodman, from how many n-grams occur 1, 2, 3 and 4 times."""
    n1, n2, n3, n4 = (float((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return _FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 <= d <= k for k, d in enumerate(found, start=1)) else _FALLBACK


def _stream(
    sequences: Sequence[Ids], vocab_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All sequences, a mark before each (T,), and how far from its mark each token is (T,)."""
    mark = np.array([vocab_size])
    parts = [part for ids in sequences for part in (mark, np.asarray(ids, dtype=np.int64))]
    lengths = np.array([len(ids) + 1 for ids in sequences], dtype=np.int64)
    stream = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return stream, np.arange(len(stream)) - starts


def _find(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each number stands in sorted keys, or -1."""
    if not len(keys):
        return np.full(len(wanted), _NOWHERE)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, _NOWHERE)
