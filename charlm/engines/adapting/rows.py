"""FromRows: an engine whose figures are all read off rows of log P."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charlm.engines.protocol import (
    Details,
    Ids,
    Predictions,
    RowEngine,
    chosen_log_probs,
    score_predictions,
)
from charlm.network_config import TextConfig

Span = tuple[slice, npt.NDArray[Any], Any]  # a span of ids, log P (n, V) there, the state after it


class FromRows:
    """What is said of tokens, by the rows of sequences (``predictions``) or of one (``_on``)."""

    def __init__(self, network: RowEngine) -> None:
        self._network = network

    @property
    def config(self) -> TextConfig:
        """The shape of the network."""
        return self._network.config

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others."""
        raise NotImplementedError

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (N,) of every token, one sequence after another, and details."""
        if details:
            return score_predictions(self.predictions(sequences), sequences, openers)
        return chosen_log_probs(self.predictions(sequences), sequences), None

    def read_on(self, ids: Ids, state: Any = None) -> tuple[npt.NDArray[np.float64], Any]:
        """log P (T,) of the next ids (T,) of a sequence, and the state after them."""
        log_probs = np.empty(len(ids))
        for span, rows, state in self._on(ids, state):  # noqa: B007, B020 - the last is returned
            log_probs[span] = rows[np.arange(len(rows)), ids[span]]
        return log_probs, state

    def _on(self, ids: Ids, state: Any) -> Iterator[Span]:
        """The next ids (T,) of a sequence, span by span."""
        raise NotImplementedError
