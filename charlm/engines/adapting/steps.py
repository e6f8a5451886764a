"""Stepping a network with its adaptive mixture, a token at a time, each row by itself."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charlm.counts import reading
from charlm.counts.adaptive import Adaptive
from charlm.counts.reading import Expected, Reading
from charlm.engines.protocol import Arbiter, Decoder, Ids, Logits
from charlm.equations.language_model import log_softmax


class Row(NamedTuple):
    """Where a sequence stands, and what is expected there; None before its mark was read."""

    reading: Reading
    expected: Expected | None


class ReadsOn(Protocol):
    """What reads a sequence, and tells where it stands then."""

    def read_on(self, ids: Ids) -> tuple[npt.NDArray[np.float64], Any]:
        """log P of ids, and a state with the ``reading`` after them."""


class AdaptiveDecoder:
    """Steps a network and what is mixed with it. A state is the network's and a Row of each."""

    def __init__(
        self, decoder: Decoder, adaptive: Adaptive, beginning: Reading, engine: ReadsOn
    ) -> None:
        self._decoder, self._adaptive = decoder, adaptive
        self._beginning, self._engine = beginning, engine

    def read(self, ids: Ids) -> list[Any]:
        """The state of one row that has read ids (T,), the first of them the id vocab_size."""
        if not len(ids):
            return [self._decoder.read(ids), [Row(self._beginning, None)]]
        begun = self._beginning
        if len(ids) > 1:
            begun = self._engine.read_on(ids[1:])[1].reading
        logits, inner = self._decoder.step(ids[-1:], self._decoder.read(ids[:-1]))
        return [inner, self._rows([begun], log_softmax(logits))]

    def read_all(self, sequences: Sequence[Ids]) -> list[list[Any]]:
        """The state of each of several such rows."""
        return [self.read(ids) for ids in sequences]

    def step(self, ids: Ids, state: list[Any]) -> tuple[Logits, list[Any]]:
        """Log-probabilities (B, V) of the token after ids (B,), and the new state."""
        inner, before = state
        logits, inner = self._decoder.step(ids, inner)
        begun = [
            row.reading if row.expected is None else reading.after(row.reading, row.expected, token)
            for row, token in zip(before, ids.tolist(), strict=True)
        ]
        rows = self._rows(begun, log_softmax(logits))
        return np.concatenate([row.expected.log_q for row in rows if row.expected]), [inner, rows]

    def select(self, state: list[Any], rows: Ids) -> list[Any]:
        """A state of these rows."""
        return [self._decoder.select(state[0], rows), [state[1][row] for row in rows]]

    def restart(self, state: list[Any], rows: Ids, start: list[Any]) -> None:
        """Set these rows to the one row of ``start``."""
        self._decoder.restart(state[0], rows, start[0])
        for row in rows:
            state[1][row] = start[1][0]

    def _rows(self, readings: list[Reading], network: Logits) -> list[Row]:
        """Readings, and what is expected at their ends, by the network's log P (B, V)."""
        return list(map(Row, readings, reading.expect(self._adaptive, readings, [network])))


class Settled(NamedTuple):
    """Where a sequence stands, in double precision: the network's state, and a Row."""

    inner: Any
    row: Row


class AdaptiveArbiter:
    """All in double precision. What it reads begins with the id vocab_size."""

    def __init__(self, arbiter: Arbiter, adaptive: Adaptive, beginning: Reading) -> None:
        self._arbiter, self._adaptive, self._beginning = arbiter, adaptive, beginning

    def read(self, ids: Ids, state: Settled | None = None) -> Settled:
        """The state after the next ids (T,) of a sequence, one by one."""
        inner, row = state or Settled(None, Row(self._beginning, None))
        for token in np.asarray(ids).tolist():
            begun = row.reading
            if row.expected is not None:
                begun = reading.after(begun, row.expected, token)
            inner = self._arbiter.read(np.array([token]), inner)
            network = self._arbiter.log_probs([inner])
            row = Row(begun, reading.expect(self._adaptive, [begun], [network])[0])
        return Settled(inner, row)

    def log_probs(self, states: Sequence[Settled]) -> npt.NDArray[np.float64]:
        """log P (B, V) of what comes after states."""
        rows = [state.row.expected.log_q for state in states if state.row.expected is not None]
        return np.concatenate(rows).astype(np.float64, copy=False)
