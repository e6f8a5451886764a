"""Drawing one token from each row of logits, with one uniform number a row.

The token is where the uniform number falls in the running sum of the probabilities. <UNK> is
masked and the rest renormalised: the same distribution as re-drawing until it is not <UNK>.
Letters: B rows, V vocabulary.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig

# How near a decision may come to a boundary before single precision is no longer trusted with it:
# several times the error that a whole sequence of steps leaves in a probability, or in a logit.
PROBABILITY_ERROR = 2e-6
LOGIT_ERROR = 1e-4
_LOWEST_TEMPERATURE = 1e-30  # logits divided by less are past single precision
_LEAST_LEFT = 1e-3  # of a distribution, beside <UNK>, before it is computed anew
_BLOCK = 64  # types summed at once when the running sum is searched
_FEW = 512  # so many are not worth two searches
_HEAD = 512  # top-p looks among so many of the likeliest types first


class Drawn(NamedTuple):
    """One token a row.

    log_probs are the model's own (temperature 1, nothing masked); doubtful marks rows whose
    token could be another one had the logits been computed in another order or precision.
    """

    ids: NDArray[np.int64]  # (B,)
    log_probs: NDArray[np.float64]  # (B,)
    doubtful: NDArray[np.bool_]  # (B,)


def draw(
    logits: NDArray[np.floating],
    uniform: NDArray[np.float64],
    config: SamplingConfig,
    banned: int | None,
) -> Drawn:
    """Draw from the softmax of logits (B, V) with uniform (B,) in [0, 1)."""
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)  # (B, V), at most 0
    exps = np.exp(shifted)
    log_total = np.log(exps.sum(axis=1, dtype=np.float64))
    if config.temperature == 0:
        ids, doubtful = _likeliest(shifted, banned)
    else:
        heat = max(config.temperature, _LOWEST_TEMPERATURE)
        error, logit_error = PROBABILITY_ERROR / min(heat, 1), LOGIT_ERROR / min(heat, 1)
        doubtful = np.zeros(len(logits), dtype=bool)
        share_left = 1.0 if banned is None else 1 - float((exps[:, banned] / exps.sum(1)).max())
        if heat == 1 and config.top_k is None and share_left > _LEAST_LEFT:
            weights = exps  # what most draws need has been computed already
            if banned is not None:
                weights[:, banned] = 0
        else:
            scaled = shifted / heat
            if banned is not None:
                scaled[:, banned] = -np.inf
            if config.top_k is not None:
                doubtful |= _keep_top_k(scaled, config.top_k, logit_error)
            weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        if config.top_p is not None and config.top_p < 1:
            doubtful |= _keep_top_p(weights, config.top_p, error, logit_error)
        ids, near = _search(weights, uniform, error)
        doubtful |= near
    log_probs = shifted[rows, ids] - log_total
    return Drawn(ids, log_probs.astype(np.float64), doubtful)


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
    gaps = np.abs(reached - goal[:, None]).min(axis=1) / goal
    tie = (following > least * (1 - logit_error)) & (last + 1 < head)
    doubtful: NDArray[np.bool_] = (gaps < error) | tie
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


def _search(
    weights: NDArray[np.floating], uniform: NDArray[np.float64], error: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where uniform (B,) falls in the running sum of weights (B, V); whether near a boundary.

    Sums of blocks are searched first, then the block: two short searches in place of one sum
    over the whole vocabulary.
    """
    batch, vocab_size = weights.shape
    rows = np.arange(batch)
    block_size = _BLOCK if vocab_size > _FEW else vocab_size
    starts = np.arange(0, vocab_size, block_size)
    sums = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1, dtype=np.float64)
    total = sums[:, -1]  # (B,), of sums (B, blocks)
    goal = uniform * total
    block = np.minimum((sums <= goal[:, None]).sum(axis=1), len(starts) - 1)
    before = np.where(block > 0, sums[rows, block - 1], 0.0)
    within = weights  # (B, block_size)
    if len(starts) > 1:
        types = block[:, None] * block_size + np.arange(block_size)  # the last block runs over
        there = np.minimum(types, vocab_size - 1)
        within = np.where(types < vocab_size, weights[rows[:, None], there], 0)
    inner = before[:, None] + np.cumsum(within, axis=1, dtype=np.float64)
    place = (inner <= goal[:, None]).sum(axis=1)
    overrun = place >= block_size  # rounding left the goal past the last weight
    ids = np.minimum(block * block_size + np.minimum(place, block_size - 1), vocab_size - 1)
    impossible = np.flatnonzero(overrun | (weights[rows, ids] == 0))
    ids[impossible] = _last_positive(weights[impossible])
    distance = np.abs(inner - goal[:, None]).min(axis=1)
    near = np.minimum(distance, np.minimum(np.abs(goal - before), total - goal)) < error * total
    return ids.astype(np.int64), near | overrun


def _last_positive(weights: NDArray[np.floating]) -> NDArray[np.int64]:
    last: NDArray[np.int64] = weights.shape[1] - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    return last
