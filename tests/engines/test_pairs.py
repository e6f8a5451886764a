"""Laws of what runs a model of pairs: single precision is the equations but for rounding."""

from typing import Any

import numpy as np
import pytest
import torch

from charlm.config import ATTENTIONS, CELLS
from charlm.engines.numpy_pairs import NumpyPairs
from charlm.engines.torch_pairs import TorchPairs
from charlm.nn.network import to_arrays
from tests.support.pairs import pairs_model, sequences


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_scores_are_those_of_the_equations(cell: str, attention: str) -> None:
    """log P of each token to 1e-6 of its nats, whatever stands beside the pair, in any order."""
    model = pairs_model(cell=cell, attention=attention, num_layers=2)
    arrays: Any = to_arrays(model)
    exact = NumpyPairs(model.config, arrays, np.float64)
    sources, targets = sequences(40, 7, 1), sequences(40, 5, 2)
    expected, looked = exact.token_log_probs(sources, targets)
    rng = np.random.default_rng(4)
    for engine in (NumpyPairs(model.config, arrays), TorchPairs(model.to(torch.float32))):
        for size in (1, 7, 40):
            order = rng.permutation(40)
            for begin in range(0, 40, size):
                part = order[begin : begin + size]
                found, shares = engine.token_log_probs(
                    [sources[at] for at in part], [targets[at] for at in part]
                )
                for at, log_probs, share in zip(part, found, shares, strict=True):
                    np.testing.assert_allclose(log_probs, expected[at], rtol=1e-6, atol=1e-6)
                    np.testing.assert_allclose(share, looked[at], rtol=1e-6, atol=1e-6)


def test_a_row_can_be_put_in_the_place_of_others() -> None:
    """What comes after is what came after that row; the others stay."""
    model = pairs_model(num_layers=2)
    arrays: Any = to_arrays(model)
    (source,) = sequences(1, 7, 5)
    tokens = np.array([2, 3, 4, 2])
    for engine in (NumpyPairs(model.config, arrays, np.float64), TorchPairs(model)):
        start: Any = engine.begin([source])
        rows: Any = engine.take(start, np.zeros(4, np.int64))
        _, rows = engine.step(rows, tokens)
        before, _ = engine.step(rows, tokens)
        put = engine.put(rows, np.array([1, 3]), start)
        after, _ = engine.step(put, tokens)
        fresh, _ = engine.step(engine.take(start, np.zeros(4, np.int64)), tokens)
        np.testing.assert_allclose(after[[0, 2]], before[[0, 2]], atol=1e-12)
        np.testing.assert_allclose(after[[1, 3]], fresh[[1, 3]], atol=1e-12)
        assert np.abs(after[1] - before[1]).max() > 1e-4
