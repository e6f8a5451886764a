"""A network's last word: its equations in double precision."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.engines.protocol import Ids
from charlm.equations import language_model


class Begun(NamedTuple):
    """A sequence that has been read so far: the top vector (1, H) and the state."""

    top: language_model.Array
    state: tuple[language_model.LayerState, ...]


class NetworkArbiter:
    """Reads with the readable equations. See protocol.py for the methods."""

    def __init__(self, cell: str, weights: language_model.ModelWeights) -> None:
        self.cell = cell
        self.weights = weights

    def read(self, ids: Ids, state: Begun | None = None) -> Begun:
        """The state after the next ids (T,), one or more, of a sequence."""
        before = None if state is None else state.state
        top, after = language_model.hidden(self.cell, self.weights, ids[None], before)
        return Begun(top[:, -1], after)

    def log_probs(self, states: Sequence[Begun]) -> npt.NDArray[np.float64]:
        """log P (B, V) of what comes after states, in one product."""
        tops = np.concatenate([state.top for state in states])
        return language_model.predict(self.weights, tops).astype(np.float64, copy=False)
