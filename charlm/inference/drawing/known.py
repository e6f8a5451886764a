"""Which sequences are known from training: by their hashes, which are kept beside a model."""

import functools
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.text.corpus import sequence_hash
from charlm.tokenizers.base import Tokenizer


class Knows(Protocol):
    """What can tell whether a text is a sequence of its training text."""

    def stands_in_training(self, text: str) -> bool | None:
        """Whether it is; None if that is not known."""


def united(known: Iterable[NDArray[np.uint64] | None]) -> NDArray[np.uint64] | None:
    """The hashes (S,), sorted, that are in any of some; None if one of them is not known."""
    found = list(known)
    hashes = [one for one in found if one is not None]
    return functools.reduce(np.union1d, hashes) if len(hashes) == len(found) else None


def stands_in(known: NDArray[np.uint64] | None, tokenizer: Tokenizer, text: str) -> bool | None:
    """Whether a text, normalised, has one of the hashes (S,), sorted; None without any."""
    if known is None:
        return None
    hashed = np.uint64(sequence_hash(tokenizer.normalise(text)))
    at = int(np.searchsorted(known, hashed))
    return at < len(known) and bool(known[at] == hashed)
