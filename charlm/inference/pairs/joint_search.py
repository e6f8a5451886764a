"""The likeliest targets of sources by joint n-grams alone: n best of all that can be written.

The lattice of a source (counts/joint_lattice.py) knows of each state how likely each chunk is given
all of the source, so the share that a beginning has of all that can be written is the product over
its chunks, and what it can still become is no more than that. At each place the beginnings are
dropped whose share is less than ``least`` of the largest there. Several ways to cut one target add
up; the best of the found targets are then scored exactly.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.counts.joint import Ids, JointNGram
from charlm.counts.joint_lattice import Lattice, lattice_of, prefixes
from charlm.inference.pairs.beam import Hypothesis
from charlm.tokenizers.base import UNK_ID

Target = tuple[int, ...]  # ids

_LEAST = 1e-3  # of the largest share
_LOWER = 1e-3  # what least is multiplied by where it left too few targets
_LEAST_OF_ALL = 1e-12
_MOST = 1000  # beginnings of one source that are kept at a place
_AT_ONCE = 1024  # sources


def search(
    model: JointNGram, sources: Sequence[Ids], *, n_best: int = 1, length_penalty: float = 0.0
) -> list[list[Hypothesis]]:
    """The n_best targets of each source, without <EOS>, best first, or fewer if there are no more.

    They are ranked as by beam.search. <UNK> is never written.
    """
    return [
        [
            Hypothesis(np.array(ids, np.int64), log_prob, score, ended=True)
            for ids, (log_prob, score) in several.items()
        ]
        for several in beside(
            model, sources, [()] * len(sources), n_best=n_best, length_penalty=length_penalty
        )
    ]


def beside(
    model: JointNGram,
    sources: Sequence[Ids],
    others: Sequence[Collection[Target]],
    *,
    n_best: int,
    length_penalty: float = 0.0,
) -> list[dict[Target, tuple[float, float]]]:
    """log P and score of the n_best targets of each source, best first, and then of its others."""
    found: list[dict[Target, tuple[float, float]]] = [{} for _ in sources]
    order = sorted(range(len(sources)), key=lambda at: (len(sources[at]), sources[at].tolist()))
    for begin in range(0, len(order), _AT_ONCE):
        part = order[begin : begin + _AT_ONCE]
        lattice = lattice_of(model, [sources[at] for at in part])
        own = _likeliest(model, lattice, n_best + 1)
        pairs = [
            (row, target)
            for row, at in enumerate(part)
            for target in dict.fromkeys((*own[row], *others[at]))
        ]
        index = np.array([row for row, _ in pairs], np.int64)
        scored = prefixes(model, lattice, index, [np.array(ids, np.int64) for _, ids in pairs])
        told: list[dict[Target, tuple[float, float]]] = [{} for _ in part]
        for (row, ids), log_probs in zip(pairs, scored, strict=True):
            log_prob = float(log_probs[-1])
            told[row][ids] = log_prob, log_prob / (len(ids) + 1) ** length_penalty
        for row, at in enumerate(part):
            best = sorted(own[row], key=lambda ids: -told[row][ids][1])[:n_best]
            found[at] = {ids: told[row][ids] for ids in (*best, *others[at])}
    return found


def _likeliest(model: JointNGram, lattice: Lattice, number: int) -> list[list[Target]]:
    """The targets of each row of a lattice with the largest shares, or all if there are fewer."""
    rows, least = np.arange(len(lattice.log_p)), _LEAST
    targets: list[list[Target]] = [[] for _ in rows]
    while len(rows) and least >= _LEAST_OF_ALL:
        several = _targets(model, lattice, rows, least)
        for row, shares in zip(rows.tolist(), several, strict=True):
            targets[row] = sorted(shares, key=lambda target: -shares[target])[:number]
        rows, least = rows[[len(targets[row]) < number - 1 for row in rows]], least * _LOWER
    return targets


def _targets(
    model: JointNGram, lattice: Lattice, rows: NDArray[np.int64], least: float
) -> list[dict[Target, float]]:
    """The targets of rows (N,) of a lattice, with the share of each that was found."""
    states, shares = rows, np.ones(len(rows))
    origins = [np.full(len(rows), -1)]  # of all beginnings: which one it goes on from
    chunks = [np.full(len(rows), model.end)]
    first, found = 0, [np.empty((3, 0))]  # rows, beginnings and shares where sources end
    for layer in lattice.layers:
        ended = np.flatnonzero(layer.number[states] == 0)
        found.append(np.stack((layer.rows[states[ended]], first + ended, shares[ended])))
        arcs, at = layer.onward(states)
        onward = shares[at] * layer.shares[arcs]
        kept = _kept(layer.rows[states[at]], onward, len(lattice.log_p), least)
        origins.append(first + at[kept])
        chunks.append(layer.chunks[arcs[kept]])
        first += len(states)
        states, shares = layer.to[arcs[kept]], onward[kept]
    written = [tuple(x for x in target if x >= 0) for target in model.chunks.target.tolist()]
    origin, chunk = np.concatenate(origins).tolist(), np.concatenate(chunks).tolist()
    targets: dict[int, dict[Target, float]] = {row: defaultdict(float) for row in rows.tolist()}
    for row, beginning, share in np.concatenate(found, axis=1).T.tolist():
        one, parts = int(beginning), []
        while origin[one] >= 0:
            parts.append(written[chunk[one]])
            one = origin[one]
        target = tuple(x for part in reversed(parts) for x in part)
        if UNK_ID not in target:
            targets[int(row)][target] += share
    return list(targets.values())


def _kept(
    rows: NDArray[np.int64], shares: NDArray[np.float64], number: int, least: float
) -> NDArray[np.int64]:
    """Which beginnings of each row are kept: shares not too small, and not too many."""
    largest = np.zeros(number)
    np.maximum.at(largest, rows, shares)
    kept = np.flatnonzero(shares >= least * largest[rows])
    if np.bincount(rows[kept], minlength=number).max(initial=0) > _MOST:
        kept = kept[np.lexsort((-shares[kept], rows[kept]))]
        ordered = rows[kept]
        rank = np.arange(len(kept)) - np.searchsorted(ordered, ordered)
        kept = np.sort(kept[rank < _MOST])
    return kept
