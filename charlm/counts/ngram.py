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

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CheckpointError, UsageError

HIGHEST_ORDER = 8
_FALLBACK = (0.5, 1.0, 1.5)  # where there are too few n-grams to estimate a discount from
_NOWHERE = -1
_KINDS = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))

Ids = NDArray[np.integer[Any]]


class Level(NamedTuple):
    """The n-grams of one order: keys (G,), sorted, and what is counted of each, counts (G,)."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]


class Look(NamedTuple):
    """What the model makes of N tokens: log P (nats), and how many tokens before each it knew."""

    log_probs: NDArray[np.float64]  # (N,)
    matched: NDArray[np.int8]  # (N,), 0 to order - 1


class Table(NamedTuple):
    """The n-grams of one order, as they are looked up.

    own (G,) is what the discounted count gives of p(w | h); backoff (G,) is γ of the n-gram as a
    context, 1 where nothing was seen after it.
    """

    keys: NDArray[np.int64]
    own: NDArray[np.float64]
    backoff: NDArray[np.float64]


class NGram:
    """p(w | the tokens before), for tokens and for whole distributions.

    It is all in the counts of its levels, of orders 1, 2, …; whatever they are, every
    distribution adds up to 1.
    """

    def __init__(self, vocab_size: int, levels: Sequence[Level]) -> None:
        self.vocab_size = vocab_size
        self.levels = tuple(levels)
        size = vocab_size + 1
        tables: list[Table] = []
        for n, (keys, counts) in enumerate(self.levels, start=1):
            contexts = keys // size if n > 1 else np.zeros(len(keys), dtype=np.int64)
            own, backoff = _discounted(counts, contexts, len(tables[-1].keys) if n > 1 else 1)
            if n == 1:
                # (V,) p(w), backed off to the uniform distribution
                self.unigrams = (own + backoff[0] / vocab_size)[:vocab_size]
            else:
                tables[-1] = tables[-1]._replace(backoff=backoff)
            tables.append(Table(keys, own, np.ones(len(keys))))
        self.tables = tuple(tables)

    @property
    def order(self) -> int:
        """The longest n-gram: what a token depends on, itself included."""
        return len(self.levels)

    def token_log_probs(self, sequences: Sequence[Ids]) -> NDArray[np.float64]:
        """log P (N,) in nats of each token of sequences that end in <EOS>, one after another."""
        stream, depth = marked_stream(sequences, self.vocab_size)
        return self._look(stream, depth).log_probs

    def look(self, sequences: Sequence[Ids]) -> Look:
        """The same, and how much of what stands before each token is known."""
        return self._look(*marked_stream(sequences, self.vocab_size))

    def look_on(self, before: Ids, ids: Ids) -> Look:
        """The same of ids (T,) that go on where ``before`` ends, whose beginning is the mark."""
        stream = np.concatenate((before, ids)).astype(np.int64)
        found = self._look(stream, np.arange(len(stream)))
        own = slice(len(stream) - 1 - len(ids), None)
        return Look(found.log_probs[own], found.matched[own])

    def _look(self, stream: NDArray[np.int64], depth: NDArray[np.int64]) -> Look:
        """At each place of a stream that is no mark; depth counts the tokens since one."""
        within = depth > 0
        p = np.ones(len(stream))
        p[within] = self.unigrams[stream[within]]
        matched = np.zeros(len(stream), dtype=np.int8)
        before = stream.copy()  # (T,) the index of the (n-1)-gram that ends at each place
        for order, table in enumerate(self.tables[1:], start=2):
            places = np.flatnonzero(depth >= order - 1)
            contexts = before[places - 1]
            places, contexts = places[contexts >= 0], contexts[contexts >= 0]
            backoff = self.tables[order - 2].backoff[contexts]
            p[places] *= backoff
            matched[places[backoff < 1]] = order - 1
            found = _find(table.keys, contexts * (self.vocab_size + 1) + stream[places])
            hit = found >= 0
            p[places[hit]] += table.own[found[hit]]
            before = np.full(len(stream), _NOWHERE)
            before[places] = found
        return Look(np.log(p[within]), matched[within])

    def rows(
        self, contexts: Ids, dtype: type[np.floating[Any]] = np.float64
    ) -> tuple[NDArray[Any], NDArray[np.int8]]:
        """P (B, V) of what follows contexts (B, C), and how many of their tokens were known (B,).

        A context ends at the right; left of a mark, with which its sequence begins, stands -1.
        """
        batch, vocab_size = len(contexts), self.vocab_size
        context = contexts[:, max(0, contexts.shape[1] - self.order + 1) :].astype(np.int64)
        p = np.repeat(self.unigrams.astype(dtype)[None], batch, axis=0)
        matched = np.zeros(batch, dtype=np.int8)
        for length in range(1, context.shape[1] + 1):
            index = self._index(context[:, -length:])
            rows = np.flatnonzero(index >= 0)
            backoff = self.tables[length - 1].backoff[index[rows]]
            rows, backoff = rows[backoff < 1], backoff[backoff < 1]
            p[rows] *= backoff[:, None].astype(dtype)
            matched[rows] = length
            table = self.tables[length]
            first = index[rows] * (vocab_size + 1)
            begin = np.searchsorted(table.keys, first)
            number = np.searchsorted(table.keys, first + vocab_size + 1) - begin
            found = np.repeat(begin - np.cumsum(number) + number, number) + np.arange(number.sum())
            types = table.keys[found] - np.repeat(first, number)
            p[np.repeat(rows, number), types] += table.own[found].astype(dtype)
        return p, matched

    def _index(self, grams: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where n-grams (B, n) stand in the table of their order, or -1."""
        index = grams[:, 0]
        for n, token in enumerate(grams.T[1:], start=2):
            known = np.where(index >= 0, index, 0) * (self.vocab_size + 1) + token
            found = _find(self.tables[n - 1].keys, known)
            index = np.where(index >= 0, found, _NOWHERE)
        return index


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
        index = np.full(len(stream), _NOWHERE, dtype=np.int64)
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
    size = model.vocab_size + 1
    arrays: dict[str, NDArray[Any]] = {}
    for n, (keys, counts) in enumerate(model.levels, start=1):
        arrays[f"counts.{n}"] = small(counts)
        if n > 1:
            contexts = len(model.levels[n - 2].keys)
            arrays[f"tokens.{n}"] = small(keys % size)
            arrays[f"sizes.{n}"] = small(np.bincount(keys // size, minlength=contexts))
    return arrays


def from_arrays(vocab_size: int, arrays: Mapping[str, NDArray[Any]]) -> NGram:
    """The model that ``to_arrays`` wrote. Raises CheckpointError if these are not its arrays."""
    order = (len(arrays) + 2) // 3
    names = {"counts.1"} | {
        f"{kind}.{n}" for n in range(2, order + 1) for kind in ("counts", "tokens", "sizes")
    }
    if set(arrays) != names or not 1 <= order <= HIGHEST_ORDER:
        raise _damaged("the wrong arrays")
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype not in _KINDS:
            raise _damaged(f"a wrong kind of {name}")
    counts = arrays["counts.1"].astype(np.int64)
    if len(counts) != vocab_size + 1 or counts[vocab_size] != 0 or not counts.any():
        raise _damaged("the wrong number of types")
    levels = [Level(np.arange(vocab_size + 1), counts)]
    for n in range(2, order + 1):
        sizes, tokens = (arrays[f"{kind}.{n}"].astype(np.int64) for kind in ("sizes", "tokens"))
        counts = arrays[f"counts.{n}"].astype(np.int64)
        whole = len(sizes) == len(levels[-1].keys) and sizes.sum() == len(tokens) == len(counts)
        if not whole or not (tokens < vocab_size).all() or not (counts > 0).all():
            raise _damaged(f"wrong n-grams of order {n}")
        keys = np.repeat(np.arange(len(sizes)), sizes) * (vocab_size + 1) + tokens
        if not (np.diff(keys) > 0).all():
            raise _damaged(f"n-grams of order {n} out of order")
        levels.append(Level(keys, counts))
    return NGram(vocab_size, levels)


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f"the n-gram model is damaged: it has {what}.")


def small(values: NDArray[np.int64]) -> NDArray[Any]:
    """The same numbers, none negative, in the fewest bytes."""
    return values.astype(
        next(kind for kind in _KINDS if values.max(initial=0) <= np.iinfo(kind).max)
    )


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


def _discounts(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """D1, D2 and D3+ of Chen & Goodman, from how many n-grams occur 1, 2, 3 and 4 times.

    A discount of 0 would leave nothing for what was not seen.
    """
    n1, n2, n3, n4 = (float((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return _FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < d <= k for k, d in enumerate(found, start=1)) else _FALLBACK


def marked_stream(
    sequences: Sequence[Ids], vocab_size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All sequences, a mark before each (T,), and how far from its mark each token is (T,).

    The mark is the id vocab_size.
    """
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
