"""A conditional model whose label is not known, as an engine: the mixture over all labels.

P(text) = Σl P(l) P(text given l). Token by token that is

    P(y<t> given y<1..t-1>) = Σl P(l given y<1..t-1>) P(y<t> given y<1..t-1>, l):

what has been read tells more and more which label it has, by Bayes' rule, and the distributions
are mixed by that. The product of these is the sum above. Letters as in protocol.py; L labels.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.engines.protocol import (
    Arbiter,
    Decoder,
    Details,
    Engine,
    Ids,
    Logits,
    Predictions,
    score_predictions,
)
from charlm.equations.language_model import log_softmax
from charlm.network_config import TextConfig

Values = npt.NDArray[np.float64]


class Read(NamedTuple):
    """Where a sequence stands: the state given each label, and log P(label given it) (L,)."""

    states: list[Any]
    log_posterior: Values


class Stepped(NamedTuple):
    """Where B sequences stand. ``last`` (L, B, V) are the log P given each label at their end.

    log_posterior is (L, B); last is None before anything has been read.
    """

    states: list[Any]
    log_posterior: Values
    last: npt.NDArray[np.floating[Any]] | None


def _normalised(joint: Values) -> Values:
    """Logarithms of what adds up to 1 over the first axis."""
    return np.asarray(joint - np.logaddexp.reduce(joint, axis=0))


def _mixed(
    log_probs: npt.NDArray[np.floating[Any]], log_posterior: Values
) -> npt.NDArray[np.floating[Any]]:
    """log Σl P(l) p_l: log_probs (L, ..., V), log_posterior (L, ...) -> (..., V)."""
    weights = log_posterior[..., None].astype(log_probs.dtype)
    return np.asarray(functools.reduce(np.logaddexp, log_probs + weights))


class MarginalEngine:
    """One engine for each label, and log P(label) (L,). See protocol.py for the methods."""

    def __init__(self, engines: Sequence[Engine], log_prior: Values) -> None:
        self._engines = tuple(engines)
        self._log_prior = log_prior

    @property
    def config(self) -> TextConfig:
        """The shape of the network given a label."""
        return self._engines[0].config

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[Values, Details | None]:
        """log P (N,) of every token, one sequence after another, and details."""
        if details:
            return score_predictions(self.predictions(sequences), sequences, openers)
        if not sequences:
            return np.empty(0), None
        log_probs, before = self._posteriors(sequences)
        return np.logaddexp.reduce(log_probs + before, axis=0), None

    def _posteriors(self, sequences: Sequence[Ids]) -> tuple[Values, Values]:
        """log P (L, N) of each token given each label, and log P(label) (L, N) before it."""
        found = np.stack([engine.token_log_probs(sequences)[0] for engine in self._engines])
        lengths = np.array([len(ids) for ids in sequences])
        starts = np.cumsum(lengths) - lengths
        earlier = np.cumsum(found, axis=1) - found  # of all tokens before, in all sequences
        within = earlier - np.repeat(earlier[:, starts], lengths, axis=1)
        return found, _normalised(within + self._log_prior[:, None])

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others."""
        _, before = self._posteriors(sequences)
        portions = [engine.predictions(sequences) for engine in self._engines]
        for parts in zip(*portions, strict=True):
            places = parts[0][0]
            mixed: npt.NDArray[Any] | None = None
            for (_, log_probs), weights in zip(parts, before[:, places], strict=True):
                term = log_probs + weights[:, None].astype(log_probs.dtype)
                mixed = term if mixed is None else np.logaddexp(mixed, term)
            assert mixed is not None
            yield places, mixed

    def read_on(self, ids: Ids, state: Read | None = None) -> tuple[Values, Read]:
        """log P (T,) of the next ids (T,) of a sequence, and the state after them."""
        states, before = state or Read([None] * len(self._engines), self._log_prior)
        found = [
            engine.read_on(ids, one) for engine, one in zip(self._engines, states, strict=True)
        ]
        log_probs = np.stack([values for values, _ in found])  # (L, T)
        joint = np.cumsum(log_probs, axis=1) + before[:, None]
        totals = np.logaddexp.reduce(joint, axis=0)  # of all of them up to each
        after = _normalised(joint[:, -1]) if len(ids) else before
        start = np.logaddexp.reduce(before)
        return np.diff(totals, prepend=start), Read([one for _, one in found], after)

    def next_logits(self, ids: Ids) -> Logits:
        """Log-probabilities (V,) of the token after a sequence that begins with ids (T,)."""
        _, (_, after) = self.read_on(ids)
        rows = np.stack([log_softmax(engine.next_logits(ids)) for engine in self._engines])
        logits: Logits = _mixed(rows, after)
        return logits

    def decoder(self) -> "MarginalDecoder":
        """What steps the model given each label."""
        return MarginalDecoder(self, [engine.decoder() for engine in self._engines])

    def arbiter(self) -> "MarginalArbiter":
        """What decides where rounding could."""
        arbiters = [engine.arbiter() for engine in self._engines]
        return MarginalArbiter(arbiters, self._log_prior)


class MarginalDecoder:
    """Steps the model given each label."""

    def __init__(self, engine: MarginalEngine, decoders: Sequence[Decoder]) -> None:
        self._engine = engine
        self._decoders = tuple(decoders)

    def read(self, ids: Ids) -> Stepped:
        """The state of one row that has read ids (T,), the first of them the id vocab_size."""
        if not len(ids):
            states = [decoder.read(ids) for decoder in self._decoders]
            return Stepped(states, self._engine._log_prior[:, None], None)
        states = [decoder.read(ids[:-1]) for decoder in self._decoders]
        _, (_, after) = self._engine.read_on(ids[1:])
        return self._stepped(ids[-1:], Stepped(states, after[:, None], None))[1]

    def read_all(self, sequences: Sequence[Ids]) -> list[Stepped]:
        """The state of each of several such rows."""
        return [self.read(ids) for ids in sequences]

    def step(self, ids: Ids, state: Stepped) -> tuple[Logits, Stepped]:
        """Log-probabilities (B, V) of the token after ids (B,), and the new state."""
        if state.last is not None:
            vocab_size = state.last.shape[2]
            token = np.minimum(ids, vocab_size - 1)
            found = state.last[:, np.arange(len(ids)), token].astype(np.float64)  # (L, B)
            found[:, np.asarray(ids) == vocab_size] = 0  # the mark tells nothing of the label
            state = state._replace(log_posterior=_normalised(state.log_posterior + found))
        return self._stepped(ids, state)

    def _stepped(self, ids: Ids, state: Stepped) -> tuple[Logits, Stepped]:
        pairs = zip(self._decoders, state.states, strict=True)
        found = [decoder.step(ids, one) for decoder, one in pairs]
        last = np.stack([log_softmax(logits) for logits, _ in found])
        after = Stepped([one for _, one in found], state.log_posterior, last)
        mixed: Logits = _mixed(last, state.log_posterior)
        return mixed, after

    def select(self, state: Stepped, rows: Ids) -> Stepped:
        """A state of these rows."""
        pairs = zip(self._decoders, state.states, strict=True)
        return Stepped(
            [decoder.select(one, rows) for decoder, one in pairs],
            state.log_posterior[:, rows],
            None if state.last is None else state.last[:, rows],
        )

    def restart(self, state: Stepped, rows: Ids, start: Stepped) -> None:
        """Set these rows to the one row of ``start``."""
        for decoder, one, begun in zip(self._decoders, state.states, start.states, strict=True):
            decoder.restart(one, rows, begun)
        state.log_posterior[:, rows] = start.log_posterior
        if state.last is not None and start.last is not None:  # else the mark comes next
            state.last[:, rows] = start.last


class MarginalArbiter:
    """All in double precision. What it reads begins with the id vocab_size."""

    def __init__(self, arbiters: Sequence[Arbiter], log_prior: Values) -> None:
        self._arbiters = tuple(arbiters)
        self._log_prior = log_prior

    def read(self, ids: Ids, state: Read | None = None) -> Read:
        """The state after the next ids (T,) of a sequence, one by one."""
        for token in np.asarray(ids):
            after: list[Any] = [None] * len(self._arbiters)
            joint = self._log_prior
            if state is not None:
                pairs = zip(self._arbiters, state.states, strict=True)
                found = [arbiter.log_probs([one])[0, token] for arbiter, one in pairs]
                joint = state.log_posterior + np.array(found)
                after = state.states
            pairs = zip(self._arbiters, after, strict=True)
            states = [arbiter.read(np.array([token]), one) for arbiter, one in pairs]
            state = Read(states, _normalised(joint))
        assert state is not None
        return state

    def log_probs(self, states: Sequence[Read]) -> Values:
        """log P (B, V) of what comes after states."""
        rows = np.stack(
            [
                arbiter.log_probs([state.states[index] for state in states])
                for index, arbiter in enumerate(self._arbiters)
            ]
        )
        weights = np.stack([state.log_posterior for state in states], axis=1)  # (L, B)
        return np.asarray(_mixed(rows, weights), dtype=np.float64)
