"""The NumPy engine: the equations themselves in single precision, for small jobs.

A sentence is scored before torch would have been imported.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charlm import equations
from charlm.config import ModelConfig
from charlm.engine import Ids, Logits
from charlm.weights import Arrays, model_weights

_LOGITS = 2**22  # logits made at a time: bounds memory for large vocabularies

State = tuple[equations.LayerState, ...]


class NumpyEngine:
    """Runs a model from its arrays; it is its own decoder. See engine.py for the methods."""

    def __init__(self, config: ModelConfig, arrays: Arrays) -> None:
        self.config = config
        self._arrays = arrays
        self._weights = model_weights(config, arrays, np.float32)

    def token_log_probs(
        self, sequences: Sequence[Ids], *, ranks: bool = False
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64] | None]:
        """log P (N,) and ranks (N,) of every token, one sequence after another."""
        log_probs, places = [], []
        portion = max(1, _LOGITS // self.config.vocab_size)
        for ids in sequences:
            state = None
            inputs = np.concatenate(([self.config.vocab_size], ids[:-1]))
            for at in range(0, len(ids), portion):
                span = slice(at, at + portion)
                top, state = self._hidden(inputs[None, span], state)
                predicted = equations.predict(self._weights, top[0])  # (T, V)
                chosen = predicted[np.arange(len(predicted)), ids[span]]
                log_probs.append(chosen.astype(np.float64))
                if ranks:
                    places.append((predicted > chosen[:, None]).sum(axis=1) + 1)
        return np.concatenate(log_probs), np.concatenate(places) if ranks else None

    def next_logits(self, ids: Ids) -> Logits:
        """Log-probabilities (V,) of the token after a sequence that begins with ids (T,)."""
        inputs = np.concatenate(([self.config.vocab_size], ids))
        rows, _ = self.step(inputs[-1:], self.read(inputs[:-1]))  # (1, V)
        logits: Logits = rows[0]
        return logits

    def decoder(self) -> "NumpyEngine":
        """What steps the model."""
        return self

    def reference(self) -> equations.ModelWeights:
        """The weights in double precision."""
        return model_weights(self.config, self._arrays)

    def read(self, ids: Ids) -> State:
        """The state of one row that has read ids (T,)."""
        state = equations.init_state(self.config.cell, self._weights, 1)
        return self._hidden(ids[None], state)[1] if len(ids) else state

    def step(self, ids: Ids, state: State) -> tuple[Logits, State]:
        """Log-probabilities (B, V) of the token after ids (B,), and the new state."""
        top, state = self._hidden(ids[:, None], state)
        logits: Logits = equations.predict(self._weights, top[:, 0])
        return logits, state

    def select(self, state: State, rows: Ids) -> State:
        """A state of these rows."""
        return tuple(tuple(array[rows] for array in layer) for layer in state)

    def restart(self, state: State, rows: Ids, start: State) -> None:
        """Set these rows to the one row of ``start``."""
        for layer, initial in zip(state, start, strict=True):
            for array, value in zip(layer, initial, strict=True):
                array[rows] = value

    def _hidden(self, inputs: Ids, state: State | None) -> tuple[equations.Array, State]:
        return equations.hidden(self.config.cell, self._weights, inputs, state)
