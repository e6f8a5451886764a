"""Pairs of sequences cut into chunks: one symbol of the source, and what is written for it.

The aligner of Jiampojamarn, Kondrak & Sherif 2007 ("Applying Many-to-Many Alignments and Hidden
Markov Models to Letter-to-Phoneme Conversion"), its chunks of one distribution as those of Bisani &
Ney 2008. A chunk takes a symbol of the source and writes none, one or more of the target:

    P(s, t) = Σ over ways to cut t Π over places i of s p(s<i>, what is written there)

p is made likelier by EM (Dempster, Laird & Rubin 1977). With α<i, j> the sum over ways to spell the
first i symbols of s and the first j of t, and β<i, j> that of the rest, the chunk that writes from
j to k at place i is expected α<i, j> p β<i + 1, k> / P(s, t) times. α<i + 1> follows from α<i>, for
all j and all pairs of like size at once; each row is divided by its largest, so that none vanishes.

Letters: N pairs of a group, S and T the sizes of its sources and targets, K chunks, B the most
symbols that a chunk writes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer[Any]]
Values = NDArray[np.float64]

NOTHING = -1  # where what a chunk writes has ended
_SHARE = 0.99  # of the pairs are to be cut, if chunks need not write too much for it
_FEWEST, _MOST = 2, 10  # symbols that a chunk writes at most
_MOST_CODES = 2.0**62
_MOST_ROUNDS = 30
_GAIN = 1e-4  # of the nats: below that EM is done
_MOST_ARCS = 2**26  # that EM learns from
_AT_ONCE = 2**22  # arcs of a group


class Chunks(NamedTuple):
    """What each chunk takes, source (K,), and writes, target (K, B), NOTHING behind its end.

    They stand in the order of their ``codes``.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]

    def codes(self, vocab_size: int) -> NDArray[np.int64]:
        """Each chunk as one number: its source and its target as digits, ids below vocab_size."""
        codes = self.source.copy()
        for written in self.target.T:
            codes = codes * (vocab_size + 1) + written + 1
        return codes

    @classmethod
    def of(cls, codes: NDArray[np.int64], vocab_size: int, most: int) -> "Chunks":
        """Those of codes (K,), which write ``most`` symbols or fewer."""
        target = np.empty((len(codes), most), np.int64)
        for column in range(most - 1, -1, -1):
            codes, digits = np.divmod(codes, vocab_size + 1)
            target[:, column] = digits - 1
        return cls(codes, target)


class Aligned(NamedTuple):
    """Pairs cut: the numbers of the chunks of each, None of one that cannot be.

    log_likelihoods are the sums of log P(s, t), in nats, before each update of p.
    """

    chunks: Chunks
    pairs: list[NDArray[np.int64] | None]
    log_likelihoods: list[float]


class _Group(NamedTuple):
    """Pairs of like size, and the number of the chunk that writes from j on b symbols at a place.

    arcs are, for b of 0 to B, (S, N, T + 1 - b): K where there is no such chunk.
    """

    pairs: NDArray[np.int64]  # (N,)
    sizes: NDArray[np.int64]  # (N, 2)
    arcs: list[Ids]


def align(sources: Sequence[Ids], targets: Sequence[Ids], vocab_size: int) -> Aligned:
    """Cut pairs of ids, <EOS> not among them; those of targets are below vocab_size.

    Of very many pairs p is learned from some, evenly spread.
    """
    sizes = np.array([[len(s), len(t)] for s, t in zip(sources, targets, strict=True)])
    sizes = sizes.reshape(-1, 2)
    largest = max((int(np.max(source, initial=0)) for source in sources), default=0)
    most = _most_written(sizes, vocab_size, largest + 1)
    number = float((sizes[:, 0] * (sizes[:, 1] + 1.0)).sum()) * (most + 1)
    learned = np.arange(0, len(sizes), int(number // _MOST_ARCS) + 1)
    groups = list(_groups(learned, sources, targets, sizes, vocab_size, most))
    codes = _together([arcs for group in groups for arcs in group.arcs])
    codes = codes[codes >= 0]
    groups = [_numbered(group, codes) for group in groups]
    p, log_likelihoods = _learn(groups, len(codes))
    if len(learned) < len(sizes):
        rest = _groups(np.arange(len(sizes)), sources, targets, sizes, vocab_size, most)
        ready: Iterator[_Group] = (_numbered(group, codes) for group in rest)
    else:
        ready = iter(groups)
    pairs: list[NDArray[np.int64] | None] = [None] * len(sizes)
    for group in ready:
        for at, best in zip(group.pairs, _best(group, p), strict=True):
            pairs[at] = best
    used = _together([one for one in pairs if one is not None])
    numbers = [None if one is None else np.searchsorted(used, one) for one in pairs]
    return Aligned(Chunks.of(codes[used], vocab_size, most), numbers, log_likelihoods)


def _most_written(sizes: NDArray[np.int64], vocab_size: int, source_size: int) -> int:
    """B: enough for nearly all pairs, no more than the codes of chunks have digits for."""
    needed = -(-sizes[:, 1] // np.maximum(sizes[:, 0], 1))
    wanted = int(np.quantile(needed, _SHARE, method="higher")) if len(needed) else 0
    digits = int(np.log(_MOST_CODES / source_size) / np.log(vocab_size + 1))
    return min(max(_FEWEST, wanted), _MOST, digits)


def _groups(
    index: NDArray[np.int64],
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    sizes: NDArray[np.int64],
    vocab_size: int,
    most: int,
) -> Iterator[_Group]:
    """Pairs of like size side by side; their arcs are codes, -1 where there is none."""
    step = np.maximum(1, sizes // 8)
    like = -(-sizes // step) * step  # sizes of 16 and more in steps of an eighth
    order = index[np.lexsort(like[index].T)]
    cuts = np.flatnonzero((np.diff(like[order], axis=0) != 0).any(axis=1)) + 1
    for group in np.split(order, cuts):
        if not len(group):
            continue
        size = int(like[group[0], 0] * (like[group[0], 1] + 1)) * (most + 1)
        at_once = max(1, _AT_ONCE // max(1, size))
        for begin in range(0, len(group), at_once):
            part = group[begin : begin + at_once]
            yield _Group(part, sizes[part], _codes(part, sources, targets, sizes, vocab_size, most))


def _codes(
    part: NDArray[np.int64],
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    sizes: NDArray[np.int64],
    vocab_size: int,
    most: int,
) -> list[Ids]:
    """The code of every chunk that may stand at a place, -1 where none may."""
    longest, widest = sizes[part].max(axis=0)
    source = np.zeros((longest, len(part)), np.int64)
    target = np.full((len(part), widest), NOTHING)
    for row, at in enumerate(part):
        source[: sizes[at, 0], row], target[row, : sizes[at, 1]] = sources[at], targets[at]
    left = sizes[part, 0] - 1 - np.arange(longest)[:, None]  # (S, N) places after this one
    arcs: list[Ids] = []
    for b in range(min(most, widest) + 1):
        j = np.arange(widest + 1 - b)
        codes = np.repeat(source[:, :, None], len(j), axis=2)
        for k in range(most):
            written = target[:, k : k + len(j)] + 1 if k < b else 0
            codes = codes * (vocab_size + 1) + written
        rest = sizes[part, 1][:, None] - b - j  # (N, T + 1 - b)
        within = (left >= 0)[:, :, None] & (rest >= 0) & (rest <= most * left[:, :, None])
        within &= j <= most * np.arange(longest)[:, None, None]
        arcs.append(np.where(within, codes, -1))
    return arcs


def _together(arrays: Sequence[Ids]) -> NDArray[np.int64]:
    """The different numbers in arrays, ascending."""
    found = [np.unique(array) for array in arrays]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _numbered(group: _Group, codes: NDArray[np.int64]) -> _Group:
    """The same with the places of codes in their table (K,), K of those that are not there."""
    arcs: list[Ids] = []
    for wanted in group.arcs:
        at = np.searchsorted(codes, wanted)
        there = codes[np.minimum(at, len(codes) - 1)] == wanted if len(codes) else wanted < -1
        arcs.append(np.where(there, at, len(codes)).astype(np.int32))
    return group._replace(arcs=arcs)


def _learn(groups: Sequence[_Group], number: int) -> tuple[Values, list[float]]:
    """p (K,) by EM from equal ones on, and the log-likelihood before each round."""
    p = np.full(number, 1 / max(1, number))
    log_likelihoods: list[float] = []
    for _ in range(_MOST_ROUNDS):
        expected, log_likelihood = np.zeros(number), 0.0
        for group in groups:
            found, sum_of_group = _expected(group, p)
            expected += found
            log_likelihood += sum_of_group
        log_likelihoods.append(log_likelihood)
        if not expected.any():
            break
        p = expected / expected.sum()
        gained = np.diff(log_likelihoods[-2:])
        if len(gained) and gained[0] <= _GAIN * abs(log_likelihood):
            break
    return p, log_likelihoods


def _expected(group: _Group, p: Values) -> tuple[Values, float]:
    """How often each chunk is expected (K,), and the sum of log P(s, t); of pairs that have one."""
    of_arc = [np.append(p, 0.0)[arcs] for arcs in group.arcs]
    longest, number, width = of_arc[0].shape
    rows = np.arange(number)
    length, written = group.sizes.T
    alpha = np.zeros((longest + 1, number, width))
    alpha[0, :, 0] = 1
    scales = np.zeros((longest + 1, number))  # log of what the rows were divided by so far
    for i in range(longest):
        for b, values in enumerate(of_arc):
            alpha[i + 1, :, b:] += alpha[i, :, : width - b] * values[i]
        largest = alpha[i + 1].max(axis=1)
        largest[largest == 0] = 1
        alpha[i + 1] /= largest[:, None]
        scales[i + 1] = scales[i] + np.log(largest)
    there = alpha[length, rows, written]
    ends = there > 0
    total = float((np.log(there[ends]) + scales[length, rows][ends]).sum())
    expected = np.zeros(len(p) + 1)
    beta = np.zeros((number, width))
    for i in range(longest - 1, -1, -1):
        last = np.flatnonzero(ends & (length == i + 1))
        beta[last, written[last]] = 1
        before, shares = np.zeros_like(beta), []
        for b, values in enumerate(of_arc):
            onward = values[i] * beta[:, b:]
            before[:, : width - b] += onward
            shares.append(alpha[i, :, : width - b] * onward)
        sums = sum(share.sum(axis=1) for share in shares)
        sums = np.where(sums > 0, sums, 1.0)
        for share, arcs in zip(shares, group.arcs, strict=True):
            found = (share / sums[:, None]).ravel()
            expected += np.bincount(arcs[i].ravel(), found, minlength=len(expected))
        largest = before.max(axis=1, keepdims=True)
        beta = before / np.where(largest > 0, largest, 1.0)
    return expected[:-1], total


def _best(group: _Group, p: Values) -> list[NDArray[np.int64] | None]:
    """The likeliest way to cut each pair (Viterbi 1967), as numbers of chunks (S,)."""
    with np.errstate(divide="ignore"):
        log_p = np.log(np.append(p, 0.0))
    longest, number, width = group.arcs[0].shape
    rows = np.arange(number)
    length, j = group.sizes.T
    best = np.full((number, width), -np.inf)
    best[:, 0] = 0
    taken = np.zeros((longest, number, width), np.int8)  # what was written on the best way there
    possible = np.zeros(number, bool)
    for i in range(longest):
        after = np.full_like(best, -np.inf)
        for b, arcs in enumerate(group.arcs):
            found = best[:, : width - b] + log_p[arcs[i]]
            better = found > after[:, b:]
            after[:, b:][better] = found[better]
            taken[i, :, b:][better] = b
        best = after
        last = length == i + 1
        possible[last] = np.isfinite(best[rows[last], j[last]])
    chosen = np.zeros((number, longest), np.int64)
    j = j.copy()
    for i in range(longest - 1, -1, -1):
        there = np.flatnonzero(possible & (length > i))
        b = taken[i, there, j[there]]
        j[there] -= b
        for size, arcs in enumerate(group.arcs):
            of_size = there[b == size]
            chosen[of_size, i] = arcs[i, of_size, j[of_size]]
    return [chosen[row, : length[row]] if possible[row] else None for row in rows]
