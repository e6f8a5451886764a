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
_BLOCK = 64  # types summed at once when the running sum is searched
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
    top = logits.max(axis=1, keepdims=True)
    shifted = logits - top  # (B, V), at most 0
    log_total = np.log(np.exp(shifted).sum(axis=1, dtype=np.float64))
    heat = max(config.temperature, _LOWEST_TEMPERATURE) if config.temperature else 1.0
    scaled = shifted.copy() if heat == 1 else shifted / heat
    if banned is not None:
        scaled[:, banned] = -np.inf
    if config.temperature == 0:
        ids = scaled.argmax(axis=1)
        rivals = scaled.copy()
        rivals[rows, ids] = -np.inf
        doubtful = scaled[rows, ids] - rivals.max(axis=1) < LOGIT_ERROR
    else:
        logit_error = LOGIT_ERROR / min(heat, 1)
        error = PROBABILITY_ERROR / min(heat, 1)
        doubtful = np.zeros(len(logits), dtype=bool)
        if config.top_k is not None:
            doubtful |= _keep_top_k(scaled, config.top_k, logit_error)
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        if config.top_p is not None and config.top_p < 1:
            doubtful |= _keep_top_p(weights, config.top_p, error, logit_error)
        ids, near = _search(weights, uniform, error)
        doubtful |= near
    log_probs = shifted[rows, ids] - log_total
    return Drawn(ids, log_probs.astype(np.float64), doubtful)


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
    padded = np.zeros((batch, -(-vocab_size // _BLOCK) * _BLOCK), dtype=weights.dtype)
    padded[:, :vocab_size] = weights
    blocks = padded.reshape(batch, -1, _BLOCK)
    sums = np.cumsum(blocks.sum(axis=2, dtype=np.float64), axis=1)  # (B, blocks)
    total = sums[:, -1]
    goal = uniform * total
    block = np.minimum((sums <= goal[:, None]).sum(axis=1), sums.shape[1] - 1)
    before = np.where(block > 0, sums[rows, block - 1], 0.0)
    inner = before[:, None] + np.cumsum(blocks[rows, block], axis=1, dtype=np.float64)
    place = (inner <= goal[:, None]).sum(axis=1)
    overrun = place >= _BLOCK  # rounding left the goal past the last weight
    ids = block * _BLOCK + np.minimum(place, _BLOCK - 1)
    ids = np.where(
        overrun | (padded[rows, np.minimum(ids, padded.shape[1] - 1)] == 0),
        _last_positive(weights),
        ids,
    )
    distance = np.abs(inner - goal[:, None]).min(axis=1)
    near = np.minimum(distance, np.minimum(np.abs(goal - before), total - goal)) < error * total
    return ids.astype(np.int64), near | overrun


def _last_positive(weights: NDArray[np.floating]) -> NDArray[np.int64]:
    last: NDArray[np.int64] = weights.shape[1] - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    return last
