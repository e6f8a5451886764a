"""Drawing one token from each row of logits, with uniform numbers for each row.

The token is where a uniform number falls in the running sum of the probabilities. Of many types it
is found in stages: a group of types first, then a smaller one in it, then the type, each by the
shares of what is left and by a uniform number of its own. So rounding, which is relative to what is
drawn from, matters as rarely as with few types. <UNK> is masked and the rest renormalised: the same
distribution as re-drawing until it is not <UNK>. Letters: B rows, V vocabulary, S stages, G groups
of at most N types.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig

# How near a decision may come to a boundary before single precision is no longer trusted with it:
# several times the error that a whole sequence of steps leaves in a logit, and so, times f (1 - f),
# in a share f of a distribution. It was measured in bench/RESULTS.md.
SHARE_ERROR = 1e-5
LOGIT_ERROR = 1e-4
_LEAST_ERROR = 1e-9  # of a share, in units of SHARE_ERROR, where f (1 - f) is less
_LOWEST_TEMPERATURE = 1e-30  # logits divided by less are past single precision
_FEW = 512  # so many types are drawn from in one stage; for more each is among their cube root
_NO_END = np.iinfo(np.int64).max
_PORTION = 2**20  # logits gone over at a time, so that they stay in the cache


class Drawn(NamedTuple):
    """One token a row.

    log_probs are the model's own (temperature 1, nothing masked); doubtful marks rows whose
    token could be another one had the logits been computed in another order or precision.
    """

    ids: NDArray[np.int64]  # (B,)
    log_probs: NDArray[np.float64]  # (B,)
    doubtful: NDArray[np.bool_]  # (B,)


class _Wanted(NamedTuple):
    """What weights are made of logits, and how far off these may be."""

    heat: float
    top_k: int | None
    top_p: float | None
    banned: int | None
    share_error: float
    logit_error: float


class _Cut(NamedTuple):
    """Which types are left: values above least, and of those that equal it the first, up to an id.

    rim has the weights of the types so near the cut that rounding could leave or remove them.
    """

    least: NDArray[np.floating]  # (B,)
    until: NDArray[np.int64]  # (B,)
    rim: NDArray[np.floating]  # (B, V)

    def leaves(self, values: NDArray[np.floating], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether types of these values and ids, (B, N) each, are left."""
        left: NDArray[np.bool_] = values >= self.least[:, None]
        for row in np.flatnonzero(self.until < _NO_END):
            left[row] &= (values[row] > self.least[row]) | (ids[row] <= self.until[row])
        return left


class _Weighed(NamedTuple):
    """Rows that were gone over once. Cut and rim are None where nothing is cut off."""

    best: NDArray[np.floating]  # (B,) the largest logit, but for the banned type
    log_total: NDArray[np.float64]  # (B,) of exp(logit - best), of all types
    sums: NDArray[np.floating]  # (B, G) weights of the groups
    cut: _Cut | None  # its rim (B, G): of the groups


@functools.cache
def _stages(vocab_size: int) -> tuple[tuple[int, int], ...]:
    """Members of a group and number of groups (N, G) at each stage, the last stage first.

    Group g has the members g, g + G, g + 2 G, …: laid out as (N, G) they are summed by rows,
    which is several times faster than within them. Of few types each is a group of its own, and
    nothing is left to be drawn in it.
    """
    if vocab_size <= _FEW:
        return (1, vocab_size), (vocab_size, 1)
    size = math.ceil(vocab_size ** (1 / 3))
    groups = math.ceil(vocab_size / size)
    few = math.ceil(groups / size)
    return (size, groups), (size, few), (few, 1)


def num_stages(vocab_size: int) -> int:
    """How many uniform numbers a draw from so many types takes."""
    return sum(size > 1 for size, _ in _stages(vocab_size))


def draw(
    logits: NDArray[np.floating],
    uniform: NDArray[np.float64],
    config: SamplingConfig,
    banned: int | None,
) -> Drawn:
    """Draw from the softmax of logits (B, V) with uniform (B, S) in [0, 1)."""
    top_k, top_p, heat = config.top_k, config.top_p, max(config.temperature, _LOWEST_TEMPERATURE)
    if config.temperature == 0:
        top_k, top_p, heat = 1, None, 1.0
    if top_k is not None and top_k >= logits.shape[1]:
        top_k = None
    if top_p == 1:
        top_p = None
    errors = SHARE_ERROR / min(heat, 1), LOGIT_ERROR / min(heat, 1)
    wanted = _Wanted(heat, top_k, top_p, banned, *errors)
    weighed = _weigh_portions(logits, wanted)
    ids, doubtful = _search(logits, weighed, uniform, wanted)
    chosen = logits[np.arange(len(ids)), ids].astype(np.float64)
    return Drawn(ids, chosen - weighed.best - weighed.log_total, doubtful)


def _weigh_portions(logits: NDArray[np.floating], wanted: _Wanted) -> _Weighed:
    """All rows, a portion at a time."""
    rows = max(1, _PORTION // logits.shape[1])
    if len(logits) <= rows:
        return _weigh(logits, wanted)
    portions = [logits[at : at + rows] for at in range(0, len(logits), rows)]
    parts = [_weigh(portion, wanted) for portion in portions]
    best, log_total, sums, cuts = zip(*parts, strict=True)
    cut = None
    if cuts[0] is not None:
        cut = _Cut(*map(np.concatenate, zip(*cuts, strict=True)))
    return _Weighed(np.concatenate(best), np.concatenate(log_total), np.concatenate(sums), cut)


def _weigh(logits: NDArray[np.floating], wanted: _Wanted) -> _Weighed:
    """Rows that are few enough to stay in the cache."""
    vocab_size, banned = logits.shape[1], wanted.banned
    stage = _stages(vocab_size)[0]
    values = np.empty((len(logits), math.prod(stage)), dtype=logits.dtype)
    values[:, :vocab_size] = logits
    values[:, vocab_size:] = -np.inf
    if banned is not None:
        values[:, banned] = -np.inf
    best = values.max(axis=1)
    values -= best[:, None]
    is_cut = wanted.top_k is not None or wanted.top_p is not None
    weights = np.exp(values, out=None if is_cut or wanted.heat != 1 else values)
    sums = _sums(weights, stage)
    log_total = np.log(sums.sum(axis=1, dtype=np.float64))
    if banned is not None:
        log_total = np.logaddexp(log_total, logits[:, banned] - best)
    if wanted.heat != 1:
        values /= wanted.heat
        weights = np.exp(values, out=weights)
        sums = _sums(weights, stage)
    if not is_cut:
        return _Weighed(best, log_total, sums, None)
    cut = _cut(values, weights, wanted)
    return _Weighed(best, log_total, _sums(weights, stage), cut._replace(rim=_sums(cut.rim, stage)))


def _cut(values: NDArray[np.floating], weights: NDArray[np.floating], wanted: _Wanted) -> _Cut:
    """Cut off, in place, what top-k and then top-p leave out: its weights are 0 after that."""
    ids = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    cut = None
    if wanted.top_k is not None:
        cut = _cut_top_k(values, weights, wanted.top_k, wanted.logit_error)
        left = cut.leaves(values, ids)
        weights *= left
        values[~left] = -np.inf
    if wanted.top_p is not None:
        rim = np.zeros_like(weights) if cut is None else cut.rim
        cut = _cut_top_p(values, weights, rim, wanted)
        weights *= cut.leaves(values, ids)
    assert cut is not None
    return cut


def _cut_top_k(
    values: NDArray[np.floating], weights: NDArray[np.floating], k: int, error: float
) -> _Cut:
    """What leaves the k likeliest types."""
    ordered = np.partition(values, -k, axis=1)
    least, following = ordered[:, -k], ordered[:, :-k].max(axis=1)
    rim, until = np.zeros_like(weights), np.full(len(values), _NO_END)
    for row in np.flatnonzero(following >= least - error):
        _add_rim(rim[row], values[row], weights[row], least[row] - error, least[row] + error)
        until[row] = _last_left(values[row], least[row], k)
    return _Cut(least, until, rim)


def _cut_top_p(
    values: NDArray[np.floating],
    weights: NDArray[np.floating],
    rim: NDArray[np.floating],
    wanted: _Wanted,
) -> _Cut:
    """What leaves the fewest types that reach a share of p, the likeliest first.

    rim is that of what is cut off already, to which more comes. Types so rare that all of them
    together do not make up the rest need not be sorted.
    """
    p, error = wanted.top_p, wanted.logit_error
    assert p is not None
    totals = weights.sum(axis=1, dtype=np.float64)
    rare = (1 - p) / 2 * totals / weights.shape[1]
    unsure = wanted.share_error * (p * (1 - p) + _LEAST_ERROR) + rim.sum(axis=1) / totals
    least, until = np.empty(len(values), dtype=values.dtype), np.full(len(values), _NO_END)
    for row, (total, off) in enumerate(zip(totals, unsure, strict=True)):
        head = np.negative(values[row][weights[row] >= rare[row]])
        head.sort()
        np.negative(head, out=head)  # the largest first
        reached = np.cumsum(np.exp(head), dtype=np.float64)
        first, last, beyond = np.searchsorted(reached, total * np.array([p - off, p, p + off]))
        last = min(last, len(head) - 1)
        least[row] = head[last]
        following = head[last + 1] if last + 1 < len(head) else -np.inf
        if first != beyond or following >= head[last] - error:
            lowest = head[beyond] if beyond < len(head) else -np.inf
            _add_rim(rim[row], values[row], weights[row], lowest - error, head[first] + error)
            until[row] = _last_left(values[row], least[row], last + 1)
    return _Cut(least, until, rim)


def _add_rim(
    rim: NDArray[np.floating],
    values: NDArray[np.floating],
    weights: NDArray[np.floating],
    low: float,
    high: float,
) -> None:
    """Add the weights (V,) of the values from low to high to what is near a cut."""
    near = (values >= low) & (values <= high)
    rim[near] = weights[near]


def _last_left(values: NDArray[np.floating], least: float, count: int) -> int:
    """Up to which id those values (V,) that equal least are left, if count are left in all."""
    surplus = int((values >= least).sum()) - count
    tied = np.flatnonzero(values == least)
    return int(tied[len(tied) - surplus - 1]) if surplus else _NO_END


def _sums(weights: NDArray[np.floating], stage: tuple[int, int]) -> NDArray[np.floating]:
    """Sums (B, G) of the members of each group, from weights (B, N * G)."""
    size, groups = stage
    if size == 1:
        return weights
    ones = np.ones(size, dtype=weights.dtype)
    sums: NDArray[np.floating] = np.matmul(ones, weights.reshape(-1, size, groups))
    return sums


def _levels(sums: NDArray[np.floating], vocab_size: int) -> list[NDArray[np.floating]]:
    """Sums (B, G) of the groups of each stage, the last first, with room for missing members."""
    levels = []
    for size, groups in _stages(vocab_size)[1:]:
        level = np.zeros((len(sums), size * groups), dtype=sums.dtype)
        level[:, : sums.shape[1]] = sums
        levels.append(level)
        sums = _sums(level, (size, groups))
    return [*levels, sums]


def _search(
    logits: NDArray[np.floating],
    weighed: _Weighed,
    uniform: NDArray[np.float64],
    wanted: _Wanted,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The type (B,) that the stages come to, by uniform (B, S); whether any is near a boundary.

    A share f is as far off as f (1 - f) times the errors of logits, and what is drawn lies at f.
    What is at the rim of what was cut off may be there or not.
    """
    vocab_size = logits.shape[1]
    levels, stages = _levels(weighed.sums, vocab_size), _stages(vocab_size)
    rims = None if weighed.cut is None else _levels(weighed.cut.rim, vocab_size)
    rows, place = np.arange(len(logits)), np.zeros(len(logits), dtype=np.int64)
    found = []
    drawn = [stage for stage, (size, _) in enumerate(stages) if size > 1]
    for stage, numbers in zip(reversed(drawn), uniform.T, strict=True):
        size, groups = stages[stage]
        if stage:
            within = levels[stage - 1].reshape(-1, size, groups)[rows, :, place]
        else:
            within = _members(logits, weighed, place, wanted)
        sums = np.zeros((len(rows), size + 1))  # with what lies below the first
        np.add.accumulate(within, axis=1, dtype=np.float64, out=sums[:, 1:])
        total = sums[:, -1]
        goal = numbers * total  # less than total, also rounded
        member = (sums[:, 1:] <= goal[:, None]).sum(axis=1)
        rim = np.zeros(len(rows)) if rims is None else rims[stage][rows, place]
        found.append((goal - sums[rows, member], sums[rows, member + 1] - goal, total, rim))
        place = place + groups * member
    over, under, totals, rim = np.array(found).transpose(1, 2, 0)  # (B, S) each
    margin = wanted.share_error * (uniform * (1 - uniform) + _LEAST_ERROR) * totals + rim
    return place, (np.minimum(over, under) < margin).any(axis=1)


def _members(
    logits: NDArray[np.floating], weighed: _Weighed, place: NDArray[np.int64], wanted: _Wanted
) -> NDArray[np.floating]:
    """The weights (B, N) of the types of the groups ``place`` (B,), computed once more."""
    vocab_size = logits.shape[1]
    size, groups = _stages(vocab_size)[0]
    ids = place[:, None] + np.arange(0, size * groups, groups)
    values = logits[np.arange(len(logits))[:, None], np.minimum(ids, vocab_size - 1)]
    values -= weighed.best[:, None]
    values[(ids >= vocab_size) | (ids == wanted.banned)] = -np.inf
    if wanted.heat != 1:
        values /= wanted.heat
    if weighed.cut is not None:
        values[~weighed.cut.leaves(values, ids)] = -np.inf
    weights: NDArray[np.floating] = np.exp(values, out=values)
    return weights
