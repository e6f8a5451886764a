"""Laws of cutting pairs into chunks."""

import itertools
import math

import numpy as np
import pytest

from charlm.counts.alignment import Aligned, align

VOCAB = 5


def pairs_of(seed: int, number: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sources, and targets that write 2, 3 and 4 for 2, "3 4" for 3 and nothing for 4, nearly."""
    rng = np.random.default_rng(seed)
    sources = [rng.integers(2, 5, rng.integers(1, 20)) for _ in range(number)]
    usual = {2: [2], 3: [3, 4], 4: []}
    targets = []
    for source in sources:
        target = [x for symbol in source.tolist() for x in usual[symbol]]
        if target and rng.random() < 0.2:
            target[int(rng.integers(len(target)))] = int(rng.integers(2, VOCAB))
        targets.append(np.array(target, np.int64))
    return sources, targets


def spelled(aligned: Aligned, at: int) -> tuple[list[int], list[int]]:
    """What the chunks of a pair take and write."""
    numbers = aligned.pairs[at]
    assert numbers is not None
    written = aligned.chunks.target[numbers].ravel()
    return aligned.chunks.source[numbers].tolist(), written[written >= 0].tolist()


def test_chunks_spell_their_pairs_and_em_makes_them_likelier_each_time() -> None:
    """Of pairs of all sizes; the rule that they were made by is found."""
    sources, targets = pairs_of(0, 400)
    aligned = align(sources, targets, VOCAB)
    for at, (source, target) in enumerate(zip(sources, targets, strict=True)):
        assert spelled(aligned, at) == (source.tolist(), target.tolist())
    assert len(aligned.log_likelihoods) > 3
    assert (np.diff(aligned.log_likelihoods) > 0).all()
    cut = np.concatenate([numbers for numbers in aligned.pairs if numbers is not None])
    commonest = {}
    for number in np.argsort(np.bincount(cut)):
        target = aligned.chunks.target[number]
        commonest[int(aligned.chunks.source[number])] = target[target >= 0].tolist()
    assert commonest == {2: [2], 3: [3, 4], 4: []}


def test_the_likelihood_is_the_sum_over_all_ways_to_cut() -> None:
    """Of the first round, where all chunks are equally likely: their number is what counts."""
    sources, targets = [np.array([2, 3, 2]), np.array([3])], [np.array([2, 3, 3, 4]), np.array([2])]
    ways = []
    chunks = set()
    for source, target in zip(sources, targets, strict=True):
        cuts = [
            sizes
            for sizes in itertools.product(range(3), repeat=len(source))
            if sum(sizes) == len(target)
        ]
        for sizes in cuts:
            ends = np.cumsum(sizes)
            parts = [tuple(target[e - n : e]) for e, n in zip(ends, sizes, strict=True)]
            chunks |= {(int(s), *map(int, part)) for s, part in zip(source, parts, strict=True)}
        ways.append(len(cuts))
    expected = sum(
        math.log(number) - len(source) * math.log(len(chunks))
        for number, source in zip(ways, sources, strict=True)
    )
    assert align(sources, targets, VOCAB).log_likelihoods[0] == pytest.approx(expected)


def test_a_pair_whose_target_is_too_long_is_left_out() -> None:
    """And the others are cut as without it."""
    sources, targets = pairs_of(1, 300)
    aligned = align(sources, targets, VOCAB)
    more = align([*sources, np.array([2])], [*targets, np.full(9, 2)], VOCAB)
    assert more.pairs[-1] is None
    assert [spelled(more, at) for at in range(300)] == [spelled(aligned, at) for at in range(300)]


def test_targets_much_longer_than_their_sources_are_cut_too() -> None:
    """Chunks write as much as most pairs need."""
    rng = np.random.default_rng(2)
    sources = [rng.integers(2, 5, 4) for _ in range(50)]
    targets = [np.repeat(source, 5) for source in sources]
    aligned = align(sources, targets, VOCAB)
    assert all(spelled(aligned, at)[1] == targets[at].tolist() for at in range(50))


def test_long_pairs_do_not_vanish() -> None:
    """Of 400 symbols, whose probabilities are far below the smallest number."""
    rng = np.random.default_rng(3)
    sources = [rng.integers(2, 40, 400) for _ in range(3)]
    aligned = align(sources, [source + 1 for source in sources], 60)
    assert all(spelled(aligned, at)[1] == (sources[at] + 1).tolist() for at in range(3))
    assert np.isfinite(aligned.log_likelihoods).all()
