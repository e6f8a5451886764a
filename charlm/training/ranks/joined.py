"""Several processes, joined by torch.distributed: gloo between processors, NCCL between GPUs."""

import contextlib
import datetime
import hashlib
import time
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore

from charlm.errors import CharlmError, UsageError
from charlm.training.ranks.launched import Launched
from charlm.training.ranks.together import Together

_STARTING = datetime.timedelta(minutes=5)  # until all are there
_PATIENCE = datetime.timedelta(minutes=30)  # with one that lives and does not answer
_ENDING = datetime.timedelta(seconds=5)  # with those that end with the same error


class LostError(CharlmError):
    """Another process of a training has ended."""


class JoinedRanks(Together):
    """One of several processes that torchrun has started. What is agreed goes through the
    processors, gradients where they are.
    """

    def __init__(self, launched: Launched) -> None:
        super().__init__(launched.rank, launched.size)
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        self._has_gpu = launched.local_size <= gpus and dist.is_nccl_available()
        if self._has_gpu:
            torch.cuda.set_device(launched.local_rank)
        with _heard():
            store, *_ = next(dist.rendezvous("env://", timeout=_STARTING))  # type: ignore[attr-defined]
            self._store = PrefixStore("charlm", store)
            self._meet()
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if self._has_gpu else "gloo",
                store=PrefixStore("charlm-group", store),
                rank=self.rank,
                world_size=self.size,
                timeout=_PATIENCE,
            )

    def _meet(self) -> None:
        """Wait for all to be there, so that a signal can end the waiting."""
        self._store.set(f"here {self.rank}", "")
        until = time.monotonic() + _STARTING.total_seconds()
        for rank in range(self.size):
            while not self._store.check([f"here {rank}"]):
                if time.monotonic() > until:
                    raise CharlmError(f"process {rank} of {self.size} did not start.")
                time.sleep(0.01)

    def check_device(self, device: str) -> None:
        """Raise UsageError for a device that not each process has to itself."""
        if device != "cpu" and not (device == "cuda" and self._has_gpu):
            raise UsageError(
                f"several processes on device {device} need a GPU of NVIDIA each: start fewer, or "
                "train on device cpu."
            )

    def check_files(self, names: Sequence[str]) -> None:
        """Raise UsageError for standard input, which one process alone can read."""
        if "-" in names:
            raise UsageError("several processes cannot share standard input: name a file.")

    # The end

    def wait(self) -> None:
        """Until all are here."""
        self.largest(0)

    def tells(self, error: Exception) -> bool:
        """Whether this process is the one to tell of an error that it ends with.

        The first one, whose the store is, stays until the others have asked, too.
        """
        lost = isinstance(error, LostError)
        is_new = self._is_new(error)
        with contextlib.suppress(RuntimeError):
            if not self.is_first:
                self._store.add("asked", 1)
                return is_new
            dist.destroy_process_group()  # whoever waits for a message waits in vain
            until = time.monotonic() + _ENDING.total_seconds()
            others = self.size - 1 - lost  # the one that is lost does not ask
            while self._store.add("asked", 0) < others and time.monotonic() < until:
                time.sleep(0.01)
        return is_new

    def _is_new(self, error: Exception) -> bool:
        """Whether no process has told of it."""
        name = "lost" if isinstance(error, LostError) else "told"
        what = f"{name} {hashlib.sha256(str(error).encode()).hexdigest()}"
        try:
            if isinstance(error, LostError) and self._store.add("told", 0):
                return False  # whoever ended has said why
            is_new = bool(self._store.add(what, 1) == 1)
            self._store.add("told", is_new and name == "told")
        except RuntimeError:  # it went with the first process
            return True
        return is_new

    def leave(self) -> None:
        """Part with the others."""
        dist.destroy_process_group()

    # Messages

    def broadcast(self, tensor: Tensor) -> None:
        """Give all the tensor of the first."""
        with _heard():
            dist.broadcast(tensor, 0)

    def sum(self, tensor: Tensor) -> None:
        """Sum a tensor over all."""
        with _heard():
            dist.all_reduce(tensor)

    def maximum(self, tensor: Tensor) -> None:
        """The largest that any has, element by element."""
        with _heard():
            dist.all_reduce(tensor, dist.ReduceOp.MAX)


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Where others have to answer. Raises LostError if one does not."""
    try:
        yield
    except RuntimeError:
        raise LostError(
            "another process of this training has ended, or does not answer, and so does this "
            "one. What was saved is not lost: go on from the last save with `resume`."
        ) from None
