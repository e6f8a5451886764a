"""The words that a speller learns from: those that are seldom seen tell how unseen ones look."""

import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

_MOST_TYPES = 20_000


def rare_words(counts: Callable[[], Iterable[tuple[str, int]]], seed: int) -> list[str]:
    """The words that a speller learns from; ``counts`` gives all types in order, several times.

    No more are held than are taken, so there may be more types than memory.
    """
    rng = np.random.default_rng((seed, 1))
    numbers, chosen = iter(counts()), []
    at = 0
    while some := [number for _, number in itertools.islice(numbers, _MOST_TYPES)]:
        chosen.append(at + np.flatnonzero(rng.random(len(some)) < 1 / np.array(some)))
        at += len(some)
    rare = np.concatenate([np.empty(0, np.int64), *chosen])
    if len(rare) > _MOST_TYPES:
        rare = np.sort(rng.choice(rare, _MOST_TYPES, replace=False))
    wanted = set(rare.tolist()) or range(_MOST_TYPES)
    return [kind for i, (kind, _) in enumerate(counts()) if i in wanted]


def log_sum(log_probs: NDArray[np.float64]) -> float:
    """The logarithm of the sum, kept below 0: some room is always left."""
    largest = float(log_probs.max())
    total = largest + math.log(float(np.exp(log_probs - largest).sum()))
    return min(total, math.log1p(-1e-6))
