"""Several processes that train together: threads in their place, or real ones side by side."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from charlm.training.ranks.together import Together
from tests.support.forked import Done, Forks

T = TypeVar("T")


class Table:
    """Where threads meet: each lays something down, and takes what all have laid down."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size, timeout=60)
        self._there: list[Any] = [None] * size

    def exchange(self, rank: int, own: Tensor) -> Tensor:
        """The tensors of all, stacked."""
        self._there[rank] = own.clone()
        self._barrier.wait()
        found = torch.stack(self._there)
        self._barrier.wait()
        return found

    def leave(self) -> None:
        """Have all others fail that wait here."""
        self._barrier.abort()


class Thread(Together):
    """A thread in the place of a process."""

    def __init__(self, rank: int, size: int, table: Table) -> None:
        super().__init__(rank, size)
        self._table = table
        self.messages = 0

    def _all(self, tensor: Tensor) -> Tensor:
        self.messages += 1
        return self._table.exchange(self.rank, tensor)

    def broadcast(self, tensor: Tensor) -> None:
        """The first one's, whose shape the others have."""
        tensor.copy_(self._all(tensor)[0])

    def sum(self, tensor: Tensor) -> None:
        """In their order."""
        total, *others = self._all(tensor)
        for other in others:
            total = total + other
        tensor.copy_(total)

    def maximum(self, tensor: Tensor) -> None:
        """Element by element."""
        tensor.copy_(self._all(tensor).amax(0))


def in_threads(size: int, work: Callable[[Together], T]) -> list[T]:
    """What each of several threads makes of the work that they do together."""
    table = Table(size)

    def run(rank: int) -> T:
        try:
            return work(Thread(rank, size, table))
        except BaseException:
            table.leave()
            raise

    with ThreadPoolExecutor(size) as pool:
        waiting = [pool.submit(run, rank) for rank in range(size)]
        errors = [one.exception() for one in waiting]
        for error in errors:
            if error is not None and not isinstance(error, threading.BrokenBarrierError):
                raise error
        return [one.result() for one in waiting]


class TwoForks:
    """Two processes of the command line at a time, joined as torchrun joins them."""

    def __enter__(self) -> "TwoForks":
        self._forks = [Forks().__enter__(), Forks().__enter__()]
        return self

    def __exit__(self, *_: object) -> None:
        for forks in self._forks:
            forks.__exit__()

    def charlm(
        self, *arguments: str, at: Path, options: tuple[Any, Any] = ({}, {}), **both: Any
    ) -> list[Done]:
        """Run ``charlm`` in both, with options of Forks.charlm for each, and others for both."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def run(rank: int) -> Done:
            environment = {
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            own = {**both, **options[rank], "environment": environment}
            return self._forks[rank].charlm(*arguments, at=at, **own)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(run, range(2)))
