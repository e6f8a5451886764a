"""A network with its partner (counts/interpolation.py), as one engine.

What the partner needs to know of a sequence is the tokens it begins with or its last ones: its
history (counted/histories.py). Letters as in protocol.py.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.counts.interpolation import Partner
from charlm.engines.counted import histories
from charlm.engines.counted.histories import Before, Histories
from charlm.engines.protocol import (
    Arbiter,
    Decoder,
    Details,
    Engine,
    Ids,
    Logits,
    Predictions,
    Reader,
    predictor,
    score_predictions,
)
from charlm.equations.language_model import log_softmax
from charlm.network_config import TextConfig


class Read(NamedTuple):
    """Where a sequence stands: the state of what reads it, and its last tokens (T,)."""

    state: Any
    before: npt.NDArray[np.int64]


class PartneredReader:
    """What reads with a partner at its side, mixed token by token. See protocol.py."""

    def __init__(self, reader: Reader, partner: Partner, vocab_size: int) -> None:
        self._reader = reader
        self.partner = partner
        self._mark = np.array([vocab_size])

    def token_log_probs(
        self, sequences: Sequence[Ids]
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (N,) of the tokens of sequences, one after another."""
        log_probs, _ = self._reader.token_log_probs(sequences)
        return self.partner.combine(log_probs, self.partner.evidence(sequences)), None

    def read_on(
        self, ids: Ids, state: Read | None = None
    ) -> tuple[npt.NDArray[np.float64], Read | None]:
        """log P (T,) of the next ids (T,) of a sequence, and the state after them."""
        if not len(ids):
            return np.empty(0), state
        inner, before = state or Read(None, self._mark)
        log_probs, inner = self._reader.read_on(ids, inner)
        mixed = self.partner.combine(log_probs, self.partner.evidence_on(before, ids))
        after = np.concatenate((before, ids)).astype(np.int64)[-self.partner.reach :]
        return mixed, Read(inner, after)


class PartneredEngine(PartneredReader):
    """A trained network and its partner. See protocol.py for the methods."""

    def __init__(self, engine: Engine, partner: Partner) -> None:
        super().__init__(engine, partner, engine.config.vocab_size)
        self._engine = engine

    @property
    def config(self) -> TextConfig:
        """The shape of the network."""
        return self._engine.config

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (N,) of every token, one sequence after another, and details."""
        if details:
            return score_predictions(self.predictions(sequences), sequences, openers)
        return super().token_log_probs(sequences)

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others."""
        before = Before(sequences, self.config.vocab_size, self.partner.reach)
        for places, log_probs in self._engine.predictions(sequences):
            yield places, self._mixed(log_probs, before, places)

    def predictor(
        self, sequences: Sequence[Ids]
    ) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]] | None:
        """What gives log P (M, V) at any tokens (M,), in any order, if the engine can tell."""
        at = predictor(self._engine, sequences)
        if at is None:
            return None
        before = Before(sequences, self.config.vocab_size, self.partner.reach)
        return lambda places: self._mixed(at(places), before, places)

    def _mixed(
        self, log_probs: npt.NDArray[Any], before: Before, places: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """log P (M, V) of both at places (M,), from that of the network."""
        mixed = np.empty_like(log_probs)
        for first in range(0, len(places), before.portion):
            part = slice(first, first + before.portion)
            mixed[part] = self.partner.rows(log_probs[part], before.at(places[part]))
        return mixed

    def next_logits(self, ids: Ids) -> Logits:
        """Log-probabilities (V,) of the token after a sequence that begins with ids (T,)."""
        log_probs = log_softmax(self._engine.next_logits(ids)[None])
        history = np.concatenate((self._mark, ids))[None, -self.partner.reach :]
        logits: Logits = self.partner.rows(log_probs, history)[0]
        return logits

    def decoder(self) -> "PartneredDecoder":
        """What steps the two."""
        return PartneredDecoder(self._engine.decoder(), self.partner)

    def arbiter(self) -> "PartneredArbiter":
        """What decides where rounding could."""
        return PartneredArbiter(self._engine.arbiter(), self.partner)


class PartneredDecoder:
    """Steps a network and its partner. A state is the network's and the histories (B, L)."""

    def __init__(self, decoder: Decoder, partner: Partner) -> None:
        self._decoder = decoder
        self._partner = partner

    def read(self, ids: Ids) -> list[Any]:
        """The state of one row that has read ids (T,)."""
        return [self._decoder.read(ids), self._history(ids)]

    def read_all(self, sequences: Sequence[Ids]) -> list[list[Any]]:
        """The state of each of several such rows."""
        states = self._decoder.read_all(sequences)
        return [[state, self._history(ids)] for state, ids in zip(states, sequences, strict=True)]

    def _history(self, ids: Ids) -> Histories:
        """The last ids (1, N) that counts look at."""
        return histories.begun(ids, self._partner.reach)

    def step(self, ids: Ids, state: list[Any]) -> tuple[Logits, list[Any]]:
        """Log-probabilities (B, V) of the token after ids (B,), and the new state."""
        inner, before = state
        logits, inner = self._decoder.step(ids, inner)
        before = histories.extended(before, ids, self._partner.reach)
        mixed: Logits = self._partner.rows(log_softmax(logits), before)
        return mixed, [inner, before]

    def select(self, state: list[Any], rows: Ids) -> list[Any]:
        """A state of these rows."""
        inner, before = state
        return [self._decoder.select(inner, rows), before[rows]]

    def restart(self, state: list[Any], rows: Ids, start: list[Any]) -> None:
        """Set these rows to the one row of ``start``."""
        self._decoder.restart(state[0], rows, start[0])
        state[1] = histories.restarted(state[1], rows, start[1])


class PartneredArbiter:
    """Both in double precision."""

    def __init__(self, arbiter: Arbiter, partner: Partner) -> None:
        self._arbiter = arbiter
        self._partner = partner

    def read(self, ids: Ids, state: Read | None = None) -> Read:
        """The state after the next ids (T,), the mark among them, of a sequence."""
        inner, before = state or Read(None, np.empty(0, dtype=np.int64))
        after = np.concatenate((before, ids)).astype(np.int64)[-self._partner.reach :]
        return Read(self._arbiter.read(ids, inner), after)

    def log_probs(self, states: Sequence[Read]) -> npt.NDArray[np.float64]:
        """log P (B, V) of what comes after states."""
        before = histories.side_by_side([state.before for state in states])
        log_probs = self._arbiter.log_probs([state.state for state in states])
        return self._partner.rows(log_probs, before).astype(np.float64, copy=False)
