"""Laws of joint n-grams mixed with a network."""

import numpy as np
import pytest

from charlm.counts import joint
from charlm.counts.joint_lattice import log_probs
from charlm.counts.pair_partner import PairPartner
from charlm.errors import CheckpointError


@pytest.fixture(scope="module")
def partner() -> PairPartner:
    """Of copies of short words."""
    rng = np.random.default_rng(0)
    words = [rng.integers(2, 5, rng.integers(1, 5)) for _ in range(100)]
    sizes = {"source_vocab_size": 5, "vocab_size": 5}
    return PairPartner(joint.train(words, words, **sizes, order=3)[0])


def figures(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """log P of 500 pairs, some of which one of the two cannot spell."""
    rng = np.random.default_rng(seed)
    network, counts = (-rng.gamma(2.0, 3.0, 500) for _ in range(2))
    counts[::50] = -np.inf
    return network, counts


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("lead", [-3.0, 0.0, 3.0])
def test_the_fitted_share_is_the_best_of_a_grid(
    partner: PairPartner, seed: int, lead: float
) -> None:
    """Pairs are nowhere likelier."""
    network, counts = figures(seed)
    network += lead
    fitted = partner.fitted(network, counts)
    best = fitted.combine(network, counts).sum()
    grid = [
        partner.with_share(share).combine(network, counts).sum()
        for share in np.linspace(0.01, 0.99, 99)
    ]
    assert best >= max(grid)
    assert abs(np.linspace(0.01, 0.99, 99)[np.argmax(grid)] - fitted.share) < 0.011


def test_a_network_that_knows_nothing_has_no_share(partner: PairPartner) -> None:
    """And what neither can spell is not fitted to."""
    network, counts = figures(3)
    assert partner.fitted(network - 100, counts).share == pytest.approx(0.98, abs=0.01)
    assert partner.fitted(network, counts - 1000).share == pytest.approx(0, abs=1e-6)
    nothing = np.full(3, -np.inf)
    assert partner.fitted(nothing, nothing) is partner


def test_shares_of_0_and_1_are_either_alone(partner: PairPartner) -> None:
    """To the last digit."""
    network, counts = figures(4)
    np.testing.assert_array_equal(partner.with_share(1.0).combine(network, counts), counts)
    np.testing.assert_array_equal(partner.with_share(0.0).combine(network, counts), network)


def test_a_partner_returns_from_json_and_arrays(partner: PairPartner) -> None:
    """With its share; and what is none of it is refused."""
    values, arrays = partner.with_share(0.25).to_json(), partner.joint.to_arrays()
    again = PairPartner.from_json(values, arrays, 5, 5)
    assert again.share == 0.25
    word = [np.array([2, 3, 4])]
    np.testing.assert_array_equal(
        log_probs(again.joint, word, word), log_probs(partner.joint, word, word)
    )
    shares: tuple[object, ...] = (1.5, -1, "a", float("nan"), None)
    wrong = [{name: share} for share in shares for name in ("share", "weight")]
    wrong += [{"order": 2}, {"more": 1}]
    for change in wrong:
        with pytest.raises(CheckpointError):
            PairPartner.from_json({**values, **change}, arrays, 5, 5)


def test_the_fitted_weight_is_the_best_of_a_grid(partner: PairPartner) -> None:
    """Of 200 sources with 5 targets each, of which one or two are right where any is."""
    rng = np.random.default_rng(5)
    rows = np.repeat(np.arange(200), 5)
    network, mixed = (rng.normal(0, 3, 1000) for _ in range(2))
    is_right = rng.random(1000) < 0.25 / (1 + np.exp(-(network + 2 * mixed) / 2))

    def fit_of(weight: float) -> float:
        odds = np.exp((1 - weight) * network + weight * mixed)
        right, whole = np.bincount(rows, odds * is_right), np.bincount(rows, odds)
        return float(np.log(right[right > 0] / whole[right > 0]).sum())

    fitted = partner.weighted(rows, network, mixed, is_right).weight
    assert 0.05 < fitted < 0.95
    assert fit_of(fitted) >= max(map(fit_of, np.linspace(0, 1, 101)))
    assert partner.weighted(rows, network, mixed, np.zeros(1000, bool)) is partner
