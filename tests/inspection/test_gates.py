"""Laws of the gates along a text."""

import numpy as np
import pytest

from charlm.config import CELLS
from charlm.errors import UsageError
from charlm.inspection.gates import gates
from tests.support.inspected import random_lm

TEXT = "the cat, which ran, was full"


@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.startswith("rnn")])
def test_figures_are_those_of_the_units(cell: str) -> None:
    """Means, and shares below 0.1 and above 0.9, over the units of each layer at each token."""
    lm = random_lm(cell=cell, num_layers=2, std=1.5)
    found = gates(lm, TEXT)
    inside = lm.activations(TEXT).gates
    assert [gate.name for gate in found.gates] == list(inside)
    for gate in found.gates:
        values = inside[gate.name]
        assert gate.mean.shape == (len(TEXT) + 1, 2)
        for t, layer in np.ndindex(gate.mean.shape):
            units = values[t, layer]
            assert gate.mean[t, layer] == pytest.approx(sum(map(float, units)) / 16, abs=1e-6)
            assert gate.left[t, layer] == sum(unit < 0.1 for unit in units) / 16
            assert gate.right[t, layer] == sum(unit > 0.9 for unit in units) / 16
        assert gate.left.max() > 0
        assert gate.right.max() > 0


@pytest.mark.parametrize("cell", ["rnn-tanh", "rnn-relu"])
def test_a_plain_rnn_has_none(cell: str) -> None:
    """That is said."""
    with pytest.raises(UsageError, match=f"plain RNN \\({cell}\\) has no gates"):
        gates(random_lm(cell=cell), TEXT)
