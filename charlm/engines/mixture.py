"""Several models of one vocabulary as one engine: linear interpolation.

p(w) = Σk w_k p_k(w) for every token (Jelinek & Mercer 1980): the sum of distributions, weighted by
numbers that add up to 1, is a distribution. Letters as in protocol.py; K models.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

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
    Reader,
    RowEngine,
    predictor,
    score_predictions,
)
from charlm.equations.language_model import log_softmax
from charlm.errors import UsageError
from charlm.network_config import TextConfig

Values = npt.NDArray[np.float64]

_GAIN = 1e-4  # nats, of all that is tuned on
_LONGER = 1.5


def check_weights(weights: Sequence[float], number: int) -> tuple[float, ...]:
    """The weights of so many models, made to add up to 1; none given are equal ones.

    Raises UsageError if there are more or fewer, or one is negative or not a number.
    """
    if not weights:
        return (1 / number,) * number
    if len(weights) != number:
        raise UsageError(f"there are {number} models and {len(weights)} weights.")
    if not all(weight >= 0 and math.isfinite(weight) for weight in weights) or not sum(weights):
        raise UsageError("weights must be 0 or more, and one of them more than 0.")
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def mix(log_probs: Sequence[npt.NDArray[Any]], weights: Sequence[float]) -> npt.NDArray[Any]:
    """log Σk w_k exp(log_probs_k), arrays of one shape; a weight of 0 leaves a model out."""
    terms = [
        one + np.asarray(math.log(weight), dtype=one.dtype)
        for one, weight in zip(log_probs, weights, strict=True)
        if weight > 0
    ]
    mixed: npt.NDArray[Any] = terms[0]
    for term in terms[1:]:
        mixed = np.logaddexp(mixed, term)
    return mixed


def tune(log_probs: Values) -> tuple[float, ...]:
    """The weights under which what was drawn is likeliest, given log P (K, N) of each model.

    By expectation maximisation (Dempster, Laird & Rubin 1977) from equal weights, its steps made
    longer as long as that pays (Salakhutdinov & Roweis 2003, "Adaptive overrelaxed bound
    optimization methods"). It ends where no weights can make all of it likelier by 1e-4 nats: what
    they could gain a token is at most log max_k mean(p_k / p), by Jensen's inequality.
    """
    weights = np.full(len(log_probs), 1 / len(log_probs))
    if not log_probs.size:
        return tuple(weights.tolist())
    number = log_probs.shape[1]
    p = np.exp(log_probs - log_probs.max(axis=0))  # (K, N)
    reach, mixed = 1.0, weights @ p
    while True:
        gains = (p / mixed).mean(axis=1)  # (K,) EM multiplies the weights by these
        if number * math.log(gains.max()) < _GAIN:
            break
        longer = weights * (gains / gains.max()) ** reach
        longer /= longer.sum()
        after = longer @ p
        if after.all() and np.log(after / mixed).sum() > 0:
            reach *= _LONGER
        elif reach > 1:
            reach = 1.0
            continue
        else:  # EM itself never makes it less likely: what is left is rounding
            break
        weights, mixed = longer, after
    return tuple((weights / weights.sum()).tolist())


class MixtureReader:
    """Reads with several readers, mixed token by token. See protocol.py."""

    def __init__(self, readers: Sequence[Reader], weights: Sequence[float]) -> None:
        self._readers = tuple(readers)
        self._weights = tuple(weights)

    def token_log_probs(self, sequences: Sequence[Ids]) -> tuple[Values, Details | None]:
        """log P (N,) of the tokens of sequences, one after another."""
        found = [reader.token_log_probs(sequences)[0] for reader in self._readers]
        return mix(found, self._weights), None

    def read_on(self, ids: Ids, state: Sequence[Any] | None = None) -> tuple[Values, list[Any]]:
        """log P (T,) of the next ids (T,) of a sequence, and the state after them."""
        states = state or [None] * len(self._readers)
        found = [
            reader.read_on(ids, one) for reader, one in zip(self._readers, states, strict=True)
        ]
        return mix([values for values, _ in found], self._weights), [one for _, one in found]


class MixtureEngine(MixtureReader):
    """Several engines of one kind. See protocol.py for the methods."""

    def __init__(self, engines: Sequence[Engine], weights: Sequence[float]) -> None:
        super().__init__(engines, weights)
        self._engines = tuple(engines)

    @property
    def config(self) -> TextConfig:
        """The shape of the first network."""
        return self._engines[0].config

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[Values, Details | None]:
        """log P (N,) of every token, one sequence after another, and details."""
        if details:
            return score_predictions(self.predictions(sequences), sequences, openers)
        return super().token_log_probs(sequences)

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others."""
        free = [predictor(engine, sequences) for engine in self._engines]
        if all(at is not None for at in free):  # counts alone: in the order of the first
            leading = [self._engines[0].predictions(sequences)]
            free[0] = None
        else:
            leading = [
                engine.predictions(sequences)
                for engine, at in zip(self._engines, free, strict=True)
                if at is None
            ]
        for parts in zip(*leading, strict=True):
            places = parts[0][0]
            if not all(np.array_equal(places, other) for other, _ in parts):
                raise ValueError("engines of different kinds cannot be mixed")
            led = (log_probs for _, log_probs in parts)
            yield (
                places,
                mix([next(led) if at is None else at(places) for at in free], self._weights),
            )

    def predictor(
        self, sequences: Sequence[Ids]
    ) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]] | None:
        """What gives log P (M, V) at any tokens (M,), in any order, if all of them can tell."""
        found = [at for engine in self._engines if (at := predictor(engine, sequences)) is not None]
        if len(found) < len(self._engines):
            return None
        return lambda places: mix([at(places) for at in found], self._weights)

    def rows_on(self, ids: Ids, state: Sequence[Any] | None = None) -> tuple[Logits, list[Any]]:
        """log P (T, V) of all types where the next ids (T,) stand, and the state after them.

        Of engines that tell all of their distributions as they read on (protocol.RowEngine).
        """
        states = state or [None] * len(self._engines)
        pairs = zip(self._engines, states, strict=True)
        found = [cast(RowEngine, engine).rows_on(ids, one) for engine, one in pairs]
        rows: Logits = mix([values for values, _ in found], self._weights)
        return rows, [one for _, one in found]

    def next_logits(self, ids: Ids) -> Logits:
        """Log-probabilities (V,) of the token after a sequence that begins with ids (T,)."""
        rows = [log_softmax(engine.next_logits(ids)) for engine in self._engines]
        logits: Logits = mix(rows, self._weights)
        return logits

    def decoder(self) -> "MixtureDecoder":
        """What steps them all."""
        return MixtureDecoder([engine.decoder() for engine in self._engines], self._weights)

    def arbiter(self) -> "MixtureArbiter":
        """What decides where rounding could."""
        return MixtureArbiter([engine.arbiter() for engine in self._engines], self._weights)


class MixtureDecoder:
    """Steps several models. A state is a list of theirs."""

    def __init__(self, decoders: Sequence[Decoder], weights: Sequence[float]) -> None:
        self._decoders = tuple(decoders)
        self._weights = tuple(weights)

    def read(self, ids: Ids) -> list[Any]:
        """The state of one row that has read ids (T,)."""
        return [decoder.read(ids) for decoder in self._decoders]

    def read_all(self, sequences: Sequence[Ids]) -> list[list[Any]]:
        """The state of each of several such rows."""
        found = [decoder.read_all(sequences) for decoder in self._decoders]
        return [list(states) for states in zip(*found, strict=True)]

    def step(self, ids: Ids, state: list[Any]) -> tuple[Logits, list[Any]]:
        """Log-probabilities (B, V) of the token after ids (B,), and the new state."""
        found = [decoder.step(ids, one) for decoder, one in zip(self._decoders, state, strict=True)]
        mixed: Logits = mix([log_softmax(logits) for logits, _ in found], self._weights)
        return mixed, [one for _, one in found]

    def select(self, state: list[Any], rows: Ids) -> list[Any]:
        """A state of these rows."""
        return [
            decoder.select(one, rows) for decoder, one in zip(self._decoders, state, strict=True)
        ]

    def restart(self, state: list[Any], rows: Ids, start: list[Any]) -> None:
        """Set these rows to the one row of ``start``."""
        for decoder, one, begun in zip(self._decoders, state, start, strict=True):
            decoder.restart(one, rows, begun)


class MixtureArbiter:
    """All in double precision."""

    def __init__(self, arbiters: Sequence[Arbiter], weights: Sequence[float]) -> None:
        self._arbiters = tuple(arbiters)
        self._weights = tuple(weights)

    def read(self, ids: Ids, state: list[Any] | None = None) -> list[Any]:
        """The state after the next ids (T,) of a sequence."""
        states = state or [None] * len(self._arbiters)
        return [arbiter.read(ids, one) for arbiter, one in zip(self._arbiters, states, strict=True)]

    def log_probs(self, states: Sequence[list[Any]]) -> Values:
        """log P (B, V) of what comes after states."""
        columns = zip(*states, strict=True)
        rows = [
            arbiter.log_probs(list(column))
            for arbiter, column in zip(self._arbiters, columns, strict=True)
        ]
        return mix(rows, self._weights)
