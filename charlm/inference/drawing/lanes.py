"""Sequences drawn side by side, each after a beginning and by a config of its own.

A lane is one row of what the decoder steps. Lanes come and go between two steps, and what a lane
draws does not depend on the others. Letters: B lanes, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig
from charlm.engines.protocol import Decoder, Logits
from charlm.tokenizers.prompt import Prompt


class Beginning(NamedTuple):
    """What sequences begin with: the prompt, what of it a model reads, and the state after that.

    context are the ids that a model reads, the id of the zero vector in front; the last of them is
    read by the first step, and start is the state of one row before it.
    """

    prompt: Prompt
    context: list[int]
    start: Any

    @property
    def first(self) -> int:
        """The id that the first step reads."""
        return self.context[-1]


class Alternatives(NamedTuple):
    """log P (nats) of a token that was drawn, and of the likeliest types at its place, by id."""

    log_prob: float
    top: dict[int, float]


class Lane:
    """A sequence being drawn: what has been drawn of it and its streams of uniform numbers.

    spelled is what the <UNK> among its ids stand for, in order, where they are spelled. With a
    ``top``, alternatives are noted of every token, so many. banned is the id that is never drawn.
    """

    def __init__(
        self,
        beginning: Beginning,
        config: SamplingConfig,
        index: int,
        *,
        banned: int | None = None,
        attempt: int = 0,
        top: int | None = None,
    ) -> None:
        self.beginning, self.config, self.banned, self.top = beginning, config, banned, top
        self.index = index
        self.attempt = attempt
        self.ids: list[int] = []
        self.spelled: list[str] = []
        self.alternatives: list[Alternatives] = []
        self.log_prob = 0.0
        self.key = (config.seed, index, attempt)
        # Of drawing a token.
        self.way = (config.temperature, config.top_k, config.top_p, config.unknown, banned)
        self.uniform = np.random.default_rng(self.key).random
        self.exact: tuple[int, Any] = (0, None)  # how much the arbiter has read, and its state

    def again(self, index: int, attempt: int = 0) -> "Lane":
        """Another sequence with the same beginning and config."""
        return Lane(
            self.beginning,
            self.config,
            index,
            banned=self.banned,
            attempt=attempt,
            top=self.top,
        )

    def spelling_stream(self) -> Callable[[], float]:
        """The uniform numbers for what the last token spells."""
        key = np.random.SeedSequence(self.key, spawn_key=(len(self.ids),))
        return np.random.default_rng(key).random


class Lanes:
    """The lanes of one decoder. ``lanes`` are in the order of its rows, B of them."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.lanes: list[Lane] = []
        self._inputs = np.empty(0, dtype=np.int64)
        self._state: Any = None

    def step(self, draw: Callable[[Logits, list[Lane]], list[int]]) -> list[int]:
        """Draw the next token of every lane; ``draw`` makes tokens of logits (B, V)."""
        logits, self._state = self._decoder.step(self._inputs, self._state)
        tokens = draw(logits, self.lanes)
        del logits  # so that the next ones come where they were: fresh memory is slow
        self._inputs[:] = tokens
        return tokens

    def add(self, lanes: Sequence[Lane]) -> None:
        """Put lanes at the end."""
        before = len(self.lanes)
        if not lanes:
            return
        state = self._state if before else lanes[0].beginning.start
        rows = np.concatenate((np.arange(before), np.zeros(len(lanes), dtype=np.int64)))
        self._state = self._decoder.select(state, rows)
        self._inputs = np.concatenate((self._inputs, np.zeros(len(lanes), dtype=np.int64)))
        self.lanes = [*self.lanes, *lanes]
        self.put({before + at: lane for at, lane in enumerate(lanes)}, fresh=not before)

    def put(self, there: Mapping[int, Lane], *, fresh: bool = False) -> None:
        """Put lanes into rows in the place of others; ``fresh`` rows are in their first state."""
        starts: dict[int, tuple[Any, list[int]]] = {}
        for row, lane in there.items():
            self.lanes[row] = lane
            self._inputs[row] = lane.beginning.first
            start = lane.beginning.start
            starts.setdefault(id(start), (start, []))[1].append(row)
        if fresh:
            starts.pop(id(self.lanes[0].beginning.start))
        for start, rows in starts.values():
            self._decoder.restart(self._state, np.array(rows), start)

    def remove(self, rows: Sequence[int]) -> None:
        """Take these rows out."""
        if not rows:
            return
        kept: NDArray[np.int64] = np.delete(np.arange(len(self.lanes)), rows)
        self.lanes = [self.lanes[row] for row in kept]
        self._inputs = self._inputs[kept]
        self._state = self._decoder.select(self._state, kept) if len(kept) else None
