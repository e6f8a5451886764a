"""A back-off model over token ids: n-grams of several orders, each with its share of P.

    p(w | h) = own(h w) + γ(h) p(w | h')

where h is a context, h' its tail of one token less, own is 0 of what is not in the tables, and γ
is 1 of a context that is not. Counts become such a model by Kneser and Ney's smoothing (ngram.py);
a file of the ARPA format is one as it stands, own being what it says of p(h w) beyond γ(h) p(w|h').
A sequence begins after one mark, whose id is vocab_size.

An n-gram is known by the index of its first n-1 tokens in the table before and its last token,
as one number; each table is sorted, so all n-grams of one context lie side by side. Letters: T
tokens, V types, G n-grams of one order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CheckpointError

LONGEST = 16  # of the n-grams of a model that was not counted here
NEVER = 1e-100  # P of what has none, as KenLM has it: a logarithm is always finite
_NOWHERE = -1
_KINDS = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))

Ids = NDArray[np.integer[Any]]


class Look(NamedTuple):
    """What the model makes of N tokens: log P (nats), and how many tokens before each it knew."""

    log_probs: NDArray[np.float64]  # (N,)
    matched: NDArray[np.int8]  # (N,), 0 to order - 1


class Table(NamedTuple):
    """The n-grams of one order, as they are looked up.

    own (G,) is what an n-gram has of p(w | h) for itself; backoff (G,) is γ of the n-gram as a
    context; followed (G,) whether there are longer ones that begin with it.
    """

    keys: NDArray[np.int64]
    own: NDArray[np.float64]
    backoff: NDArray[np.float64]
    followed: NDArray[np.bool_]


class BackOff:
    """p(w | the tokens before), for tokens and for whole distributions.

    unigrams (V,) are p(w); of the first table own means nothing.
    """

    def __init__(
        self, vocab_size: int, unigrams: NDArray[np.float64], tables: Sequence[Table]
    ) -> None:
        self.vocab_size = vocab_size
        self.unigrams = unigrams
        self.tables = tuple(tables)

    @property
    def order(self) -> int:
        """The longest n-gram: what a token depends on, itself included."""
        return len(self.tables)

    @property
    def num_ngrams(self) -> int:
        """The n-grams of all orders."""
        return sum(len(table.keys) for table in self.tables)

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
        within = depth > 0
        p, matched = self.probs(stream, depth)
        return Look(np.log(p[within]), matched[within])

    def probs(
        self, stream: NDArray[np.int64], depth: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """P (T,) of each token of a stream after those before it, and how many of them matched.

        depth (T,) says how many of the tokens before each may be looked at; where that is none P
        is 1.
        """
        within = depth > 0
        p = np.ones(len(stream))
        p[within] = self.unigrams[stream[within]]
        matched = np.zeros(len(stream), dtype=np.int8)
        before = stream.copy()  # (T,) the index of the (n-1)-gram that ends at each place
        for order, table in enumerate(self.tables[1:], start=2):
            places = np.flatnonzero(depth >= order - 1)
            contexts = before[places - 1]
            places, contexts = places[contexts >= 0], contexts[contexts >= 0]
            shorter = self.tables[order - 2]
            p[places] *= shorter.backoff[contexts]
            matched[places[shorter.followed[contexts]]] = order - 1
            found = find(table.keys, contexts * (self.vocab_size + 1) + stream[places])
            hit = found >= 0
            p[places[hit]] += table.own[found[hit]]
            before = np.full(len(stream), _NOWHERE)
            before[places] = found
        return np.maximum(p, NEVER), matched

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
            shorter, table = self.tables[length - 1 : length + 1]
            index = self._index(context[:, -length:])
            rows = np.flatnonzero(index >= 0)
            backoff, followed = shorter.backoff[index[rows]], shorter.followed[index[rows]]
            matched[rows[followed]] = length
            bears = followed | (backoff != 1)
            rows, backoff = rows[bears], backoff[bears]
            p[rows] *= backoff[:, None].astype(dtype)
            first = index[rows] * (vocab_size + 1)
            begin = np.searchsorted(table.keys, first)
            number = np.searchsorted(table.keys, first + vocab_size + 1) - begin
            found = np.repeat(begin - np.cumsum(number) + number, number) + np.arange(number.sum())
            types = table.keys[found] - np.repeat(first, number)
            p[np.repeat(rows, number), types] += table.own[found].astype(dtype)
        return np.maximum(p, NEVER, out=p) if dtype is np.float64 else p, matched

    def _index(self, grams: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where n-grams (B, n) stand in the table of their order, or -1."""
        index = grams[:, 0]
        for n, token in enumerate(grams.T[1:], start=2):
            known = np.where(index >= 0, index, 0) * (self.vocab_size + 1) + token
            found = find(self.tables[n - 1].keys, known)
            index = np.where(index >= 0, found, _NOWHERE)
        return index


def to_arrays(model: BackOff) -> dict[str, NDArray[Any]]:
    """The tables: of each order what follows each context, with its share and its weight.

    Of order n, ``tokens.n`` (G,) are the last tokens, ``sizes.n`` how many of them each (n-1)-gram
    has, ``own.n`` and ``backoff.n`` (G,) as in a Table; of order 1 ``own.1`` (V,) are the unigrams
    and ``backoff.1`` (V + 1,) those of the mark, too.
    """
    arrays: dict[str, NDArray[Any]] = {"own.1": model.unigrams}
    for n, table in enumerate(model.tables, start=1):
        arrays[f"backoff.{n}"] = table.backoff
        if n > 1:
            arrays[f"own.{n}"] = table.own
            arrays |= keys_to_arrays(n, table.keys, len(model.tables[n - 2].keys), model.vocab_size)
    return arrays


def from_arrays(vocab_size: int, arrays: Mapping[str, NDArray[Any]]) -> BackOff:
    """The model that ``to_arrays`` wrote. Raises CheckpointError if these are not its arrays."""
    order = (len(arrays) + 2) // 4
    names = {"own.1", "backoff.1"} | {
        f"{kind}.{n}" for n in range(2, order + 1) for kind in ("own", "backoff", "tokens", "sizes")
    }
    if set(arrays) != names or not 1 <= order <= LONGEST:
        raise damaged("the wrong arrays")
    for n in range(1, order + 1):
        for name in (f"own.{n}", f"backoff.{n}"):
            array = arrays[name]
            if array.ndim != 1 or array.dtype != np.float64 or not np.isfinite(array).all():
                raise damaged(f"a wrong kind of {name}")
    unigrams = arrays["own.1"]
    if len(unigrams) != vocab_size or not (unigrams > 0).all():
        raise damaged("the wrong number of types")
    keys = [np.arange(vocab_size + 1)]
    for n in range(2, order + 1):
        keys.append(keys_from_arrays(n, arrays, len(keys[-1]), vocab_size))
    for n, known in enumerate(keys, start=1):
        shares, weights = arrays[f"own.{n}"], arrays[f"backoff.{n}"]
        whole = len(weights) == len(known) and (n == 1 or len(shares) == len(known))
        if not whole or (weights <= 0).any():
            raise damaged(f"wrong n-grams of order {n}")
    own = [np.append(unigrams, 0.0), *(arrays[f"own.{n}"] for n in range(2, order + 1))]
    backoffs = [arrays[f"backoff.{n}"] for n in range(1, order + 1)]
    return BackOff(vocab_size, unigrams, tables_of(vocab_size, keys, own, backoffs))


def tables_of(
    vocab_size: int,
    keys: Sequence[NDArray[np.int64]],
    own: Sequence[NDArray[np.float64]],
    backoffs: Sequence[NDArray[np.float64]],
) -> list[Table]:
    """The tables of all orders from what they hold."""
    tables = []
    for n, (known, shares, weights) in enumerate(zip(keys, own, backoffs, strict=True), start=1):
        followed = np.zeros(len(known), dtype=bool)
        if n < len(keys):
            followed[keys[n] // (vocab_size + 1)] = True
        tables.append(Table(known, shares, weights, followed))
    return tables


def keys_to_arrays(
    n: int, keys: NDArray[np.int64], contexts: int, vocab_size: int
) -> dict[str, NDArray[Any]]:
    """The n-grams of one order in little memory, of so many contexts."""
    size = vocab_size + 1
    return {
        f"tokens.{n}": small(keys % size),
        f"sizes.{n}": small(np.bincount(keys // size, minlength=contexts)),
    }


def keys_from_arrays(
    n: int, arrays: Mapping[str, NDArray[Any]], contexts: int, vocab_size: int
) -> NDArray[np.int64]:
    """The keys (G,) of an order. Raises CheckpointError if they cannot be."""
    for name in (f"tokens.{n}", f"sizes.{n}"):
        if arrays[name].ndim != 1 or arrays[name].dtype not in _KINDS:
            raise damaged(f"a wrong kind of {name}")
    sizes, tokens = (arrays[f"{kind}.{n}"].astype(np.int64) for kind in ("sizes", "tokens"))
    whole = len(sizes) == contexts and sizes.sum() == len(tokens)
    if not whole or not (tokens < vocab_size).all():
        raise damaged(f"wrong n-grams of order {n}")
    keys = np.repeat(np.arange(contexts), sizes) * (vocab_size + 1) + tokens
    if not (np.diff(keys) > 0).all():
        raise damaged(f"n-grams of order {n} out of order")
    return keys


def damaged(what: str) -> CheckpointError:
    """The error of a file that holds something else."""
    return CheckpointError(f"the n-gram model is damaged: it has {what}.")


def small(values: NDArray[np.int64]) -> NDArray[Any]:
    """The same numbers, none negative, in the fewest bytes."""
    return values.astype(
        next(kind for kind in _KINDS if values.max(initial=0) <= np.iinfo(kind).max)
    )


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


def find(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each number stands in sorted keys, or -1."""
    if not len(keys):
        return np.full(len(wanted), _NOWHERE)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, _NOWHERE)
