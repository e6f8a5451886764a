"""A network with its adaptive mixture, as one engine: frozen, or learning within each sequence.

What is learned within a sequence is forgotten at its end, so in both ways what a sequence gets
depends on it alone. Letters as in protocol.py.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.counts import reading
from charlm.counts.adaptive import PORTION, Adaptive
from charlm.counts.reading import Reading
from charlm.engines.adapting.rows import FromRows, Span
from charlm.engines.adapting.steps import AdaptiveArbiter, AdaptiveDecoder
from charlm.engines.protocol import Ids, Logits, Predictions, RowEngine
from charlm.equations.language_model import log_softmax

_CELLS = 2**25  # tokens times types of sequences that are read side by side
_TOKENS = 2**16


class Begun(NamedTuple):
    """Where a sequence stands: the network's state, and that of the mixture."""

    inner: Any
    reading: Reading


class AdaptiveEngine(FromRows):
    """A trained network and what is mixed with it. See protocol.py for the methods.

    With ``learns`` memory and weights follow each sequence, else they are those of training.
    """

    def __init__(self, network: RowEngine, adaptive: Adaptive, *, learns: bool) -> None:
        super().__init__(network)
        self._adaptive, self.learns = adaptive, learns

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others."""
        begin = 0
        for group in grouped(sequences, self.config.vocab_size):
            for places, rows in self._of_group(group):
                yield begin + places, rows
            begin += sum(map(len, group))

    def next_logits(self, ids: Ids) -> Logits:
        """Log-probabilities (V,) of the token after a sequence that begins with ids (T,)."""
        _, state = self.read_on(ids)
        network = log_softmax(self._network.next_logits(ids)[None])
        begun = self._begin() if state is None else state.reading
        logits: Logits = reading.expect(self._adaptive, [begun], [network])[0].log_q[0]
        return logits

    def decoder(self) -> AdaptiveDecoder:
        """What steps the two."""
        return AdaptiveDecoder(self._network.decoder(), self._adaptive, self._begin(), self)

    def arbiter(self) -> AdaptiveArbiter:
        """What decides where rounding could."""
        return AdaptiveArbiter(self._network.arbiter(), self._adaptive, self._begin())

    def _begin(self) -> Reading:
        return reading.begin(self._adaptive, remembers=self.learns, learns=self.learns)

    def _of_group(self, group: list[Ids]) -> Predictions:
        """log P (M, V) at the tokens of sequences."""
        if len(group) == 1:
            for span, rows, _ in self._on(group[0], None):
                yield np.arange(span.start, span.stop), rows
        elif not self.learns:
            text = self._adaptive.text(group)
            yield from reading.frozen(self._adaptive, text, self._network.predictions(group))
        else:
            network = rows_of(self._network, group)
            end = 0
            for rows in reading.read_each(self._adaptive, group, network):
                begin, end = end, end + len(rows)
                yield np.arange(begin, end), rows

    def _on(self, ids: Ids, state: Begun | None) -> Iterator[Span]:
        """The next ids (T,) of a sequence, span by span."""
        inner, begun = state or Begun(None, self._begin())
        for span in self._adaptive.portions(len(ids)):
            network, inner = self._network.rows_on(ids[span], inner)
            found = reading.read(self._adaptive, begun, [ids[span]], [network])
            for part, rows, begun in found:
                at = slice(span.start + part.start, span.start + part.stop)
                yield at, rows, Begun(inner, begun)


def grouped(sequences: Sequence[Ids], vocab_size: int) -> Iterator[list[Ids]]:
    """Sequences that are read side by side, in their order; one that is long is by itself."""
    most = min(_TOKENS, max(1, _CELLS // vocab_size))
    group: list[Ids] = []
    size = 0
    for ids in sequences:
        is_long = len(ids) > PORTION
        if group and (is_long or size + len(ids) > most):
            yield group
            group, size = [], 0
        group.append(ids)
        size = PORTION + most if is_long else size + len(ids)  # nothing joins a long one
    if group:
        yield group


def rows_of(network: RowEngine, sequences: Sequence[Ids]) -> npt.NDArray[np.float32]:
    """log P (N, V) of all types at the tokens of sequences, one after another."""
    rows = np.empty((sum(map(len, sequences)), network.config.vocab_size), dtype=np.float32)
    for places, found in network.predictions(sequences):
        rows[places] = found
    return rows


class Piece(NamedTuple):
    """Sequences, or a part of one, and rows (N, V) of log P there; begins: of a sequence."""

    sequences: list[Ids]
    rows: npt.NDArray[Any]
    begins: bool


def in_order(network: RowEngine, adaptive: Adaptive, sequences: Sequence[Ids]) -> Iterator[Piece]:
    """What a network says of sequences, as they come; of a long one part by part."""
    for group in grouped(sequences, network.config.vocab_size):
        if len(group) > 1:
            yield Piece(group, rows_of(network, group), begins=True)
            continue
        (ids,), state = group, None
        for span in adaptive.portions(len(ids)):
            rows, state = network.rows_on(ids[span], state)
            yield Piece([ids[span]], rows, begins=span.start == 0)
