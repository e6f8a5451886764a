"""How several processes come to agree, whatever carries their messages.

Three messages are enough: a tensor of the first for all, a sum, a largest. Every process sends the
same ones in the same order, so what decides whether one is sent has to be agreed before.
"""

import contextlib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charlm.engines.torch_passes import Stopped
from charlm.errors import UsageError
from charlm.nn.shares import Share
from charlm.training.ranks.gradients import GradientSum
from charlm.training.ranks.ranks import News, Ranks, SumsGradients

T = TypeVar("T")
_BITS = {4: torch.int32, 8: torch.int64}  # of numbers of so many bytes


class Together(Ranks):
    """One of several processes."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    # Messages

    @abstractmethod
    def broadcast(self, tensor: Tensor) -> None:
        """Give all the tensor of the first."""

    @abstractmethod
    def sum(self, tensor: Tensor) -> None:
        """Sum a tensor over all."""

    @abstractmethod
    def maximum(self, tensor: Tensor) -> None:
        """The largest that any has, element by element."""

    # What is agreed

    def first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process."""
        told = json.dumps(make()).encode() if self.is_first else b""
        size = torch.tensor([len(told)])
        self.broadcast(size)
        text = torch.zeros(int(size), dtype=torch.uint8)
        if self.is_first:
            text.copy_(torch.frombuffer(bytearray(told), dtype=torch.uint8))
        self.broadcast(text)
        found: T = json.loads(text.numpy().tobytes())
        return found

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes have."""
        found = torch.tensor([number])
        self.maximum(found)
        return int(found)

    def clock(self, clock: Callable[[], float]) -> Callable[[], float]:
        """The clock of the first process, which all read together."""

        def now() -> float:
            seconds = torch.tensor([clock()], dtype=torch.float64)
            self.broadcast(seconds)
            return float(seconds)

        return now

    def news(self, clock: Callable[[], float], should_stop: Callable[[], bool]) -> News:
        """The time of the first process; to stop is what any of them wants."""
        return _SharedNews(self, clock, should_stop)

    def check_same(self, what: dict[str, str]) -> None:
        """Raise UsageError where this process has read or chosen something else."""
        others = self.first(lambda: what)
        if differing := [name for name in what if what[name] != others[name]]:
            raise UsageError(
                f"process {self.rank} has another {' and '.join(differing)} than process 0: all "
                "must read the same files, by the same version."
            )

    # Steps

    def share(self, rows: int) -> Share | None:
        """Of n processes every n-th row."""
        return Share(self.rank, self.size, rows)

    def spread(self, module: nn.Module) -> None:
        """Give all processes the parameters of the first."""
        for parameter in module.parameters():
            self.broadcast(parameter.detach())

    def summing(
        self, module: nn.Module, few_rows: Sequence[Tensor], *, row_wise: bool = False
    ) -> SumsGradients:
        """Sums gradients, and what a step made of its part."""
        return GradientSum(module, few_rows, self.sum, self.maximum, row_wise=row_wise)

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows (B, H) of all processes of which each holds its share (b, H)."""
        number = torch.tensor([len(rows)])
        self.sum(number)
        whole = torch.zeros(int(number), *rows.shape[1:])
        whole[self.rank :: self.size] = rows.cpu()
        self.sum(_bits(whole))
        return whole.to(rows.device)

    # Validations

    @contextlib.contextmanager
    def filling(self, *arrays: NDArray[Any]) -> Iterator[None]:
        """Fill arrays of zeros: each process what belongs to its parts."""
        stopped = False
        try:
            yield
        except Stopped:
            stopped = True
        if self.largest(stopped):
            raise Stopped
        for array in filter(len, arrays):
            self.sum(_bits(torch.from_numpy(array)))


class _SharedNews(News):
    def __init__(
        self, ranks: Together, clock: Callable[[], float], should_stop: Callable[[], bool]
    ) -> None:
        self._ranks, self._clock, self._wants_stop = ranks, clock, should_stop
        super().__init__(lambda: self._time, lambda: self._stops)
        self.refresh()

    def refresh(self) -> None:
        """One message."""
        time = self._clock() if self._ranks.is_first else float("-inf")
        found = torch.tensor([time, self._wants_stop()], dtype=torch.float64)
        self._ranks.maximum(found)
        self._time, stops = found.tolist()
        self._stops = bool(stops)


def _bits(numbers: Tensor) -> Tensor:
    """The same memory as whole numbers: what is added to zero stays as it is, to the bit."""
    return numbers.view(_BITS[numbers.element_size()])
