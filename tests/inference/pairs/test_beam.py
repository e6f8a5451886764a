"""Laws of beam search: what it finds is what trying everything finds, on either engine."""

import itertools
from typing import Any

import numpy as np
import pytest

from charlm.config import ATTENTIONS
from charlm.engines.numpy_pairs import NumpyPairs
from charlm.engines.torch_pairs import TorchPairs
from charlm.errors import FieldError
from charlm.inference.pairs.beam import search
from charlm.nn.network import to_arrays
from tests.support.pairs import EOS, pairs_model, sequences

V = 5


def engines(seed: int, **shape: Any) -> tuple[NumpyPairs, TorchPairs]:
    """Both engines of one model of random weights, in double precision."""
    model = pairs_model(seed, vocab_size=V, **shape)
    arrays: Any = to_arrays(model)
    return NumpyPairs(model.config, arrays, np.float64), TorchPairs(model)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_all_targets_finds_the_best(seed: int, penalty: float) -> None:
    """Of all targets of up to three tokens the best four come out, in their order."""
    numpy, torch = engines(seed, attention=ATTENTIONS[seed % 3])
    sources = sequences(3, 7, seed)
    for engine in (numpy, torch):
        found = search(
            engine, sources, beam=V * 3**3, n_best=4, max_tokens=4, length_penalty=penalty
        )
        for source, best in zip(sources, found, strict=True):
            targets = [
                np.array([*ids, EOS])
                for length in range(4)
                for ids in itertools.product((0, 2, 3, 4), repeat=length)
                if 0 not in ids
            ]
            scored, _ = numpy.token_log_probs([source] * len(targets), targets)
            totals = np.array([one.sum() for one in scored])
            scores = totals / np.array([len(target) for target in targets]) ** penalty
            order = np.argsort(-scores)[:4]
            assert [tuple(one.ids) for one in best] == [tuple(targets[i][:-1]) for i in order]
            np.testing.assert_allclose([one.log_prob for one in best], totals[order], atol=1e-9)
            assert all(one.ended for one in best)


def test_what_is_unknown_is_written_where_that_is_allowed() -> None:
    """Then <UNK> is a type like others: the best targets of all are found."""
    numpy, torch = engines(3)
    (source,) = sequences(1, 7, 3)
    targets = [
        np.array([*ids, EOS])
        for length in range(3)
        for ids in itertools.product((0, 2, 3, 4), repeat=length)
    ]
    totals = np.array([numpy.token_log_probs([source], [one])[0][0].sum() for one in targets])
    best = [tuple(targets[at][:-1]) for at in np.argsort(-totals)[:6]]
    assert any(0 in one for one in best)
    for engine in (numpy, torch):
        options: dict[str, Any] = {"beam": V * 4**2, "n_best": 6, "max_tokens": 3}
        (found,) = search(engine, [source], **options, unknown=True)
        assert [tuple(one.ids) for one in found] == best
        (found,) = search(engine, [source], **options)
        assert not any(0 in one.ids for one in found)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_hypothesis_has_the_probability_that_scoring_gives(attention: str) -> None:
    """Whatever stands beside a source in the batch, and on either engine."""
    numpy, torch = engines(7, attention=attention, num_layers=2)
    sources = sequences(9, 7, 5)
    options: dict[str, Any] = {"beam": 3, "n_best": 3, "max_tokens": 8}
    together = search(torch, sources, **options)
    for source, best in zip(sources, together, strict=True):
        (alone,) = search(torch, [source], **options)
        (other,) = search(numpy, [source], **options)
        for one, two, three in zip(best, alone, other, strict=True):
            assert tuple(one.ids) == tuple(two.ids) == tuple(three.ids)
            assert one.log_prob == pytest.approx(two.log_prob, abs=1e-9)
            assert one.log_prob == pytest.approx(three.log_prob, abs=1e-9)
        ended = [one for one in best if one.ended]
        targets = [np.append(one.ids, EOS) for one in ended]
        for engine in (numpy, torch):
            scored, shares = engine.token_log_probs([source] * len(targets), targets)
            found = [each.sum() for each in scored]
            np.testing.assert_allclose(found, [one.log_prob for one in ended], atol=1e-9)
            for target, looked in zip(targets, shares, strict=True):
                if attention != "none":
                    assert looked.shape == (len(target), len(source))
                    np.testing.assert_allclose(looked.sum(axis=1), 1)


def test_a_beam_of_one_is_greedy() -> None:
    """Each token is the likeliest after those before it, <UNK> aside."""
    numpy, _ = engines(3)
    for source in sequences(6, 7, 1):
        ((best,),) = search(numpy, [source], beam=1, max_tokens=6)
        state, token, ids = numpy.begin([source]), V, []
        for _ in range(6):
            log_probs, state = numpy.step(state, np.array([token]))
            log_probs[0, 0] = -np.inf
            token = int(log_probs[0].argmax())
            if token == EOS:
                break
            ids.append(token)
        assert list(best.ids) == ids
        assert best.ended == (token == EOS)


def test_what_does_not_end_says_so() -> None:
    """At the limit the best beginning comes out, where nothing has ended before."""
    model = pairs_model(0, vocab_size=V)
    model.softmax.bias[EOS] = -50
    ((best,),) = search(TorchPairs(model), sequences(1, 7, 0), beam=1, max_tokens=3)
    assert len(best.ids) == 3
    assert best.log_prob > -50
    assert not best.ended


def test_more_than_the_beam_are_not_to_be_had() -> None:
    """n_best is at most the beam; of no sources there is nothing."""
    numpy, _ = engines(0)
    with pytest.raises(FieldError, match="n_best must be from 1 to the beam"):
        search(numpy, sequences(1, 7, 0), beam=2, n_best=3, max_tokens=3)
    assert search(numpy, [], max_tokens=3) == []
