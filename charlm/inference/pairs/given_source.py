"""A model of pairs given one source: a language model of its targets, to be drawn from."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.engines.protocol import Ids, Logits
from charlm.inference.pairs.beam import Writer


class Begun(NamedTuple):
    """A target that has been read so far: log P (1, V) of what comes next, and the state."""

    log_probs: npt.NDArray[np.floating[Any]]
    state: Any


class _Rows:
    """Targets side by side; a state of the writer's own."""

    def __init__(self, state: Any) -> None:
        self.state = state


class GivenSource:
    """What a source is written for by a writer. See engines/protocol.py for the methods.

    ``exact`` makes the same writer in double precision; log-probabilities are logits, too.
    """

    def __init__(self, writer: Writer, exact: Callable[[], Writer], source: Ids) -> None:
        self._writer, self._exact, self._source = writer, exact, source

    def decoder(self) -> "GivenSource":
        """It is its own."""
        return self

    def arbiter(self) -> "ExactGivenSource":
        """The same in double precision."""
        return ExactGivenSource(self._exact(), self._source)

    def read(self, ids: Ids) -> _Rows:
        """The state after the source and a beginning (T,) of a target."""
        state = self._writer.begin([self._source])
        for token in ids:
            _, state = self._writer.step(state, np.array([token]))
        return _Rows(state)

    def read_all(self, sequences: Sequence[Ids]) -> list[_Rows]:
        """The state of each of several such rows."""
        return [self.read(ids) for ids in sequences]

    def step(self, ids: Ids, state: _Rows) -> tuple[Logits, _Rows]:
        """log P (B, V) of the token after ids (B,), and the new state."""
        log_probs, after = self._writer.step(state.state, ids)
        return log_probs.astype(np.float32, copy=False), _Rows(after)

    def select(self, state: _Rows, rows: Ids) -> _Rows:
        """A state of these rows."""
        return _Rows(self._writer.take(state.state, rows.astype(np.int64)))

    def restart(self, state: _Rows, rows: Ids, start: _Rows) -> None:
        """Set these rows to the one row of ``start``."""
        state.state = self._writer.put(state.state, rows.astype(np.int64), start.state)


class ExactGivenSource:
    """Reads targets one by one. See engines/protocol.py for the methods."""

    def __init__(self, writer: Writer, source: Ids) -> None:
        self._writer, self._source = writer, source

    def read(self, ids: Ids, state: Begun | None = None) -> Begun:
        """The state after the next ids (T,), one or more."""
        there = self._writer.begin([self._source]) if state is None else state.state
        for token in ids:
            log_probs, there = self._writer.step(there, np.array([token]))
        return Begun(log_probs, there)

    def log_probs(self, states: Sequence[Begun]) -> npt.NDArray[np.float64]:
        """log P (B, V) of what comes after states."""
        found: npt.NDArray[np.float64] = np.concatenate([one.log_probs for one in states])
        return found.astype(np.float64, copy=False)
