"""How far a difference that was measured on some units of text may be from that of all such text.

The difference is a ratio: a sum over the units, shared over the sum of their characters. Its
standard error is that of the residuals, difference - ratio x characters (Cochran 1977, chapter 6).
The interval is set in standard errors: how many of them, each side by itself, is the bootstrap's
answer (studentised, "bootstrap-t": Efron 1981, Hall 1988) averaged with Student's. The former sees
that the units are skewed, the latter bears tails that so few units do not show; each alone holds
the truth too seldom where the other is needed. docs/metrics.md says how often both together do.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError

LEVEL = 0.95
RESAMPLES = 10_000
FEWEST = 5  # units; of fewer there is no interval
_MOST = 1000  # blocks; more would tell no more
_AT_ONCE = 2**22  # counts that are drawn together
_NOTHING = 1e-12  # a standard error that is rounding alone, as a share of what is measured
_ALIKE = 1e-9  # units of one resample that are all the same one, as a share of the standard error

Values = NDArray[np.float64]


class Interval(NamedTuple):
    """Bounds of a ratio, and in how many of all resamples, as a share, it was below 0."""

    low: float
    high: float
    share_below: float


def blocks(differences: Values, characters: Values) -> int:
    """How many adjacent units to take together, so that neighbours do not tell of each other.

    Twice as many, and again, while the residuals of neighbours are correlated (by more than half
    a standard error of such a correlation: to find none where there is one costs more than the
    reverse) and enough blocks are left to find it.
    """
    ratio = differences.sum() / characters.sum()
    residuals = differences - ratio * characters
    size = math.ceil(len(residuals) / _MOST)
    while (number := math.ceil(len(residuals) / size)) >= 2 * FEWEST:
        sums = together(residuals, size)
        squares = float(sums @ sums)
        threshold = 0.5 / math.sqrt(number) - 1 / number  # 1 / number: of none it is below 0
        if not squares or float(sums[1:] @ sums[:-1]) <= threshold * squares:
            break
        size *= 2
    return size


def together(values: Values, size: int) -> Values:
    """Sums (B,) of so many adjacent values (U,); the last may be of fewer."""
    return np.add.reduceat(values, np.arange(0, len(values), size))


def interval(
    differences: Values, characters: Values, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """The interval of the ratio of two sums, given what each unit adds to them (U,), (U,).

    None where there are too few units for one, or too few that differ. Raises UsageError if no
    resample is asked for.
    """
    if len(differences) < FEWEST:
        return None
    low, high, below = bounds(differences[None], characters[None], resamples=resamples, seed=seed)
    if not math.isfinite(low[0]) or not math.isfinite(high[0]):
        return None
    return Interval(float(low[0]), float(high[0]), float(below[0]))


def bounds(
    differences: Values, characters: Values, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Values, Values, Values]:
    """Lower and upper bounds (S,) of S ratios, and the shares (S,) of resamples below 0.

    Given are what each of U units adds, (S, U) and (S, U); the same draws serve all S. A bound is
    infinite where more resamples than may lie beyond it hold one kind of unit alone. Raises
    UsageError if no resample is asked for.
    """
    if resamples < 1:
        raise UsageError(f"the text must be drawn anew at least once, got {resamples}.")
    number = differences.shape[1]
    ratio = differences.sum(axis=1) / characters.sum(axis=1)  # (S,)
    # Of residuals the ratio is 0: nothing is lost where they are small beside what they are of.
    residuals = differences - ratio[:, None] * characters
    error = _ratios(np.ones((1, number)), residuals, characters)[1][0]  # (S,)
    size = np.abs(differences).sum(axis=1) / characters.sum(axis=1)
    error = np.where(error > _NOTHING * size, error, 0.0)
    rng = np.random.default_rng(seed)
    portion = max(1, _AT_ONCE // number)
    statistics, below = [], np.zeros(len(ratio))
    for begun in range(0, resamples, portion):
        chances = np.full(number, 1 / number)
        counts = rng.multinomial(number, chances, size=min(portion, resamples - begun))
        offsets, errors = _ratios(counts.astype(np.float64), residuals, characters)  # (R, S)
        below += (ratio + offsets < 0).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(errors > _ALIKE * error, offsets / errors, np.sign(offsets) * np.inf)
        statistics.append(np.where(offsets == 0, 0.0, found))
    tail = (1 - LEVEL) / 2
    drawn = np.concatenate(statistics)
    low = np.quantile(drawn, tail, axis=0, method="lower")
    high = np.quantile(drawn, 1 - tail, axis=0, method="higher")
    share = 0.5 + 1.5 / number  # of the bootstrap
    wider = (1 + 0.3 / number) * error
    student = student_t(number - 1)
    with np.errstate(invalid="ignore"):
        from_low = np.where(error > 0, wider * (share * high + (1 - share) * student), 0.0)
        to_high = np.where(error > 0, wider * (share * low - (1 - share) * student), 0.0)
    return ratio - from_low, ratio - to_high, below / resamples


def _ratios(counts: Values, residuals: Values, characters: Values) -> tuple[Values, Values]:
    """Ratios (R, S) of resamples that hold each unit so often, (R, U), and standard errors."""
    lengths = counts @ characters.T
    ratio = counts @ residuals.T / lengths
    squares = counts @ (residuals**2).T
    squares -= 2 * ratio * (counts @ (residuals * characters).T)
    squares += ratio**2 * (counts @ (characters**2).T)
    number = counts.shape[1]
    return ratio, np.sqrt(np.maximum(squares, 0.0) * number / (number - 1)) / lengths


def student_t(freedom: int) -> float:
    """How many standard errors hold LEVEL of Student's t, to 0.1 % from 4 degrees of freedom on.

    An expansion from the normal distribution (Abramowitz & Stegun 1964, 26.7.5).
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
