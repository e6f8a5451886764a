"""Work for several processes, which they have to be able to import."""

import contextlib
import os
import signal
import time
from typing import Any, NamedTuple

from charlm.bulk import Scorer
from charlm.errors import FieldError, TextError


class Part(NamedTuple):
    """A part of a long sequence."""

    part_of: int
    value: int


class Counting:
    """Tells which process counts, and how many portions it has had."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, portion: Any) -> tuple[int, int, Any]:
        """The process, the count and the portion."""
        self.number += 1
        return os.getpid(), self.number, portion


class OddError(Exception):
    """One that cannot be put together again from its arguments."""

    def __init__(self, one: int, *, other: int) -> None:
        super().__init__(one)
        self.other = other


def squared(number: int) -> int:
    """The square, of even numbers later than of odd ones."""
    time.sleep(0.004 if number % 2 == 0 else 0)
    return number * number


def doubled(data: bytes) -> bytes:
    """Twice the data."""
    return data * 2


def refusing(number: int) -> int:
    """Numbers up to 5; at each later one an error of its own."""
    errors = {
        6: TextError("six is too many."),
        7: FieldError("jobs", "must be less."),
        8: OddError(1, other=2),
        9: MemoryError(),
    }
    if number in errors:
        raise errors[number]
    return number


def deadly(number: int) -> int:
    """Numbers; at 5 the process is killed by force."""
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow(seconds: float) -> float:
    """Takes its time."""
    time.sleep(seconds)
    return seconds


class DyingScorer(Scorer):
    """A Scorer of which the first batch of all kills its process by force, once."""

    def __init__(self, model: str, *, marker: str, columns: list[str] | None = None) -> None:
        super().__init__(model, columns=columns)
        self._marker = marker

    def __call__(self, batch: Any) -> Any:
        """The batch with its figures, unless this is the end."""
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)
