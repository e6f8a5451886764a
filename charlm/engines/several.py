"""Several: the processes that do a job together, as this one sees them."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")


class Several:
    """Number ``rank`` of ``size``; of this class itself: one alone, which does all of it."""

    rank = 0
    size = 1

    def mine(self, parts: Sequence[T]) -> Sequence[T]:
        """The parts of a job that this process does."""
        return parts[self.rank :: self.size]

    @contextlib.contextmanager
    def filling(self, *arrays: NDArray[Any]) -> Iterator[None]:
        """Fill arrays of zeros: each process what belongs to its parts; afterwards all have all.

        If one of them raises Stopped in here, all do.
        """
        del arrays
        yield


ALONE = Several()
