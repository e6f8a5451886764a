"""The NumPy engine: the equations themselves in single precision, for small jobs.

A sentence is scored before torch would have been imported.
"""

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charlm.engines.arbiter import NetworkArbiter
from charlm.engines.protocol import Details, Ids, Logits, Predictions, score_predictions
from charlm.equations import language_model
from charlm.equations.parameters import Arrays, model_weights
from charlm.network_config import CausalConfig

_LOGITS = 2**22  # logits made at a time: bounds memory for large vocabularies

State = tuple[language_model.LayerState, ...]


class NumpyEngine:
    """Runs a model from its arrays; it is its own decoder. See protocol.py for the methods."""

    def __init__(self, config: CausalConfig, arrays: Arrays) -> None:
        self.config = config
        self._arrays = arrays
        self.weights = model_weights(config, arrays, np.float32)
        self._label: int | None = None

    def with_label(self, label: int) -> "NumpyEngine":
        """A conditional model, given a label; the weights are shared."""
        given = copy.copy(self)
        given._label = label
        given.weights = language_model.given_label(self.config.cell, self.weights, label)
        return given

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (N,) of every token, one sequence after another, and details."""
        if details:
            return score_predictions(self.predictions(sequences), sequences, openers)
        targets = np.concatenate(sequences).astype(np.int64) if sequences else np.empty(0)
        log_probs = np.empty(len(targets))
        for places, predicted in self.predictions(sequences):
            log_probs[places] = predicted[np.arange(len(places)), targets[places]]
        return log_probs, None

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others.

        Sequences of equal length are read side by side.
        """
        starts = np.cumsum([0, *map(len, sequences)])
        of_length: dict[int, list[int]] = {}
        for index, ids in enumerate(sequences):
            of_length.setdefault(len(ids), []).append(index)
        for length, all_rows in of_length.items():
            side_by_side = max(1, _LOGITS // (self.config.vocab_size * length))
            for first in range(0, len(all_rows), side_by_side):
                rows = all_rows[first : first + side_by_side]
                ids = np.stack([sequences[row] for row in rows])  # (B, T)
                at = starts[rows][:, None] + np.arange(length)
                yield from self._predict(ids, at)

    def _predict(self, ids: Ids, at: npt.NDArray[np.int64]) -> Predictions:
        """log P of all types where ids (B, T) stand, whose places are ``at`` (B, T)."""
        batch, length = ids.shape
        begin = np.full((batch, 1), self.config.vocab_size)
        inputs = np.concatenate((begin, ids[:, :-1]), axis=1)
        portion = max(1, _LOGITS // (self.config.vocab_size * batch))
        state = None
        for first in range(0, length, portion):
            span = slice(first, first + portion)
            top, state = self._hidden(inputs[:, span], state)
            predicted = language_model.predict(self.weights, top)  # (B, T, V)
            yield at[:, span].reshape(-1), predicted.reshape(-1, self.config.vocab_size)

    def read_on(
        self, ids: Ids, state: tuple[int, State] | None = None
    ) -> tuple[npt.NDArray[np.float64], tuple[int, State] | None]:
        """log P (T,) of the next ids (T,) of a sequence; a state has the last of them in front."""
        log_probs = np.empty(len(ids))
        portion = max(1, _LOGITS // self.config.vocab_size)
        for first in range(0, len(ids), portion):
            span = slice(first, first + portion)
            rows, state = self.rows_on(ids[span], state)
            log_probs[span] = language_model.token_log_probs(rows, ids[span].astype(np.int64))
        return log_probs, state

    def rows_on(
        self, ids: Ids, state: tuple[int, State] | None = None
    ) -> tuple[npt.NDArray[np.float32], tuple[int, State] | None]:
        """log P (T, V) of all types where the next ids (T,) stand; a state as that of read_on."""
        if not len(ids):
            return np.empty((0, self.config.vocab_size), dtype=np.float32), state
        last, before = state or (self.config.vocab_size, None)
        inputs = np.concatenate(([last], ids[:-1]))
        top, after = self._hidden(inputs[None], before)
        rows: npt.NDArray[np.float32] = language_model.predict(self.weights, top[0])
        return rows, (int(ids[-1]), after)

    def next_logits(self, ids: Ids) -> Logits:
        """Log-probabilities (V,) of the token after a sequence that begins with ids (T,)."""
        inputs = np.concatenate(([self.config.vocab_size], ids))
        rows, _ = self.step(inputs[-1:], self.read(inputs[:-1]))  # (1, V)
        logits: Logits = rows[0]
        return logits

    def decoder(self) -> "NumpyEngine":
        """What steps the model."""
        return self

    def arbiter(self) -> NetworkArbiter:
        """What decides where rounding could."""
        return NetworkArbiter(self.config.cell, self.reference())

    def reference(self) -> language_model.ModelWeights:
        """The weights in double precision."""
        weights = model_weights(self.config, self._arrays)
        if self._label is None:
            return weights
        return language_model.given_label(self.config.cell, weights, self._label)

    def read(self, ids: Ids) -> State:
        """The state of one row that has read ids (T,)."""
        state = language_model.init_state(self.config.cell, self.weights, 1)
        return self._hidden(ids[None], state)[1] if len(ids) else state

    def read_all(self, sequences: Sequence[Ids]) -> list[State]:
        """The state of each of several such rows."""
        return [self.read(ids) for ids in sequences]

    def step(self, ids: Ids, state: State) -> tuple[Logits, State]:
        """Log-probabilities (B, V) of the token after ids (B,), and the new state."""
        top, state = self._hidden(ids[:, None], state)
        logits: Logits = language_model.predict(self.weights, top[:, 0])
        return logits, state

    def select(self, state: State, rows: Ids) -> State:
        """A state of these rows."""
        return tuple(tuple(array[rows] for array in layer) for layer in state)

    def restart(self, state: State, rows: Ids, start: State) -> None:
        """Set these rows to the one row of ``start``."""
        for layer, initial in zip(state, start, strict=True):
            for array, value in zip(layer, initial, strict=True):
                array[rows] = value

    def _hidden(self, inputs: Ids, state: State | None) -> tuple[language_model.Array, State]:
        return language_model.hidden(self.config.cell, self.weights, inputs, state)
