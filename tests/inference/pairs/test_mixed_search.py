"""Laws of a network that is mixed with joint n-grams: searched by enumeration, too."""

import dataclasses
import itertools

import numpy as np
import pytest

from charlm.counts import joint, joint_lattice
from charlm.counts.pair_partner import PairPartner
from charlm.engines.numpy_pairs import NumpyPairs
from charlm.inference.pairs import beam
from charlm.inference.pairs.mixed_search import (
    Values,
    joint_log_probs,
    mixed_token_log_probs,
    search,
    with_weight,
)
from charlm.nn.network import to_arrays
from tests.support.pairs import EOS, pairs_model

SOURCES, TARGETS = 5, 4


@pytest.fixture(scope="module")
def engine() -> NumpyPairs:
    """A network of random weights, in double precision."""
    model = pairs_model(source_vocab_size=SOURCES, vocab_size=TARGETS)
    return NumpyPairs(model.config, to_arrays(model), np.float64)


@pytest.fixture(scope="module")
def partner() -> PairPartner:
    """N-grams of pairs in which a 2 is doubled or not, and a 3 is written or not."""
    rng = np.random.default_rng(0)
    sources = [rng.integers(2, 4, rng.integers(1, 4)) for _ in range(200)]
    several = {2: [[2], [2, 2]], 3: [[3], []]}
    targets = [
        np.array([x for s in source.tolist() for x in several[s][rng.integers(2)]], np.int64)
        for source in sources
    ]
    sizes = {"source_vocab_size": SOURCES, "vocab_size": TARGETS}
    return PairPartner(joint.train(sources, targets, **sizes, order=3)[0], 0.4, 1.0)


def mixed_log_probs(
    engine: NumpyPairs,
    partner: PairPartner,
    sources: list[np.ndarray],
    targets: list[np.ndarray],
) -> Values:
    """By the definition."""
    by_token, _ = engine.token_log_probs(sources, targets)
    network = np.array([tokens.sum() for tokens in by_token])
    return partner.combine(network, joint_log_probs(partner, sources, targets))


def targets_up_to(length: int) -> list[np.ndarray]:
    """All targets of so many tokens or fewer, <EOS> behind them."""
    sizes = range(length + 1)
    types = (0, *range(2, TARGETS))
    return [np.array([*t, EOS]) for n in sizes for t in itertools.product(types, repeat=n)]


def test_the_mixture_is_a_distribution(engine: NumpyPairs, partner: PairPartner) -> None:
    """Over all targets: the n-grams' are few, and what the network leaves out is its own."""
    source, targets = np.array([2, 3, EOS]), targets_up_to(6)
    log_probs = mixed_log_probs(engine, partner, [source] * len(targets), targets)
    by_token, _ = engine.token_log_probs([source] * len(targets), targets)
    network = sum(float(np.exp(tokens.sum())) for tokens in by_token)
    assert np.exp(log_probs).sum() == pytest.approx(0.6 * network + 0.4)


@pytest.mark.parametrize("source", [[2], [3, 2], [2, 2], [4, 3]])
def test_the_best_of_the_mixture_are_those_of_exhaustive_search(
    engine: NumpyPairs, partner: PairPartner, source: list[int]
) -> None:
    """With a beam that is wide enough."""
    targets = [t for t in targets_up_to(4) if 0 not in t]
    ended = np.array([*source, EOS])
    log_probs = mixed_log_probs(engine, partner, [ended] * len(targets), targets)
    best = np.argsort(-log_probs)[:4]
    (found,) = search(engine, partner, [ended], beam=40, n_best=4, max_tokens=5)
    assert [one.ids.tolist() for one in found] == [targets[at][:-1].tolist() for at in best]
    np.testing.assert_allclose([one.log_prob for one in found], log_probs[best])


def test_without_a_partner_it_is_the_beam_and_with_all_of_the_share_the_n_grams(
    engine: NumpyPairs, partner: PairPartner
) -> None:
    """The network is not even asked then."""
    sources = [np.array([2, 3, EOS]), np.array([3, EOS])]
    alone = search(engine, None, sources, n_best=2, max_tokens=9)
    for one, other in zip(alone, beam.search(engine, sources, n_best=2, max_tokens=9), strict=True):
        assert [x.ids.tolist() for x in one] == [x.ids.tolist() for x in other]
    whole = partner.only()
    found = search(None, whole, sources, n_best=2, max_tokens=9)  # type: ignore[arg-type]
    for source, several in zip(sources, found, strict=True):
        targets = [one.ids for one in several]
        expected = joint_lattice.log_probs(partner.joint, [source[:-1]] * len(targets), targets)
        np.testing.assert_allclose([one.log_prob for one in several], expected)


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_no_target_is_longer_than_asked(
    engine: NumpyPairs, partner: PairPartner, share: float
) -> None:
    """<EOS> counts; where none is so short, one is cut off and has not ended."""
    mixed, source = partner.with_share(share), np.array([2, 2, 2, EOS])
    (found,) = search(engine, mixed, [source], beam=9, n_best=9, max_tokens=3)
    assert max(len(one.ids) for one in found if one.ended) <= 2
    source = np.array([2, EOS])  # the network finds <EOS> alone, the n-grams nothing so short
    (several,) = search(engine, mixed, [source], beam=1, max_tokens=1)
    (one,) = several
    if share < 1:
        assert (one.ended, len(one.ids)) == (True, 0)
        return
    assert (one.ended, len(one.ids)) == (False, 1)
    network, _ = engine.token_log_probs([source], [np.append(one.ids, EOS)])
    (tokens,) = mixed_token_log_probs(mixed, [source], [np.append(one.ids, EOS)], network)
    assert one.log_prob == pytest.approx(tokens[0])


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_tokens_of_the_mixture_add_up_and_are_a_distribution(
    engine: NumpyPairs, partner: PairPartner, share: float
) -> None:
    """Every beginning goes on with some token, <EOS> among them."""
    mixed = partner.with_share(share)
    sources = [np.array([2, 3, EOS])] * TARGETS
    targets = [np.array([*([2, t] if t != EOS else [2]), EOS]) for t in range(TARGETS)]
    network, _ = engine.token_log_probs(sources, targets)
    found = mixed_token_log_probs(mixed, sources, targets, network)
    assert sum(float(np.exp(tokens[1])) for tokens in found) == pytest.approx(1)
    whole = mixed_log_probs(engine, mixed, sources, targets)
    np.testing.assert_allclose([tokens.sum() for tokens in found], whole)


def test_ranking_weighs_the_network_and_the_mixture(
    engine: NumpyPairs, partner: PairPartner
) -> None:
    """The score is the weighted sum of both log P; the weight is fitted to what is right."""
    halves = dataclasses.replace(partner, weight=0.3)
    source = np.array([2, 3, 2, EOS])
    (found,) = search(engine, halves, [source], beam=9, n_best=9, max_tokens=9)
    targets = [np.append(one.ids, EOS) for one in found]
    by_token, _ = engine.token_log_probs([source] * len(targets), targets)
    network = np.array([tokens.sum() for tokens in by_token])
    mixed = mixed_log_probs(engine, halves, [source] * len(targets), targets)
    np.testing.assert_allclose([one.score for one in found], 0.7 * network + 0.3 * mixed)
    np.testing.assert_allclose([one.log_prob for one in found], mixed)
    gain = mixed - network
    for at, weight in ((int(np.argmax(gain)), 1), (int(np.argmin(gain)), 0)):
        right = tuple(targets[at][:-1].tolist())
        fitted = with_weight(engine, partner, [source], [{right}], max_tokens=9)
        assert fitted.weight == pytest.approx(weight)
    assert with_weight(engine, partner.with_share(1.0), [], [], max_tokens=9).weight == 1
