"""All that joint n-grams (joint.py) can write for a source, and how likely each of it is.

A place in a source has as many states as contexts of the n-gram can stand there, and from each the
chunks lead on that take the symbol there. β<i>(z), the sum over all that can still come, makes of
P(chunk | z) the share P(chunk | z, all of s) = P(chunk | z) β<i+1>(z') / β<i>(z), so given its
source a target is a Markov chain. With π<i>(z, j) the share of what has written the first j symbols
of t in front of place i,

    P(t<1..j> | s) = Σ over chunks that begin in front of j and write as t does up to j or further
    P(t | s)       = Σ_z π<S>(z, T)

Letters: N pairs, M states of one place in all sources, R chunks from there, B the most that a chunk
writes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.joint import Ids, JointNGram, Numbers, Values

_AT_ONCE = 512  # sources
_OUTSIDE = -2  # behind the end of a target: what no chunk writes


class Layer(NamedTuple):
    """The states at one place of sources, and the chunks from there, by state, to the next layer.

    The shares of those from one state add up to 1.
    """

    rows: Numbers  # (M,) which source
    number: Numbers  # (M,) chunks; none where the source ends
    chunks: Numbers  # (R,)
    to: Numbers  # (R,) states of the next layer
    shares: Values  # (R,)

    def onward(self, states: Numbers) -> tuple[Numbers, Numbers]:
        """Of states (L,): the places of their chunks (R',), and which of the states each is of."""
        first, number = np.cumsum(self.number) - self.number, self.number[states]
        places = np.repeat(first[states] - np.cumsum(number) + number, number)
        return places + np.arange(len(places)), np.repeat(np.arange(len(states)), number)


class Lattice(NamedTuple):
    """The layers of sources, and log P(s) (N,) in nats. The first has a state for each source."""

    layers: list[Layer]
    log_p: Values


def lattice_of(model: JointNGram, sources: Sequence[Ids]) -> Lattice:
    """What can be written for sources, which have no <EOS>."""
    length, symbols = side_by_side(sources, 0)
    rows, states = np.arange(len(sources)), np.full(len(sources), model.start)
    layers: list[Layer] = []
    last = []  # P(end | state) where a source ends, else 0
    for place in range(symbols.shape[1] + 1):
        going = np.flatnonzero(length[rows] > place)
        ended = np.flatnonzero(length[rows] == place)
        ends = np.zeros(len(rows))
        ends[ended] = model.ends(states[ended])
        last.append(ends)
        number = np.zeros(len(rows), np.int64)
        asked = symbols[rows[going], place] if len(going) else going
        number[going], chunks, p, after = model.onward(states[going], asked)
        keys = np.repeat(rows, number) * model.num_states + after
        found, to = np.unique(keys, return_inverse=True)
        layers.append(Layer(rows, number, chunks, to, p))
        rows, states = np.divmod(found, model.num_states)
    beta, scale = np.empty(0), np.zeros(len(sources))
    for place in range(len(layers) - 1, -1, -1):
        layer = layers[place]
        of_chunks = layer.shares * beta[layer.to]
        origin = np.repeat(np.arange(len(layer.rows)), layer.number)
        sums = last[place] + np.bincount(origin, of_chunks, minlength=len(layer.rows))
        layers[place] = layer._replace(shares=of_chunks / sums[origin])
        largest = _largest(layer.rows, sums, len(sources))  # so that none vanishes
        scale += np.log(largest)
        beta = sums / largest[layer.rows]
    return Lattice(layers, np.log(beta) + scale)


def log_probs(model: JointNGram, sources: Sequence[Ids], targets: Sequence[Ids]) -> Values:
    """log P(t | s) (N,) in nats of targets, neither side with <EOS>."""
    return np.array([found[-1] for found in prefix_log_probs(model, sources, targets)])


def prefix_log_probs(
    model: JointNGram, sources: Sequence[Ids], targets: Sequence[Ids]
) -> list[Values]:
    """Of each pair log P (T + 1,): of what begins with t<1>, with t<1..2>, …, and of t itself."""
    found: list[Values] = [np.empty(0)] * len(sources)
    asked: dict[tuple[int, ...], list[int]] = {}  # the pairs of each different source
    for at, source in enumerate(sources):
        asked.setdefault(tuple(source.tolist()), []).append(at)
    different = sorted(asked, key=lambda source: (len(source), source))
    for begin in range(0, len(different), _AT_ONCE):
        part = different[begin : begin + _AT_ONCE]
        pairs = [(row, at) for row, source in enumerate(part) for at in asked[source]]
        lattice = lattice_of(model, [np.array(source, np.int64) for source in part])
        rows = np.array([row for row, _ in pairs])
        several = prefixes(model, lattice, rows, [targets[at] for _, at in pairs])
        for (_, at), one in zip(pairs, several, strict=True):
            found[at] = one
    return found


def prefixes(
    model: JointNGram, lattice: Lattice, rows: Numbers, targets: Sequence[Ids]
) -> list[Values]:
    """The same of targets for rows (N,) of a lattice."""
    written = model.chunks.target  # (K, B)
    most = written.shape[1]
    sizes = (written >= 0).sum(axis=1)
    length, wanted = side_by_side(targets, _OUTSIDE)
    width = wanted.shape[1] + 1
    wanted = np.pad(wanted, ((0, 0), (0, most)), constant_values=_OUTSIDE)
    number = len(rows)
    pairs, states, j = np.arange(number), rows, np.zeros(number, np.int64)
    share: NDArray[Any] = np.ones(number)
    scale = np.zeros(number)
    begun = np.full((number, width), -np.inf)  # log P of what begins with so many symbols
    whole = np.full(number, -np.inf)
    for layer in lattice.layers:
        ended = np.flatnonzero((layer.number[states] == 0) & (j == length[pairs]))
        sums = np.bincount(pairs[ended], share[ended], minlength=number)
        whole = np.logaddexp(whole, _log(sums) + scale)
        places, origin = layer.onward(states)
        chunks, pairs, j = layer.chunks[places], pairs[origin], j[origin]
        share = share[origin] * layer.shares[places]
        fits = np.ones(len(chunks), bool)
        sums = np.zeros(number * width)
        for k in range(most):
            fits &= (written[chunks, k] == wanted[pairs, j + k]) | (k >= sizes[chunks])
            there = np.flatnonzero(fits & (k < sizes[chunks]))
            cells = pairs[there] * width + j[there] + k + 1
            sums += np.bincount(cells, share[there], minlength=len(sums))
        begun = np.logaddexp(begun, _log(sums).reshape(number, width) + scale[:, None])
        kept = np.flatnonzero(fits)
        pairs, j, share = pairs[kept], j[kept] + sizes[chunks[kept]], share[kept]
        keys = (pairs * width + j) * (layer.to.max(initial=0) + 1) + layer.to[places[kept]]
        found, inverse = np.unique(keys, return_inverse=True)
        share = np.bincount(inverse, share, minlength=len(found))
        pairs, states = np.divmod(found, layer.to.max(initial=0) + 1)
        pairs, j = np.divmod(pairs, width)
        largest = _largest(pairs, share, number)
        share = share / largest[pairs]
        scale += np.log(largest)
    return [np.append(begun[at, 1 : length[at] + 1], whole[at]) for at in range(number)]


def side_by_side(sequences: Sequence[Ids], behind: int) -> tuple[Numbers, Numbers]:
    """Their lengths (N,), and all in one array (N, T), with ``behind`` behind their ends."""
    length = np.array([len(ids) for ids in sequences], dtype=np.int64)
    together = np.full((len(length), length.max(initial=0)), behind, np.int64)
    for row, ids in enumerate(sequences):
        together[row, : len(ids)] = ids
    return length, together


def _largest(rows: Numbers, values: NDArray[Any], number: int) -> Values:
    """The largest value of each row (number,), 1 where there is none but 0."""
    largest = np.zeros(number)
    np.maximum.at(largest, rows, values)
    largest[largest == 0] = 1
    return largest


def _log(values: NDArray[Any]) -> Values:
    with np.errstate(divide="ignore"):
        found: Values = np.log(values)
    return found
