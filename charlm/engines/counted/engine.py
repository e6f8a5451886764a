"""Counts as an engine: n-grams that score, predict and are drawn from without a network.

All of it is in double precision, so that is what decides a doubtful draw, too. Letters as in
protocol.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charlm.counts.backoff import BackOff
from charlm.engines.counted import histories
from charlm.engines.counted.histories import Before, Histories
from charlm.engines.protocol import Details, Ids, Logits, Predictions, score_predictions
from charlm.network_config import CountsConfig

_NUMBERS = 2**21  # made at a time: bounds memory for large vocabularies

Values = npt.NDArray[np.float64]


class CountsEngine:
    """Runs a model of counts; it is its own decoder and arbiter. See protocol.py for the methods.

    A state of the decoder is a list of the histories (B, L) alone; that of the arbiter, and of
    read_on, the last tokens (T,) of a sequence.
    """

    def __init__(self, config: CountsConfig, model: BackOff) -> None:
        self.config = config
        self._model = model
        self._mark = np.array([config.vocab_size])

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[Values, Details | None]:
        """log P (N,) of every token, one sequence after another, and details."""
        if details:
            return score_predictions(self.predictions(sequences), sequences, openers)
        return self._model.token_log_probs(sequences), None

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others, from the first to the last."""
        at = self.predictor(sequences)
        portion = max(1, _NUMBERS // self.config.vocab_size)
        number = sum(map(len, sequences))
        for first in range(0, number, portion):
            places = np.arange(first, min(number, first + portion))
            yield places, at(places)

    def predictor(
        self, sequences: Sequence[Ids]
    ) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]:
        """What gives log P (M, V) at any tokens (M,) of sequences, in any order."""
        before = Before(sequences, self.config.vocab_size, self._model.order)
        return lambda places: self._log_rows(before.at(places))

    def read_on(self, ids: Ids, state: Ids | None = None) -> tuple[Values, Ids | None]:
        """log P (T,) of the next ids (T,) of a sequence, and its last tokens after them."""
        if not len(ids):
            return np.empty(0), state
        before = self._mark if state is None else state
        after = np.concatenate((before, ids)).astype(np.int64)[-self._model.order :]
        return self._model.look_on(before, ids).log_probs, after

    def next_logits(self, ids: Ids) -> Logits:
        """Log-probabilities (V,) of the token after a sequence that begins with ids (T,)."""
        begun = np.concatenate((self._mark, ids))[None, -self._model.order :]
        logits: Logits = self._log_rows(begun)[0].astype(np.float32)
        return logits

    def decoder(self) -> "CountsEngine":
        """What steps the model."""
        return self

    def arbiter(self) -> "CountsArbiter":
        """What decides where rounding could."""
        return CountsArbiter(self._model)

    def read(self, ids: Ids) -> list[Histories]:
        """The state of one row that has read ids (T,)."""
        return [histories.begun(ids, self._model.order)]

    def read_all(self, sequences: Sequence[Ids]) -> list[list[Histories]]:
        """The state of each of several such rows."""
        return [self.read(ids) for ids in sequences]

    def step(self, ids: Ids, state: list[Histories]) -> tuple[Logits, list[Histories]]:
        """Log-probabilities (B, V) of the token after ids (B,), and the new state."""
        log_probs, after = self.exact_step(ids, state)
        return log_probs.astype(np.float32), after

    def exact_step(
        self, ids: Ids, state: list[Histories] | None = None
    ) -> tuple[Values, list[Histories]]:
        """The same in double precision; None is where sequences begin."""
        before = state[0] if state is not None else np.empty((len(ids), 0), dtype=np.int32)
        after = histories.extended(before, ids, self._model.order)
        return self._log_rows(after), [after]

    def select(self, state: list[Histories], rows: Ids) -> list[Histories]:
        """A state of these rows."""
        return [state[0][rows]]

    def restart(self, state: list[Histories], rows: Ids, start: list[Histories]) -> None:
        """Set these rows to the one row of ``start``."""
        state[0] = histories.restarted(state[0], rows, start[0])

    def _log_rows(self, contexts: Ids) -> Values:
        return log_rows(self._model, contexts)


class CountsArbiter:
    """The same, for single sequences."""

    def __init__(self, model: BackOff) -> None:
        self._model = model

    def read(self, ids: Ids, state: Ids | None = None) -> Ids:
        """The last tokens after the next ids (T,), the mark among them, of a sequence."""
        before = np.empty(0, dtype=np.int64) if state is None else state
        return np.concatenate((before, ids)).astype(np.int64)[-self._model.order :]

    def log_probs(self, states: Sequence[Ids]) -> Values:
        """log P (B, V) of what comes after states."""
        return log_rows(self._model, histories.side_by_side(states))


def log_rows(model: BackOff, contexts: Ids) -> Values:
    """log P (B, V) of what follows contexts (B, C)."""
    p, _ = model.rows(contexts)
    log_p: Values = np.log(p, out=p)
    return log_p
