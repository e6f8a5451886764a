"""Drawing one token from each row of logits, with uniform numbers for each row.

The token is where a uniform number falls in the running sum of the probabilities. Of many types it
is found in stages: a group of types first, then a smaller one in it, then the type, each by the
shares of what is left and by a uniform number of its own. So rounding, which is relative to what is
drawn from, matters as rarely as with few types. <UNK> is masked and the rest renormalised: the same
distribution as re-drawing until it is not <UNK>. Letters: B rows, V vocabulary, S stages.
"""

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
_LEAST_LEFT = 1e-3  # of a distribution, beside <UNK>, before it is computed anew
_FEW = 512  # so many types are drawn from in one stage
_STAGES = 3  # for more: each is among the cube root of their number
_HEAD = 512  # top-p looks among so many of the likeliest types first
_PORTION = 2**20  # logits gone over at a time, so that they stay in the cache


class Drawn(NamedTuple):
    """One token a row.

    log_probs are the model's own (temperature 1, nothing masked); doubtful marks rows whose
    token could be another one had the logits been computed in another order or precision.
    """

    ids: NDArray[np.int64]  # (B,)
    log_probs: NDArray[np.float64]  # (B,)
    doubtful: NDArray[np.bool_]  # (B,)


def num_stages(vocab_size: int) -> int:
    """How many uniform numbers a draw from so many types takes."""
    return 1 if vocab_size <= _FEW else _STAGES


def draw(
    logits: NDArray[np.floating],
    uniform: NDArray[np.float64],
    config: SamplingConfig,
    banned: int | None,
) -> Drawn:
    """Draw from the softmax of logits (B, V) with uniform (B, S) in [0, 1)."""
    rows = max(1, _PORTION // logits.shape[1])
    if len(logits) <= rows:
        return _draw(logits, uniform, config, banned)
    starts = range(0, len(logits), rows)
    portions = [
        _draw(logits[at : at + rows], uniform[at : at + rows], config, banned) for at in starts
    ]
    return Drawn(*map(np.concatenate, zip(*portions, strict=True)))


def _draw(
    logits: NDArray[np.floating],
    uniform: NDArray[np.float64],
    config: SamplingConfig,
    banned: int | None,
) -> Drawn:
    """The same of rows that are few enough to stay in the cache."""
    best = logits.max(axis=1, keepdims=True)
    if config.temperature == 0:
        shifted = logits - best
        ids, doubtful = _likeliest(shifted, banned)
        total = np.exp(shifted, out=shifted).sum(axis=1, dtype=np.float64)
        return Drawn(ids, _log_probs(logits, best, total, ids), doubtful)
    heat = max(config.temperature, _LOWEST_TEMPERATURE)
    error, logit_error = SHARE_ERROR / min(heat, 1), LOGIT_ERROR / min(heat, 1)
    doubtful = np.zeros(len(logits), dtype=bool)
    weights = logits - best  # (B, V), at most 0
    np.exp(weights, out=weights)
    of_banned = np.zeros(len(logits))
    if banned is not None:
        of_banned += weights[:, banned]
        weights[:, banned] = 0
    levels = _levels(weights)
    left = levels[-1].sum(axis=1, dtype=np.float64)
    total = left + of_banned
    if heat != 1 or config.top_k is not None or (left < _LEAST_LEFT * total).any():
        scaled = (logits - best) / heat
        if banned is not None:
            scaled[:, banned] = -np.inf
        if config.top_k is not None:
            doubtful |= _keep_top_k(scaled, config.top_k, logit_error)
        scaled -= scaled.max(axis=1, keepdims=True)
        weights = np.exp(scaled, out=scaled)
        levels = _levels(weights)
    if config.top_p is not None and config.top_p < 1:
        doubtful |= _keep_top_p(weights, config.top_p, error, logit_error)
        levels = _levels(weights)
    ids, near = _search(levels, uniform, error)
    return Drawn(ids, _log_probs(logits, best, total, ids), doubtful | near)


def _log_probs(
    logits: NDArray[np.floating],
    best: NDArray[np.floating],
    total: NDArray[np.float64],
    ids: NDArray[np.int64],
) -> NDArray[np.float64]:
    """log P (B,) of ids, from the largest logits (B, 1) and the sums over exp(logits - best)."""
    chosen = logits[np.arange(len(ids)), ids].astype(np.float64)
    log_probs: NDArray[np.float64] = chosen - best[:, 0] - np.log(total)
    return log_probs


def _likeliest(
    shifted: NDArray[np.floating], banned: int | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The likeliest type (B,) that is not banned; whether another is as likely but for rounding."""
    rows, left = np.arange(len(shifted)), shifted.copy()
    if banned is not None:
        left[:, banned] = -np.inf
    ids = left.argmax(axis=1)
    best = left[rows, ids]
    left[rows, ids] = -np.inf
    close: NDArray[np.bool_] = best - left.max(axis=1) < LOGIT_ERROR
    return ids, close


def _keep_top_k(scaled: NDArray[np.floating], k: int, error: float) -> NDArray[np.bool_]:
    """Rule out, in place, all but the k likeliest types; tells where the k-th is a near tie."""
    if k >= scaled.shape[1]:
        return np.zeros(len(scaled), dtype=bool)
    ordered = np.partition(scaled, (-k - 1, -k), axis=1)
    kth, next_best = ordered[:, -k], ordered[:, -k - 1]
    _keep_first(scaled, kth, np.full(len(scaled), k), -np.inf)
    close: NDArray[np.bool_] = kth - next_best < error
    return close


def _keep_top_p(
    weights: NDArray[np.floating], p: float, error: float, logit_error: float
) -> NDArray[np.bool_]:
    """Rule out, in place, all but the fewest types that reach a share of p; tells near ties.

    Only the head of the distribution is sorted, unless some row's share lies deeper.
    """
    goal = p * weights.sum(axis=1, dtype=np.float64)
    vocab_size = weights.shape[1]
    for head in (min(_HEAD, vocab_size), vocab_size):
        ordered = weights
        if head < vocab_size:
            ordered = np.partition(weights, vocab_size - head, axis=1)[:, vocab_size - head :]
        ordered = np.sort(ordered, axis=1)[:, ::-1]
        reached = np.cumsum(ordered, axis=1, dtype=np.float64)
        if head == vocab_size or (reached[:, -2] >= goal).all():
            break
    last = np.minimum((reached < goal[:, None]).sum(axis=1), head - 1)
    rows = np.arange(len(weights))
    least = ordered[rows, last]
    following = ordered[rows, np.minimum(last + 1, head - 1)]
    _keep_first(weights, least, last + 1, 0)
    gaps = p * np.abs(reached - goal[:, None]).min(axis=1) / goal
    tie = (following > least * (1 - logit_error)) & (last + 1 < head)
    doubtful: NDArray[np.bool_] = (gaps < error * (p * (1 - p) + _LEAST_ERROR)) | tie
    return doubtful


def _keep_first(
    values: NDArray[np.floating], least: NDArray[np.floating], count: NDArray[np.int64], out: float
) -> None:
    """Rule out, in place, what is below least (B,); of equals keep the first, count (B,) in all."""
    values[values < least[:, None]] = out
    for row in np.flatnonzero((values >= least[:, None]).sum(axis=1) > count):
        tied = np.flatnonzero(values[row] == least[row])
        surplus = int((values[row] >= least[row]).sum() - count[row])
        values[row, tied[len(tied) - surplus :]] = out


def _levels(weights: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    """What each stage of a draw chooses from, the last first: weights (B, V), sums of groups."""
    stages = num_stages(weights.shape[1])
    size = math.ceil(weights.shape[1] ** (1 / stages))
    levels = [weights]
    while len(levels) < stages:
        levels.append(_sums(levels[-1], size))
    return levels


def _sums(weights: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """Sums (B, G) of groups of at most ``size``: group g is g, g + G, g + 2 G, ….

    So the rows of a matrix are added, which is several times faster than to add within them.
    """
    batch, number = weights.shape
    groups = math.ceil(number / size)
    full = number // groups
    ones = np.ones((1, full), dtype=weights.dtype)
    rows = weights[:, : full * groups].reshape(batch, full, groups)
    sums: NDArray[np.floating] = np.matmul(ones, rows)[:, 0]
    sums[:, : number - full * groups] += weights[:, full * groups :]
    return sums


def _search(
    levels: list[NDArray[np.floating]], uniform: NDArray[np.float64], error: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The type (B,) that the stages come to, by uniform (B, S); whether any is near a boundary.

    A share f is as far off as f (1 - f) times the errors of logits, and what is drawn lies at f.
    """
    rows = np.arange(len(uniform))
    place, groups = np.zeros(len(uniform), dtype=np.int64), 1
    found = []
    for level, numbers in zip(reversed(levels), uniform.T, strict=True):
        within = level if groups == 1 else _members(level, place, groups)
        sums = np.add.accumulate(within, axis=1, dtype=np.float64)
        total = sums[:, -1]
        goal = numbers * total
        member = (sums <= goal[:, None]).sum(axis=1)
        past = np.flatnonzero(member == within.shape[1])  # where rounding left the goal
        if len(past):
            member[past] = _last_positive(within[past])
        below = np.where(member > 0, sums[rows, member - 1], 0.0)
        found.append((goal - below, sums[rows, member] - goal, total))
        place = place + groups * member
        groups = level.shape[1]
    over, under, totals = np.array(found).transpose(1, 0, 2)  # (S, B) each
    margin = error * (uniform * (1 - uniform) + _LEAST_ERROR)
    return place, (np.minimum(over, under) < margin.T * totals).any(axis=0)


def _members(
    level: NDArray[np.floating], place: NDArray[np.int64], groups: int
) -> NDArray[np.floating]:
    """The members (B, N) of the groups that stand at ``place`` (B,) in the level above."""
    number = level.shape[1]
    members = place[:, None] + np.arange(0, number, groups)
    rows = np.arange(len(level))[:, None]
    within: NDArray[np.floating] = level[rows, np.minimum(members, number - 1)]
    if number % groups:
        within[members >= number] = 0  # the last of a group may be missing
    return within


def _last_positive(weights: NDArray[np.floating]) -> NDArray[np.int64]:
    last: NDArray[np.int64] = weights.shape[1] - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    return last
