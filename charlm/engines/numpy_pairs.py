"""NumpyPairs: what writes targets and scores pairs without torch, by the equations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.equations import pairs
from charlm.equations.language_model import LayerState
from charlm.equations.parameters import Arrays
from charlm.network_config import PairsConfig

Ids = NDArray[np.integer[Any]]
Row = tuple[pairs.Read, tuple[LayerState, ...]]


class NumpyPairs:
    """Runs an encoder and a decoder from their arrays: a Writer of inference/pairs/beam.py."""

    def __init__(
        self, config: PairsConfig, arrays: Arrays, dtype: type[np.floating[Any]] = np.float32
    ) -> None:
        self.config = config
        self._weights = pairs.pairs_weights(config, arrays, dtype)

    @property
    def vocab_size(self) -> int:
        """The types of targets."""
        return self.config.vocab_size

    def begin(self, sources: Sequence[Ids]) -> list[Row]:
        """Each source read."""
        found = (pairs.read(self.config, self._weights, source) for source in sources)
        return [(read, read.state) for read in found]

    def step(self, state: list[Row], tokens: Ids) -> tuple[NDArray[np.floating[Any]], list[Row]]:
        """log P (N, V) after tokens (N,), and the state then."""
        rows, found = [], []
        for (read, before), token in zip(state, tokens, strict=True):
            log_probs, after, _ = pairs.step(self.config, self._weights, read, before, int(token))
            found.append(log_probs)
            rows.append((read, after))
        return np.stack(found), rows

    def take(self, state: list[Row], index: NDArray[np.int64]) -> list[Row]:
        """Rows (M,) of a state."""
        return [state[at] for at in index]

    def put(self, state: list[Row], index: NDArray[np.int64], one: list[Row]) -> list[Row]:
        """A state with the one row of another in the place of rows (M,)."""
        places = set(index.tolist())
        return [one[0] if at in places else row for at, row in enumerate(state)]

    def token_log_probs(
        self, sources: Sequence[Ids], targets: Sequence[Ids]
    ) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """log P (T,) of the tokens of each target given its source; attention's shares (T, S)."""
        found = [
            pairs.log_probs(self.config, self._weights, source, target)
            for source, target in zip(sources, targets, strict=True)
        ]
        both = zip(*found, strict=True) if found else ((), ())
        log_probs, shares = ([one.astype(np.float64) for one in side] for side in both)
        return log_probs, shares
