"""A network with its adaptive mixture that reads a stream, and goes on learning all along it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from charlm.counts import reading
from charlm.counts.adaptive import Adaptive
from charlm.counts.mixer import Weights, shared
from charlm.engines.adapting.engine import in_order
from charlm.engines.adapting.rows import FromRows, Span
from charlm.engines.protocol import Arbiter, Decoder, Ids, Logits, Predictions, RowEngine
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.engines.dynamic import DynamicEvaluator

_READS = "what learns over a whole file only reads it: take adapt sequence for what comes next."


class AdaptiveStream(FromRows):
    """Reads sequences in the order that they come, and learns from each for the next.

    So what a sequence gets depends on all before it, and each can be read but once. With a
    ``dynamic`` evaluator the network goes on learning, too; both forms of it are mixed in. Without
    ``remembers`` the weights alone follow.
    """

    def __init__(
        self,
        network: RowEngine,
        adaptive: Adaptive,
        dynamic: "DynamicEvaluator | None" = None,
        *,
        remembers: bool = True,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(network)
        self._adaptive, self._dynamic = adaptive, dynamic
        begun = reading.begin(adaptive, remembers=remembers, learns=True, weights=weights)
        if dynamic is not None:
            begun = begun._replace(weights=shared(begun.weights))
        self._reading = begun

    @property
    def weights(self) -> Weights:
        """What has been learned."""
        return self._reading.weights

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others, in their order."""
        begin = 0
        for pieces, rows_there, begins in in_order(self._network, self._adaptive, sequences):
            if begins:
                self._reading = reading.at_new_sequence(self._adaptive, self._reading)
            for span, rows, _ in self._read(pieces, rows_there, None):
                yield np.arange(begin + span.start, begin + span.stop), rows
            begin += len(rows_there)

    def read_on(self, ids: Ids, state: Any = None) -> tuple[npt.NDArray[np.float64], Any]:
        """log P (T,) of the next ids (T,) of a sequence, and the network's state after them."""
        if state is None:
            self._reading = reading.at_new_sequence(self._adaptive, self._reading)
        return super().read_on(ids, state)

    def next_logits(self, ids: Ids) -> Logits:
        """It only reads: raises UsageError."""
        del ids
        raise UsageError(_READS)

    def decoder(self) -> Decoder:
        """It only reads: raises UsageError."""
        raise UsageError(_READS)

    def arbiter(self) -> Arbiter:
        """It only reads: raises UsageError."""
        raise UsageError(_READS)

    def _on(self, ids: Ids, state: Any) -> Iterator[Span]:
        """The next ids (T,) of a sequence, span by span; the state is the network's."""
        for span in self._adaptive.portions(len(ids)):
            network, state = self._network.rows_on(ids[span], state)
            for part, rows, _ in self._read([ids[span]], network, state):
                yield slice(span.start + part.start, span.start + part.stop), rows, state

    def _read(
        self, pieces: Sequence[Ids], network: npt.NDArray[np.float32], state: Any
    ) -> Iterator[Span]:
        """log P (n, V) at pieces, of which all but the first begin a sequence."""
        networks = [network]
        if self._dynamic is not None:
            networks.append(self._dynamic.rows(np.concatenate(pieces)))
        for span, rows, begun in reading.read(self._adaptive, self._reading, pieces, networks):
            self._reading = begun
            yield span, rows, state
