"""Several samplers that take turns: each sequence is drawn by one of them, by their weights."""

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig
from charlm.engines.protocol import Ids, Reader
from charlm.inference.drawing.known import Knows, united
from charlm.inference.sample import BATCH_SIZE, Sample, Sampler

_TURN = 0x7075  # sets the draws of models apart from those of tokens


class TurnSampler:
    """Draws each sequence from one of several models, which one by their weights."""

    def __init__(
        self, samplers: Sequence["Sampler | TurnSampler"], weights: Sequence[float]
    ) -> None:
        self.samplers = tuple(samplers)
        self._bounds = np.cumsum(weights)
        # One that takes turns with others may take turns itself: by draws of its own.
        inner = [one._level for one in self.samplers if isinstance(one, TurnSampler)]
        self._level: int = 1 + max(inner) if inner else 0

    @property
    def known(self) -> NDArray[np.uint64] | None:
        """The hashes (S,) of what any that draws was trained on; None if one does not know."""
        return united(sampler.known for sampler in self.samplers)

    def stands_in_training(self, text: str) -> bool | None:
        """Whether a text stands in the training text, as each that draws would say."""
        return self.samplers[0].stands_in_training(text)

    def beside(self, others: Sequence[Knows]) -> "TurnSampler":
        """The same, as some of several: what others were trained on is not new, either."""
        found = copy.copy(self)
        found.samplers = tuple(sampler.beside(others) for sampler in self.samplers)
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
    ) -> Iterator[Sample]:
        """As ``Sampler.sample``; log P of a sample is what the model that drew it gives."""
        turns = self.turns(range(n) if indices is None else indices, config.seed)
        drawing = [
            sampler.sample(
                n,
                config,
                prompt=prompt,
                novel=novel,
                indices=[index for index, turn in turns.items() if turn == k],
                batch_size=batch_size,
            )
            for k, sampler in enumerate(self.samplers)
        ]
        for k in turns.values():
            yield dataclasses.replace(next(drawing[k]), drawn_by=k)

    def turns(self, indices: Iterable[int], seed: int) -> dict[int, int]:
        """Which of them draws each of the sequences."""
        return {index: self._turn(seed, index) for index in indices}

    def _turn(self, seed: int, index: int) -> int:
        key = (seed, index, self._level, _TURN)
        uniform = np.random.default_rng(key).random() * self._bounds[-1]
        return int(np.searchsorted(self._bounds, uniform, side="right"))


def weights_after(
    begun: Ids, log_prior: NDArray[np.float64], readers: Sequence[Reader]
) -> list[float]:
    """P(label given that a text begins with ids (T,)): the shares (L,) and what was read since.

    ``readers`` are those of the labels; none are needed where nothing has been read.
    """
    joint = log_prior.copy()
    if len(begun):
        joint += [reader.read_on(begun)[0].sum() for reader in readers]
    weights: list[float] = np.exp(joint - np.logaddexp.reduce(joint)).tolist()
    return weights
