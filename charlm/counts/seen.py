"""What contexts have seen, as what it adds to a distribution that knows nothing of them.

Of the tokens that followed a context before, the latest count 1, each one before it by ``DECAY``
less: c(v) of type v. With N = Σ c, m = Σ min(c, D) and another distribution p,

    p_k(v) = (max(c(v) - D, 0) + (s + m) p(v)) / (N + s)

adds up to 1 (interpolated absolute discounting). Where v was not seen, log p_k(v) - log p(v) is one
constant, which a softmax does not notice. So of each context there is kept

    d_k(v) = log(1 + max(c(v) - D, 0) / ((s + m) p(v)))

for the few types with c > D. Letters: N places, C contexts, V types, E what was seen, over all.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.memory import MOST_MATCHES, Matches

DECAY = 1 - 1 / 30
DISCOUNT = 0.5  # D
PRIOR = 0.05  # s
_DECAYS = DECAY ** np.arange(MOST_MATCHES)
_EDGES = np.array([0.5, 1.5, 2.5, 4.5, 9.0, 18.0])  # of N, between levels of confidence
CONFIDENCES = 2 + 2 * len(_EDGES)
_FEW_CELLS = 2**22


class Seen(NamedTuple):
    """What was seen at N places: value (E,) is d of a type in a context at a place, in its order.

    first (N + 1,) is where each place begins among them; confidence (N, C) is 0 where a context
    has not been seen, more the more often, and odd or even by whether one type alone followed.
    """

    place: NDArray[np.int64]
    context: NDArray[np.int64]
    type: NDArray[np.int64]
    value: NDArray[np.floating[Any]]
    first: NDArray[np.int64]
    confidence: NDArray[np.int64]

    def part(self, begin: int, end: int) -> "Seen":
        """That of the places from begin to end."""
        span = slice(self.first[begin], self.first[end])
        return Seen(
            self.place[span] - begin,
            self.context[span],
            self.type[span],
            self.value[span],
            self.first[begin : end + 1] - self.first[begin],
            self.confidence[begin:end],
        )


def seen(matches: Matches, contexts: int, base: NDArray[np.floating[Any]]) -> Seen:
    """Of matches of so many contexts, query i C + c at place i; base (N, V) is log p."""
    places, types = base.shape
    queries = places * contexts
    cells, counts = _counted(matches, queries * types, types)
    query = cells // types
    type_ = cells - query * types
    total = np.bincount(query, counts, minlength=queries)
    kept = np.bincount(query, np.minimum(counts, DISCOUNT), minlength=queries)
    number = np.bincount(query, minlength=queries)
    confidence = 2 * np.searchsorted(_EDGES, total) + (number == 1)
    confidence[total == 0] = 0
    over = counts > DISCOUNT
    query, type_, counts = query[over], type_[over], counts[over]
    place = query // contexts
    share = (counts - DISCOUNT) / (PRIOR + kept[query])
    value = np.log1p(share * np.exp(-base[place, type_].astype(np.float64)))
    return Seen(
        place,
        query - place * contexts,
        type_,
        value.astype(base.dtype),
        np.searchsorted(place, np.arange(places + 1)),
        confidence.reshape(places, contexts),
    )


def _counted(
    matches: Matches, size: int, types: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of ``size`` cells, query by type, occur, ascending, and c of each."""
    cells, weights = matches.query * types + matches.token, _DECAYS[matches.rank]
    if size <= _FEW_CELLS:
        counts = np.bincount(cells, weights, minlength=size)
        found = np.flatnonzero(counts)
        return np.asarray(found, np.int64), np.asarray(counts[found], np.float64)
    found, which = np.unique(cells, return_inverse=True)
    counts = np.bincount(which, weights, minlength=len(found))
    return found, np.asarray(counts, np.float64)
