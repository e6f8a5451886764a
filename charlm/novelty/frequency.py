"""How frequent words are in the training text, where a run keeps it."""

import math
from collections import Counter
from typing import TYPE_CHECKING

from charlm.errors import CheckpointError

if TYPE_CHECKING:
    from charlm.models.base import TextModel


class WordFrequency:
    """log of the share that a word has of the words of a training text, one added to its count.

    Words are what stands between white space, as they stand there. Where the run keeps no text
    nothing is known.
    """

    def __init__(self, model: "TextModel") -> None:
        try:
            texts = model.index.sequences()
        except CheckpointError:
            texts = []
        self._normalise = model.normalise
        self._counts = Counter(word for text in texts for word in text.split())
        self._total = sum(self._counts.values()) + len(self._counts) + 1

    @property
    def is_known(self) -> bool:
        """Whether there is a text to count in."""
        return bool(self._counts)

    def __call__(self, word: str) -> float | None:
        """The logarithm (nats), or None."""
        if not self._counts:
            return None
        return math.log((self._counts[self._normalise(word)] + 1) / self._total)
