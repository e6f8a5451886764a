"""Laws of the interval of a ratio: it holds the truth as often as it says, or there is none."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.inference.interval import FEWEST, blocks, bounds, interval, student_t, together

Values = NDArray[np.float64]
TEXTS = 4000  # made up for each figure: its own standard error is then 0.35 %
UNITS = (5, 10, 20, 50, 200)


def even(rng: np.random.Generator, units: int) -> tuple[Values, Values]:
    """Normal noise of units of very different length, in proportion to its root."""
    characters = 40 * np.exp(rng.normal(0, 0.6, (TEXTS, units)))
    return rng.normal(size=(TEXTS, units)) * np.sqrt(characters), characters


def skewed(rng: np.random.Generator, units: int) -> tuple[Values, Values]:
    """Skewness 1.4: now and then a unit that costs one model much more."""
    return rng.gamma(2, size=(TEXTS, units)) - 2, np.full((TEXTS, units), 40.0)


def heavy(rng: np.random.Generator, units: int) -> tuple[Values, Values]:
    """Tails of Student's t of 5 degrees of freedom: kurtosis 9."""
    return rng.standard_t(5, size=(TEXTS, units)), np.full((TEXTS, units), 40.0)


def very_skewed(rng: np.random.Generator, units: int) -> tuple[Values, Values]:
    """Skewness 2, that of waiting times."""
    return rng.exponential(size=(TEXTS, units)) - 1, np.full((TEXTS, units), 40.0)


def held(noise: Callable[[np.random.Generator, int], tuple[Values, Values]], units: int) -> float:
    """How often the interval holds the truth, which is 0."""
    low, high, _ = bounds(*noise(np.random.default_rng(units), units), resamples=400)
    return float(((low <= 0) & (high >= 0)).mean())


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("noise", [even, skewed, heavy])
def test_it_holds_the_truth_19_times_in_20(
    noise: Callable[[np.random.Generator, int], tuple[Values, Values]], units: int
) -> None:
    """From 94 to 96 % of the time, be the noise even, skewed or heavy-tailed, from 5 units on."""
    assert 0.94 <= held(noise, units) <= 0.96


@pytest.mark.parametrize("units", UNITS)
def test_very_skewed_noise_costs_little(units: int) -> None:
    """Where a fifth of the units do not show what they hold, 92 % or more is what is left."""
    assert 0.92 <= held(very_skewed, units) <= 0.96


def waves(texts: int, units: int, alike: float) -> Values:
    """Normal noise (S, U) whose neighbours are correlated so far."""
    noise = np.random.default_rng(1).normal(size=(texts, units))
    for at in range(1, units):
        noise[:, at] = alike * noise[:, at - 1] + math.sqrt(1 - alike**2) * noise[:, at]
    return noise


@pytest.mark.parametrize(
    ("alike", "least", "most_alone"), [(0.0, 0.93, 0.97), (0.3, 0.91, 0.88), (0.6, 0.90, 0.72)]
)
def test_neighbours_that_are_alike_are_taken_together(
    alike: float, least: float, most_alone: float
) -> None:
    """Of 100 units each by itself the interval holds the truth 85 and 68 % of the time where
    neighbours are correlated by 0.3 and 0.6; of blocks it does most of the time.
    """
    noise, ones, hits = waves(500, 100, alike), np.ones(100), 0
    low, high, _ = bounds(noise, np.ones_like(noise), resamples=200)
    assert ((low <= 0) & (high >= 0)).mean() <= most_alone
    for row in noise:
        size = blocks(row, ones)
        found = interval(together(row, size), together(ones, size), resamples=200)
        assert found is not None
        hits += found.low <= 0 <= found.high
    assert hits / len(noise) >= least


@pytest.mark.parametrize("units", [10, 50])
def test_independent_units_taken_together_by_chance_cost_nothing(units: int) -> None:
    """Where neighbours look alike by chance, the interval of blocks is one of 95 % all the same."""
    differences, characters = (noise[:500] for noise in skewed(np.random.default_rng(units), units))
    hits = 0
    for one, lengths in zip(differences, characters, strict=True):
        size = blocks(one, lengths)
        found = interval(together(one, size), together(lengths, size), resamples=200)
        hits += found is None or found.low <= 0 <= found.high
    assert 0.93 <= hits / 500 <= 0.98


@given(seed=st.integers(0, 1000), number=st.integers(1, 3000))
@settings(max_examples=50, deadline=None)
def test_blocks_are_all_of_the_units(seed: int, number: int) -> None:
    """Their sums are those of the units; there are enough of them, and at most 1,000."""
    values = np.random.default_rng(seed).normal(size=number)
    ones = np.ones(number)
    size = blocks(values, ones)
    assert together(values, size).sum() == pytest.approx(values.sum())
    assert together(ones, size).sum() == number
    assert min(number, FEWEST) <= len(together(ones, size)) <= 1000
    assert set(together(ones, size)[:-1].tolist()) <= {float(size)}


@pytest.mark.parametrize("number", range(FEWEST))
def test_of_a_few_units_there_is_none(number: int) -> None:
    """However far they are from 0."""
    assert interval(np.ones(number), np.ones(number)) is None


def test_where_almost_all_units_are_one_there_is_none() -> None:
    """What so few different ones cannot tell is not made up."""
    assert interval(np.array([1.0, 1.0, 1.0, 1.0, 2.0]), np.ones(5)) is None
    with pytest.raises(UsageError, match="at least once"):
        interval(np.ones(9), np.ones(9), resamples=0)


@given(seed=st.integers(0, 1000), scale=st.floats(0.001, 1000), moved=st.floats(-10, 10))
@settings(max_examples=50, deadline=None)
def test_it_moves_and_grows_with_what_is_measured(seed: int, scale: float, moved: float) -> None:
    """Of k times the differences, with m a character more, it is k times as wide, and m away;
    turned round it is the same with the other sign.
    """
    rng = np.random.default_rng(seed)
    differences, characters = rng.normal(size=12) * 5, rng.integers(1, 90, 12).astype(float)
    plain = interval(differences, characters, resamples=99)
    other = interval(scale * differences + moved * characters, characters, resamples=99)
    assert plain is not None
    assert other is not None
    near = {"rel": 1e-6, "abs": 1e-6 * max(scale, 1)}
    assert other.low == pytest.approx(scale * plain.low + moved, **near)
    assert other.high == pytest.approx(scale * plain.high + moved, **near)
    ratio = differences.sum() / characters.sum()
    assert plain.low < ratio < plain.high


def test_no_noise_no_width() -> None:
    """Where every unit says the same, rounding apart, that is the difference."""
    characters = np.array([3.0, 7, 11, 13, 17, 19, 23])
    found = interval(0.1 * characters, characters)
    assert found is not None
    assert found.low == found.high == pytest.approx(0.1)
    assert found.share_below == 0


def test_student() -> None:
    """The tables' values (Fisher & Yates) to their last digit but one."""
    table = {4: 2.776, 5: 2.571, 9: 2.262, 19: 2.093, 49: 2.010, 999: 1.962}
    for freedom, expected in table.items():
        assert student_t(freedom) == pytest.approx(expected, abs=2e-3)
