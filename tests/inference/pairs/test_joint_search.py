"""Laws of searching for targets with joint n-grams alone."""

import itertools

import numpy as np
import pytest

from charlm.counts import joint, joint_lattice
from charlm.counts.joint import JointNGram
from charlm.inference.pairs.joint_search import search

SOURCES, TARGETS = 5, 4


@pytest.fixture(scope="module")
def model() -> JointNGram:
    """Of pairs in which a 2 is doubled or not, and a 3 is written as 2, 3 or nothing."""
    rng = np.random.default_rng(0)
    sources = [rng.integers(2, 4, rng.integers(1, 6)) for _ in range(300)]
    several = {2: [[2], [2, 2]], 3: [[2], [3], []]}
    targets = [
        np.array([x for s in source.tolist() for x in several[s][rng.integers(len(several[s]))]])
        for source in sources
    ]
    sizes = {"source_vocab_size": SOURCES, "vocab_size": TARGETS}
    return joint.train(sources, targets, **sizes, order=4)[0]


@pytest.mark.parametrize("source", [[2], [3, 2], [3, 3, 2], [2, 4, 3]])
def test_the_best_targets_are_those_of_exhaustive_search(
    model: JointNGram, source: list[int]
) -> None:
    """All their probabilities, too; of a source with a symbol that training never saw, too."""
    sizes = range(2 * len(source) + 1)
    targets = [np.array(t) for n in sizes for t in itertools.product((1, 2, 3), repeat=n)]
    log_probs = joint_lattice.log_probs(model, [np.array(source)] * len(targets), targets)
    best = np.argsort(-log_probs, kind="stable")[:6]
    best = best[np.isfinite(log_probs[best])]
    (found,) = search(model, [np.array(source)], n_best=6)
    assert [one.ids.tolist() for one in found] == [targets[at].tolist() for at in best]
    np.testing.assert_allclose([one.log_prob for one in found], log_probs[best])
    assert all(one.ended for one in found)


def test_an_answer_does_not_depend_on_the_sources_beside(model: JointNGram) -> None:
    """Of sources of all sizes, more than are searched at once."""
    rng = np.random.default_rng(1)
    sources = [rng.integers(2, 5, rng.integers(1, 12)) for _ in range(700)]
    together = search(model, sources, n_best=2)
    for at in range(0, 700, 50):
        (alone,) = search(model, [sources[at]], n_best=2)
        assert [one.ids.tolist() for one in alone] == [one.ids.tolist() for one in together[at]]


def test_unknown_symbols_get_an_answer_and_long_sources_end(model: JointNGram) -> None:
    """A source of nothing but unseen symbols, one of nothing, and one of 300 symbols."""
    nothing, unseen, long = search(
        model, [np.array([], np.int64), np.array([4, 0, 1]), np.resize([2, 3], 300)]
    )
    assert [one.ids.tolist() for one in nothing] == [[]]
    assert nothing[0].log_prob == pytest.approx(0)
    assert np.isfinite(unseen[0].log_prob)
    assert len(long[0].ids) > 100


def test_a_length_penalty_ranks(model: JointNGram) -> None:
    """By log P / tokens ** penalty, <EOS> among the tokens."""
    (found,) = search(model, [np.array([2, 3, 2])], n_best=4, length_penalty=1.0)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx([one.log_prob / (len(one.ids) + 1) for one in found])
