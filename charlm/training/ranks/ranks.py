"""Ranks: the processes that train one model together, and how they come to agree.

Each reads its share of the rows of every batch; all of them hold the same weights and take the same
steps. What is decided by a clock, by a signal or by the load of a machine is decided for all: what
the first says goes. This module is of one process alone, for which all of that is nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor, nn

from charlm.engines.several import Several
from charlm.nn.objectives import StepLoss
from charlm.nn.shares import Share

T = TypeVar("T")


class News:
    """The time, and whether to stop, as of now."""

    def __init__(self, clock: Callable[[], float], should_stop: Callable[[], bool]) -> None:
        self.now = clock
        self.should_stop = should_stop

    def refresh(self) -> None:
        """Hear of it: several processes know the same from one refreshing to the next."""


class SumsGradients(Protocol):
    """Sums the gradients of a module over all parts of a batch."""

    def __call__(self, made: StepLoss | None, touched: Mapping[Tensor, Tensor]) -> StepLoss:
        """What the whole batch made; None is what a part without rows made.

        touched are the rows of few_rows that the gradients of this part are of.
        """


def _alone(made: StepLoss | None, touched: Mapping[Tensor, Tensor]) -> StepLoss:
    del touched
    assert made is not None
    return made


class Ranks(Several):
    """One process alone."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, prints and decides."""
        return self.rank == 0

    # What is agreed

    def first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process; numbers, text, lists and objects of them."""
        return make()

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes have."""
        return number

    def clock(self, clock: Callable[[], float]) -> Callable[[], float]:
        """The clock of the first process, which all read together."""
        return clock

    def news(self, clock: Callable[[], float], should_stop: Callable[[], bool]) -> News:
        """The time of the first process; to stop is what any of them wants."""
        return News(clock, should_stop)

    def check_device(self, device: str) -> None:
        """Raise UsageError for a device that not each process can have to itself."""
        del device

    def check_files(self, names: Sequence[str]) -> None:
        """Raise UsageError for a file that not each process can read."""
        del names

    def check_same(self, what: dict[str, str]) -> None:
        """Raise UsageError where a process has read or chosen something else than the first."""
        del what

    # Steps

    def share(self, rows: int) -> Share | None:
        """Which of the rows of a batch this process reads; None where it is all of them."""
        del rows
        return None

    def spread(self, module: nn.Module) -> None:
        """Give all processes the parameters of the first."""
        del module

    def summing(
        self, module: nn.Module, few_rows: Sequence[Tensor], *, row_wise: bool = False
    ) -> SumsGradients:
        """What sums the gradients of a module, and what a step made of its part, over all parts.

        few_rows are the matrices of which a step may touch some rows alone; where it is row_wise
        their gradients are sparse.
        """
        del module, few_rows, row_wise
        return _alone

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows (B, H) of all processes of which each holds its share (b, H)."""
        return rows

    # Errors

    def wait(self) -> None:
        """Until all are here."""

    def tells(self, error: Exception) -> bool:
        """Whether this process is the one to tell of an error that it ends with."""
        del error
        return True

    def leave(self) -> None:
        """Part with the others."""


ALONE = Ranks()
