"""Token ids as arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError

IdArray = NDArray[np.int32]
Ids = Sequence[int] | NDArray[np.integer]


def checked_ids(ids: Ids, vocab_size: int) -> IdArray:
    """Ids as an int32 array (N,).

    Raises UsageError if they are not a flat run of whole numbers in [0, vocab_size).
    """
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UsageError("Token ids must be a flat sequence of whole numbers.")
    if array.size and not 0 <= (worst := _worst(array)) < vocab_size:
        raise UsageError(f"Token ids must be from 0 to {vocab_size - 1}, got {worst}.")
    return array.astype(np.int32, copy=False)


def _worst(array: NDArray[np.integer]) -> int:
    """The smallest id if it is negative, else the largest."""
    low = int(array.min())
    return low if low < 0 else int(array.max())
