"""What can run a trained model: the NumPy engine for small jobs, the torch engine for large ones.

Both take and give NumPy arrays, and agree to 1e-5 nats; importing torch alone takes longer than
most small jobs do. What stands beside a network or mixes several is an engine, too. Letters: B
rows, V vocabulary, N tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from charlm.network_config import CausalConfig, TextConfig

Ids: TypeAlias = npt.NDArray[np.integer[Any]]
Logits: TypeAlias = npt.NDArray[np.float32]
Predictions: TypeAlias = Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating[Any]]]]


class Details(NamedTuple):
    """What else there is to say of each of N tokens, at its place.

    ranks: 1 for the likeliest type. entropies: of the distribution that it was drawn from, in
    nats. opening: log P (nats) that the token is one of the types asked about.
    """

    ranks: npt.NDArray[np.int64]  # (N,)
    entropies: npt.NDArray[np.float64]  # (N,)
    opening: npt.NDArray[np.float64] | None  # (N,)


class Decoder(Protocol):
    """One step at a time. A state is the engine's own; only the decoder that made it reads it."""

    def read(self, ids: Ids) -> Any:
        """The state of one row that has read ids (T,), from a<0> = 0 on."""

    def read_all(self, sequences: Sequence[Ids]) -> list[Any]:
        """The state of each of several such rows, which may be read side by side."""

    def step(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Logits (B, V) of the token after ids (B,), and the new state."""

    def select(self, state: Any, rows: Ids) -> Any:
        """A state of these rows, each as often as it is named."""

    def restart(self, state: Any, rows: Ids, start: Any) -> None:
        """Set these rows, in place, to the one row of ``start``."""


class Arbiter(Protocol):
    """The same model in double precision: slow, and the last word where rounding would decide."""

    def read(self, ids: Ids, state: Any = None) -> Any:
        """The state after the next ids (T,), one or more, of a sequence; None is before any."""

    def log_probs(self, states: Sequence[Any]) -> npt.NDArray[np.float64]:
        """log P (B, V) of what comes after states."""


class Reader(Protocol):
    """What gives tokens their probabilities, sequence after sequence."""

    def token_log_probs(
        self, sequences: Sequence[Ids]
    ) -> tuple[npt.NDArray[np.float64], "Details | None"]:
        """log P (nats) of each token of sequences that end in <EOS>, one after another (N,)."""

    def read_on(self, ids: Ids, state: Any = None) -> tuple[npt.NDArray[np.float64], Any]:
        """log P (T,) of each of the next ids (T,) of a sequence, and the state after them.

        A state is the engine's own; None is where a sequence begins. So a sequence is scored in
        pieces, as it would be in one go.
        """


class Scorer(Protocol):
    """What gives the tokens of whole sequences their probabilities, and tells more if asked."""

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (nats) of each token of sequences that end in <EOS>, one after another (N,).

        With ``details`` also what else there is to say of each; openers (K,) are the ids whose
        probability, taken together, is asked for; what reads both sides does not tell it.
        """


class Steps(Protocol):
    """What sequences are drawn from, a token at a time."""

    def decoder(self) -> Decoder:
        """What steps the model."""

    def arbiter(self) -> Arbiter:
        """What decides where rounding could."""


class Engine(Reader, Scorer, Steps, Protocol):
    """A trained model that can be run."""

    @property
    def config(self) -> TextConfig:
        """The shape of the network, of several that of the first."""

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """As that of a scorer."""

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) of all types at some of the tokens (M,) after others, till all have come.

        Engines of one kind and vocabulary take them in the same order.
        """

    def next_logits(self, ids: Ids) -> Logits:
        """Logits (V,) of the token after a sequence that begins with ids (T,)."""


class RowEngine(Engine, Protocol):
    """One that tells all of its distributions as it reads on, as a single network does."""

    @property
    def config(self) -> CausalConfig:
        """The shape of the network."""

    def rows_on(self, ids: Ids, state: Any = None) -> tuple[Logits, Any]:
        """log P (T, V) of all types where the next ids (T,) stand, and the state after them.

        A state is as that of ``read_on``.
        """


def predictor(
    engine: Engine, sequences: Sequence[Ids]
) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]] | None:
    """What gives log P (M, V) at any tokens (M,) of sequences, in any order.

    None of an engine with a network, which reads them in an order of its own.
    """
    found = getattr(engine, "predictor", None)
    return None if found is None else found(sequences)


def empty_details(num_tokens: int, openers: Ids | None) -> Details:
    """Room for the details of so many tokens."""
    opening = None if openers is None else np.empty(num_tokens)
    return Details(np.empty(num_tokens, dtype=np.int64), np.empty(num_tokens), opening)


def chosen_log_probs(predictions: Predictions, sequences: Sequence[Ids]) -> npt.NDArray[np.float64]:
    """log P (N,) of every token of sequences, from whole distributions."""
    targets = np.concatenate(sequences).astype(np.int64) if sequences else np.empty(0, int)
    log_probs = np.empty(len(targets))
    for places, predicted in predictions:
        log_probs[places] = predicted[np.arange(len(places)), targets[places]]
    return log_probs


def score_predictions(
    predictions: Predictions, sequences: Sequence[Ids], openers: Ids | None
) -> tuple[npt.NDArray[np.float64], Details]:
    """log P (N,) and details of every token of sequences, from whole distributions."""
    targets = np.concatenate(sequences).astype(np.int64)
    log_probs, more = np.empty(len(targets)), empty_details(len(targets), openers)
    for places, predicted in predictions:
        chosen = predicted[np.arange(len(places)), targets[places]]
        log_probs[places] = chosen
        more.ranks[places] = (predicted > chosen[:, None]).sum(axis=1) + 1
        more.entropies[places] = -(np.exp(predicted) * predicted).sum(axis=1)
        if more.opening is not None:
            more.opening[places] = np.logaddexp.reduce(predicted[:, openers], axis=1)
    return log_probs, more
