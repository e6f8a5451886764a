"""What n-grams of the rest of a text say of each of its tokens: softer targets to learn from.

A token is one draw of what could have stood in its place. What came after the same context
elsewhere in the text tells of the others, and a network that learns from both overfits less (Xie
et al. 2017, "Data noising as smoothing in neural network language models"; Malagutti et al. 2024,
"The role of n-gram smoothing in the age of neural networks").

For a token y after a context h, p(w | h) is interpolated modified Kneser-Ney (ngram.py) of the text
without this one token: the count of (h, y) is one less, and, where distinct tokens on the left are
counted, that of (h', y) is one less if the n-gram that is longer by one stands here alone. The
discounts are those of the whole text. As many marks stand before a sequence as the longest context
has tokens. Letters: N tokens, V types, U distinct n-grams of the highest order.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.backoff import Ids
from charlm.counts.ngram import discounts

ORDER = 6  # bench/RESULTS.md
MOST_NUMBERS = 2**27  # of U rows of V: 256 MB
_BLOCK = 2**18  # numbers of a block of rows


class LeftOut(NamedTuple):
    """Distributions: rows (U, V), and which of them each token of the text has, of_token (N,)."""

    rows: NDArray[np.float16]
    of_token: NDArray[np.int32]


class _Order(NamedTuple):
    """The distinct n-grams of one order, those of one context side by side.

    last are their last tokens, occurrences and counts say how often they stand in the text and
    what Kneser-Ney counts; context (U,) and own (U,) say, of each n-gram of the highest order,
    which context and which n-gram it has here, and offsets where the n-grams of a context begin.
    """

    last: NDArray[np.int64]
    occurrences: NDArray[np.int64]
    counts: NDArray[np.float32]
    discount: NDArray[np.float32]  # (4,) of counts of 0, 1, 2 and more
    offsets: NDArray[np.int64]
    context: NDArray[np.int32]
    own: NDArray[np.int32]


class _Found(NamedTuple):
    """Distinct n-grams: the numbers (G,) of context and token, a place of each, and of each token
    of the text (N,) which it ends; how often each occurs."""

    numbers: NDArray[np.int64]
    places: NDArray[np.int64]
    of_token: NDArray[np.int32]
    occurrences: NDArray[np.int64]


def left_out(
    ids: Ids, starts: NDArray[np.int64], vocab_size: int, *, most: int = MOST_NUMBERS
) -> LeftOut:
    """Of sequences one after another: ids (N,), and where each (S + 1,) begins.

    The n-grams are of ORDER tokens, or of fewer if their rows would hold more numbers than
    ``most``.
    """
    tokens = ids.astype(np.int64)
    found, contexts = _n_grams(tokens, starts, vocab_size, most)
    orders = _orders(found, contexts, tokens, vocab_size)
    targets = tokens[found[-1].places]
    rows = np.empty((len(targets), vocab_size), dtype=np.float16)
    block = max(1, _BLOCK // vocab_size)
    for at in range(0, len(targets), block):
        span = slice(at, at + block)
        rows[span] = _rows(orders, span, targets[span], vocab_size)
    return LeftOut(rows, found[-1].of_token)


def _n_grams(
    ids: NDArray[np.int64], starts: NDArray[np.int64], vocab_size: int, most: int
) -> tuple[list[_Found], list[NDArray[np.int32]]]:
    """Those of the orders 1, 2, …, and the number (N,) of the context of each token, by order."""
    places = np.arange(len(ids))
    depth = places - np.repeat(starts[:-1], np.diff(starts))
    context = np.zeros(len(ids), dtype=np.int64)
    found: list[_Found] = []
    contexts: list[NDArray[np.int32]] = []
    for n in range(ORDER):
        if n:
            before = np.where(depth >= n, ids[np.maximum(places - n, 0)], vocab_size)
            _, context = np.unique(context * (vocab_size + 1) + before, return_inverse=True)
        numbers, firsts, index, occurrences = np.unique(
            context * vocab_size + ids, return_index=True, return_inverse=True, return_counts=True
        )
        if found and len(numbers) * vocab_size > most:
            break
        found.append(_Found(numbers, firsts, index.astype(np.int32), occurrences))
        contexts.append(context.astype(np.int32))
    return found, contexts


def _orders(
    found: list[_Found], contexts: list[NDArray[np.int32]], ids: NDArray[np.int64], vocab_size: int
) -> list[_Order]:
    """What Kneser-Ney counts of each order."""
    longest = found[-1]
    orders = []
    for n, (here, context) in enumerate(zip(found, contexts, strict=True), start=1):
        counts = here.occurrences
        if n < len(found):  # each longer n-gram ends where its tail ends, too
            counts = np.bincount(here.of_token[found[n].places], minlength=len(here.numbers))
        of_context = here.numbers // vocab_size
        orders.append(
            _Order(
                last=ids[here.places],
                occurrences=here.occurrences,
                counts=counts.astype(np.float32),
                discount=np.array([0.0, *discounts(counts)], dtype=np.float32),
                offsets=np.searchsorted(of_context, np.arange(of_context[-1] + 2)),
                context=context[longest.places],
                own=here.of_token[longest.places],
            )
        )
    return orders


def _rows(
    orders: list[_Order], span: slice, targets: NDArray[np.int64], vocab_size: int
) -> NDArray[np.float32]:
    """p (B, V) of some of the n-grams of the highest order, each without one of itself."""
    at = np.arange(len(targets))
    p = np.full((len(targets), vocab_size), 1 / vocab_size, dtype=np.float32)
    for order, longer in zip(orders, (*orders[1:], None), strict=True):
        context = order.context[span]
        begin = order.offsets[context]
        sizes = order.offsets[context + 1] - begin
        row = np.repeat(at, sizes)
        cell = np.arange(len(row)) + np.repeat(begin - (np.cumsum(sizes) - sizes), sizes)
        counts = np.zeros_like(p)
        counts[row, order.last[cell]] = order.counts[cell]
        # Of the highest order one goes; below, what is on the left here, if nowhere else.
        goes = True if longer is None else longer.occurrences[longer.own[span]] == 1
        counts[at, targets] -= goes
        discount = order.discount[np.minimum(counts, 3).astype(np.int8)]
        total = counts.sum(axis=1, keepdims=True)
        backed_off = discount.sum(axis=1, keepdims=True) * p
        counts -= discount
        counts += backed_off
        np.divide(counts, total, out=p, where=total > 0)  # where nothing is left, p stays
    return p
