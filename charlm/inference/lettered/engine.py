"""LetteredEngine: a model of words that is run as one of characters, of their vocabulary.

See engines/protocol.py for the methods. It steps the words once or twice for each character, one
sequence after another.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charlm.engines.adapting.rows import FromRows, Span
from charlm.engines.protocol import Engine, Ids, Logits, Predictions
from charlm.inference.lettered.reading import ByArbiter, ByDecoder, Letters, Place, Words
from charlm.network_config import TextConfig

_ROWS = 1024  # at a time, of a sequence that is read on


class LetteredEngine(FromRows):
    """An engine of words, and what makes letters of them."""

    def __init__(self, engine: Engine, letters: Letters) -> None:
        self._engine, self._letters = engine, letters
        self._words = ByDecoder(engine.decoder(), engine.config.vocab_size)

    @property
    def config(self) -> TextConfig:
        """The shape of the model of words, with as many types as there are of characters."""
        return dataclasses.replace(self._engine.config, vocab_size=self._letters.vocab_size)

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others."""
        begin = 0
        for ids in sequences:
            for span, rows, _ in self._on(ids, None):
                yield np.arange(begin + span.start, begin + span.stop), rows
            begin += len(ids)

    def predictor(
        self, sequences: Sequence[Ids]
    ) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]:
        """What gives log P (M, V) at any tokens (M,), in any order."""
        number = sum(map(len, sequences))
        rows = np.empty((number, self._letters.vocab_size))
        for places, found in self.predictions(sequences):
            rows[places] = found
        return rows.__getitem__

    def rows_on(self, ids: Ids, state: Place | None = None) -> tuple[Logits, Place | None]:
        """log P (T, V) where the next ids (T,) stand, and the place after them."""
        rows = np.empty((len(ids), self._letters.vocab_size), dtype=np.float32)
        for span, found, state in self._on(ids, state):  # noqa: B007, B020 - the last is returned
            rows[span] = found
        return rows, state

    def next_logits(self, ids: Ids) -> Logits:
        """log P (V,) of the character after a sequence that begins with ids (T,)."""
        place = self._letters.begin(self._words)
        for token in ids.tolist():
            place = self._letters.after(self._words, place, token)
        return self._letters.log_probs(self._words, place).astype(np.float32)

    def decoder(self) -> "LetteredDecoder":
        """What steps it."""
        return LetteredDecoder(self._letters, self._words)

    def arbiter(self) -> "LetteredArbiter":
        """What decides where rounding could."""
        words = ByArbiter(self._engine.arbiter(), self._engine.config.vocab_size)
        return LetteredArbiter(self._letters, words)

    def _on(self, ids: Ids, state: Any) -> Iterator[Span]:
        """The next ids (T,) of a sequence, span by span; of its end nothing goes on."""
        place = state or self._letters.begin(self._words)
        for first in range(0, len(ids), _ROWS):
            some = ids[first : first + _ROWS].tolist()
            rows = np.empty((len(some), self._letters.vocab_size))
            for row, token in enumerate(some):
                rows[row] = self._letters.log_probs(self._words, place)
                place = self._letters.after(self._words, place, token)
            yield slice(first, first + len(some)), rows, place


class LetteredDecoder:
    """Steps it, each row by itself. A state is a list of places, None before the mark was read."""

    def __init__(self, letters: Letters, words: Words) -> None:
        self._letters, self._words = letters, words

    def read(self, ids: Ids) -> list[Place | None]:
        """The state of one row that has read ids (T,), the first of them the id vocab_size."""
        place: Place | None = None
        for token in ids.tolist():
            place = self._after(place, token)
        return [place]

    def read_all(self, sequences: Sequence[Ids]) -> list[list[Place | None]]:
        """The state of each of several such rows."""
        return [self.read(ids) for ids in sequences]

    def step(self, ids: Ids, state: list[Place | None]) -> tuple[Logits, list[Place | None]]:
        """log P (B, V) of the character after ids (B,), and the new state."""
        places = [self._after(*pair) for pair in zip(state, ids.tolist(), strict=True)]
        rows = np.stack([self._letters.log_probs(self._words, place) for place in places])
        return rows.astype(np.float32), [*places]

    def select(self, state: list[Place | None], rows: Ids) -> list[Place | None]:
        """A state of these rows."""
        return [state[row] for row in rows]

    def restart(self, state: list[Place | None], rows: Ids, start: list[Place | None]) -> None:
        """Set these rows to the one row of ``start``."""
        for row in rows:
            state[row] = start[0]

    def _after(self, place: Place | None, token: int) -> Place:
        if place is None:
            return self._letters.begin(self._words)  # the token is the mark
        return self._letters.after(self._words, place, token)


class LetteredArbiter:
    """All in double precision. What it reads begins with the id vocab_size."""

    def __init__(self, letters: Letters, words: Words) -> None:
        self._decoder = LetteredDecoder(letters, words)
        self._letters, self._words = letters, words

    def read(self, ids: Ids, state: Place | None = None) -> Place:
        """The place after the next ids (T,), one or more, of a sequence."""
        for token in ids.tolist():
            state = self._decoder._after(state, token)
        assert state is not None
        return state

    def log_probs(self, states: Sequence[Place]) -> npt.NDArray[np.float64]:
        """log P (B, V) of what comes after places."""
        return np.stack([self._letters.log_probs(self._words, place) for place in states])
