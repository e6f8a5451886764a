"""Several samplers that take turns: each sequence is drawn by one of them, by their weights."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig
from charlm.errors import UsageError
from charlm.inference.sample import BATCH_SIZE, Knows, Sample, united

_TURN = 0x7075  # sets the draws of models apart from those of tokens


class TurnSampler:
    """Draws each sequence from one of several models, which one by their weights."""

    def __init__(self, samplers: Sequence[Any], weights: Sequence[float]) -> None:
        self._samplers = tuple(samplers)
        self._bounds = np.cumsum(weights)
        # One that takes turns with others may take turns itself: by draws of its own.
        inner = [one._level for one in self._samplers if isinstance(one, TurnSampler)]
        self._level: int = 1 + max(inner) if inner else 0

    @property
    def known(self) -> NDArray[np.uint64] | None:
        """The hashes (S,) of what any that draws was trained on; None if one does not know."""
        return united(sampler.known for sampler in self._samplers)

    def stands_in_training(self, text: str) -> bool | None:
        """Whether a text stands in the training text, as each that draws would say."""
        found: bool | None = self._samplers[0].stands_in_training(text)
        return found

    def beside(self, others: Sequence[Knows]) -> Self:
        """The same, as some of several: what others were trained on is not new, either."""
        found = copy.copy(self)
        found._samplers = tuple(sampler.beside(others) for sampler in self._samplers)
        return found

    def sample(
        self,
        n: int,
        config: SamplingConfig,
        *,
        prompt: str = "",
        novel: bool = False,
        indices: Sequence[int] | None = None,
        batch_size: int = BATCH_SIZE,
        on_token: Callable[[int, int], None] | None = None,
        on_spelling: Callable[[int, str], None] | None = None,
    ) -> Iterator[Sample]:
        """As ``Sampler.sample``; log P of a sample is what the model that drew it gives."""
        if on_token is not None or on_spelling is not None:
            raise UsageError("models that take turns cannot stream: leave out --stream.")
        wanted = range(n) if indices is None else indices
        turns = {index: self._turn(config.seed, index) for index in wanted}
        drawing = [
            sampler.sample(
                n,
                config,
                prompt=prompt,
                novel=novel,
                indices=[index for index in wanted if turns[index] == k],
                batch_size=batch_size,
            )
            for k, sampler in enumerate(self._samplers)
        ]
        for k in turns.values():
            yield dataclasses.replace(next(drawing[k]), drawn_by=k)

    def _turn(self, seed: int, index: int) -> int:
        uniform = (
            np.random.default_rng((seed, index, self._level, _TURN)).random() * self._bounds[-1]
        )
        return int(np.searchsorted(self._bounds, uniform, side="right"))
