"""A mixture of distributions whose weights are learned as it reads.

Of distributions p_1, …, p_K over the same types

    q(v) = Πk p_k(v)^w_k / Σu Πk p_k(u)^w_k

(logarithmic pooling, Genest & Zidek 1986). After a token y the weights go up the gradient of
log q(y),

    w_k += rate (log p_k(y) - Σv q(v) log p_k(v)),

those of ``BLOCK`` tokens together, once all of them have been predicted. A weight is a sum: of
one for how much its context has seen, and of one for each of some things that are known of the
place (Mattern 2013 and paq choose whole sets of weights so).

The first K - C inputs are given as rows over all types; the last of them is the base of the C
contexts (seen.py), which are that row and something more at a few types. To begin with half of the
weight is the first two inputs', the other half is shared by all. Letters: N places, R rows
of weights, S that are added up at each place.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.contexts import CHAIN, LONG, WORDS, Contexts
from charlm.counts.seen import CONFIDENCES, Seen

RATES = {"char": 5e-4, "word": 1e-4, "subword": 2e-4}  # the more types, the larger the gradient
BLOCK = 16
_TOKENS = 1024  # rows for the token before: types share them if they are more
_LONGEST_WORD = 9
LARGEST_WEIGHT = 100.0

Rows = Sequence[NDArray[np.floating[Any]]]  # K - C of them, each (N, V)


class Weights(NamedTuple):
    """by_confidence (CONFIDENCES, K) and by_place (R, K): sums of them are weights."""

    by_confidence: NDArray[np.float64]
    by_place: NDArray[np.float64]

    def at(self, confidence: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weights (N, K) by the confidence (N, K) of each input, and the rows chosen (N, S)."""
        inputs = np.arange(confidence.shape[1])
        return np.asarray(
            self.by_confidence[confidence, inputs] + self.by_place[chosen].sum(axis=1)
        )


class Step(NamedTuple):
    """What weights learn from some places: the gradient (N, K), and where they came from."""

    gradient: NDArray[np.float64]
    confidence: NDArray[np.int64]
    chosen: NDArray[np.int64]


class Choice:
    """What chooses weights: contexts that have been seen, the token before, the place in a word."""

    def __init__(self, contexts: Contexts, vocab_size: int) -> None:
        self._chain, self._long, self._words = map(contexts.indices, (CHAIN, LONG, WORDS))
        seen = (len(self._chain) + 1) * (len(self._long) + 1) * (len(self._words) + 1)
        self._tokens = min(vocab_size + 1, _TOKENS)
        self._sizes = (seen, self._tokens, _LONGEST_WORD + 1)

    @property
    def rows(self) -> int:
        """How many rows of weights there are (R)."""
        return sum(self._sizes)

    def chosen(
        self,
        confidence: NDArray[np.int64],
        before: NDArray[np.integer[Any]],
        in_word: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """The rows (N, S), by the confidence of contexts (N, C), the token before each place (N,)
        and how far it is into its word (N,)."""
        there = confidence > 0
        longest = np.zeros(len(there), dtype=np.int64)
        for number, index in enumerate(self._chain, start=1):
            longest[there[:, index]] = number
        of_long, of_words = (there[:, some].sum(axis=1) for some in (self._long, self._words))
        seen = longest * (len(self._long) + 1) + of_long
        seen = seen * (len(self._words) + 1) + of_words
        first, second, _ = np.cumsum(self._sizes)
        token, letter = before % self._tokens, np.minimum(in_word, _LONGEST_WORD)
        return np.stack((seen, first + token, second + letter), axis=1)


def first_weights(inputs: int, rows: int) -> Weights:
    """Those of which nothing is known."""
    by_confidence = np.full((CONFIDENCES, inputs), 0.5 / inputs)
    by_confidence[:, :2] += 0.25
    return Weights(by_confidence, np.zeros((rows, inputs)))


def shared(weights: Weights) -> Weights:
    """Those of one more input, the second, which is given half of what the first has."""
    halves = [np.repeat(table[:, :1] / 2, 2, axis=1) for table in weights]
    pairs = zip(halves, weights, strict=True)
    return Weights(*(np.concatenate((half, table[:, 1:]), axis=1) for half, table in pairs))


def mixed(weights: NDArray[np.float64], rows: Rows, seen: Seen) -> NDArray[Any]:
    """log q (N, V) by weights (N, K)."""
    types = rows[0].shape[1]
    of_rows, of_seen = weights[:, : len(rows)].copy(), weights[:, len(rows) :]
    of_rows[:, -1] += of_seen.sum(axis=1)
    dtype = rows[0].dtype
    total = rows[0] * of_rows[:, :1].astype(dtype)
    for index, row in enumerate(rows[1:], start=1):
        total += row * of_rows[:, index : index + 1].astype(dtype)
    more = of_seen[seen.place, seen.context] * seen.value
    np.add.at(total.reshape(-1), seen.place * types + seen.type, more.astype(dtype))
    total -= total.max(axis=1, keepdims=True)
    sums = np.exp(total).sum(axis=1, keepdims=True, dtype=np.float64)
    total -= np.log(sums).astype(dtype)
    return np.asarray(total)


def gradient(
    log_q: NDArray[Any], rows: Rows, seen: Seen, tokens: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """How log q of tokens (N,) changes with the weights of each input (N, K)."""
    q = np.exp(log_q)
    number, contexts = seen.confidence.shape
    at = np.arange(number)
    found = np.empty((number, len(rows) + contexts))
    for index, row in enumerate(rows):
        found[:, index] = row[at, tokens] - np.einsum("nv,nv->n", q, row)
    off = (seen.type == tokens[seen.place]) - q[seen.place, seen.type]
    cells = seen.place * contexts + seen.context
    of_seen = np.bincount(cells, seen.value * off, minlength=number * contexts)
    found[:, len(rows) :] = of_seen.reshape(number, contexts) + found[:, len(rows) - 1, None]
    return found


def learned(weights: Weights, steps: Sequence[Step], rate: float) -> Weights:
    """The weights after some steps, taken together."""
    slope, confidence, chosen = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    slope = slope * rate
    inputs = slope.shape[1]
    by_confidence, by_place = weights.by_confidence.copy(), weights.by_place.copy()
    columns = np.arange(inputs)
    np.add.at(by_confidence.reshape(-1), confidence * inputs + columns, slope)
    cells = chosen[:, :, None] * inputs + columns
    np.add.at(by_place.reshape(-1), cells, np.broadcast_to(slope[:, None], cells.shape))
    for table in (by_confidence, by_place):
        np.clip(table, -LARGEST_WEIGHT, LARGEST_WEIGHT, out=table)
    return Weights(by_confidence, by_place)
