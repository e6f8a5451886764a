"""Laws of joint n-grams of pairs."""

import itertools
from typing import Any

import numpy as np
import pytest

from charlm.counts import joint
from charlm.counts.alignment import NOTHING
from charlm.counts.joint import JointNGram
from charlm.counts.joint_lattice import lattice_of, log_probs, prefix_log_probs
from charlm.errors import CheckpointError, UsageError

SOURCES, TARGETS = 5, 4  # types; 0 and 1 are <UNK> and <EOS>


def pairs_of(number: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Short pairs: what is written depends on the symbol before, and on chance."""
    rng = np.random.default_rng(seed)
    sources = [rng.integers(2, SOURCES - 1, rng.integers(1, 5)) for _ in range(number)]
    targets = []
    for source in sources:
        target: list[int] = []
        for before, symbol in itertools.pairwise([2, *source.tolist()]):
            several = [[2], [3], [2, 3], []]
            target += several[(before * symbol + int(rng.integers(2))) % 4]
        targets.append(np.array(target, np.int64))
    return sources, targets


def model_of(order: int = 3, number: int = 300) -> JointNGram:
    """A small model."""
    sources, targets = pairs_of(number)
    sizes = {"source_vocab_size": SOURCES, "vocab_size": TARGETS}
    model, left_out = joint.train(sources, targets, **sizes, order=order)
    assert left_out == sum(len(t) > 2 * len(s) for s, t in zip(sources, targets, strict=True))
    return model


def everything(length: int) -> list[np.ndarray]:
    """All targets that a source of such a length can have."""
    sizes = range(2 * length + 1)
    return [np.array(t) for n in sizes for t in itertools.product(range(TARGETS), repeat=n)]


@pytest.mark.parametrize("order", [1, 2, 4, 8])
@pytest.mark.parametrize("source", [[2], [3, 2], [3, 3, 2], [4, 2], [0, 1, 2]])
def test_targets_of_a_source_add_up_to_1(order: int, source: list[int]) -> None:
    """By enumeration, of sources with symbols that training never saw (0, 1, 4), too."""
    targets = everything(len(source))
    found = log_probs(model_of(order), [np.array(source)] * len(targets), targets)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-9)


def test_a_pair_is_the_sum_over_all_ways_to_cut_it() -> None:
    """P of every row of chunks is what the n-gram model says of it."""
    model, source = model_of(), [2, 3, 3]
    takes = [np.flatnonzero(model.chunks.source == symbol).tolist() for symbol in source]
    rows = [np.array([*row, model.end]) for row in itertools.product(*takes)]
    of_rows = model.counts.token_log_probs(rows).reshape(len(rows), -1).sum(axis=1)
    sums: dict[tuple[int, ...], float] = {}
    for row, log_prob in zip(rows, of_rows, strict=True):
        written = model.chunks.target[row[:-1]].ravel()
        target = tuple(written[written != NOTHING].tolist())
        sums[target] = sums.get(target, 0.0) + float(np.exp(log_prob))
    targets = [np.array(target) for target in sums]
    of_source = np.exp(lattice_of(model, [np.array(source)]).log_p[0])
    assert of_source == pytest.approx(sum(sums.values()))
    found = log_probs(model, [np.array(source)] * len(targets), targets)
    np.testing.assert_allclose(np.exp(found) * of_source, list(sums.values()), rtol=1e-9)


def test_a_beginning_has_the_sum_over_all_that_begin_so() -> None:
    """Whether a chunk ends where the beginning does or goes on; and the last is the target."""
    model, source = model_of(), [3, 2, 2]
    targets = everything(len(source))
    whole = log_probs(model, [np.array(source)] * len(targets), targets)
    for target in targets[:: len(targets) // 40]:
        (found,) = prefix_log_probs(model, [np.array(source)], [target])
        assert len(found) == len(target) + 1
        for size in range(1, len(target) + 1):
            begun = [other[:size].tolist() == target[:size].tolist() for other in targets]
            assert np.exp(found[size - 1]) == pytest.approx(np.exp(whole[begun]).sum(), abs=1e-12)


def test_figures_do_not_depend_on_the_pairs_beside() -> None:
    """Nor on their order."""
    model = model_of()
    sources, targets = pairs_of(1200, seed=1)
    together = log_probs(model, sources, targets)
    some = range(0, 1200, 100)
    alone = [float(log_probs(model, [sources[at]], [targets[at]])[0]) for at in some]
    np.testing.assert_allclose(together[::100], alone, rtol=1e-12)


def test_what_cannot_be_spelled_has_no_probability() -> None:
    """A target of more than its source can write; and long pairs do not vanish."""
    model = model_of()
    assert log_probs(model, [np.array([2])], [np.full(9, 2)])[0] == -np.inf
    source = np.resize([2, 3], 3000)
    assert np.isfinite(lattice_of(model, [source]).log_p).all()
    assert np.isfinite(log_probs(model, [source[:300]], [np.array([], np.int64)])).all()


def test_a_model_returns_from_its_arrays() -> None:
    """To the bit."""
    model = model_of()
    sizes = (SOURCES, TARGETS)
    again = JointNGram.from_arrays(model.to_arrays(), *sizes)
    sources, targets = pairs_of(50, seed=2)
    np.testing.assert_array_equal(
        log_probs(again, sources, targets), log_probs(model, sources, targets)
    )


def damage(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays of which one is not what it should be."""
    arrays = dict(arrays)
    if name == "gone":
        del arrays["chunks.source"]
    elif name == "flat":
        arrays["chunks.target"] = arrays["chunks.target"].ravel()
    elif name == "turned":
        arrays["chunks.source"] = arrays["chunks.source"][::-1]
    elif name == "large":
        arrays["chunks.target"] = arrays["chunks.target"] + np.uint32(TARGETS)
    elif name == "fewer":
        arrays = {key: value[1:] if "chunks" in key else value for key, value in arrays.items()}
    return arrays


@pytest.mark.parametrize("name", ["gone", "flat", "turned", "large", "fewer"])
def test_damaged_arrays_are_refused(name: str) -> None:
    """Whatever is wrong with the chunks."""
    arrays = damage(name, model_of().to_arrays())
    with pytest.raises(CheckpointError):
        JointNGram.from_arrays(arrays, SOURCES, TARGETS)


def test_what_cannot_be_learned_is_told() -> None:
    """An order that there is not, and pairs of which none can be cut."""
    sizes = {"source_vocab_size": SOURCES, "vocab_size": TARGETS}
    with pytest.raises(UsageError, match="1 to 8"):
        joint.train([np.array([2])], [np.array([2])], **sizes, order=9)
    with pytest.raises(UsageError, match="too long"):
        joint.train([np.array([2])], [np.full(40, 2)], **sizes, order=2)
