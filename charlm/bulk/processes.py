"""Several processes on one machine behind one stream, in order.

Each is a new interpreter (spawn) with one thread, which gets the work once and then portion after
portion. Few portions are on their way at a time, so memory stays flat however long the stream is.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import Any, NamedTuple, Self, TypeVar

from charlm.bulk.worker import serve
from charlm.errors import CharlmError

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # portions that a process has: the one at hand and the next
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class _Place(NamedTuple):
    """A process and this end of the pipe to it."""

    process: Any
    pipe: "connection.Connection"


class _Told(Exception):  # noqa: N818 - the traceback of an error, not one
    """The traceback of an error that was raised in another process."""


class Processes:
    """Processes that are there while the ``with`` is; called, they are a ``Mapped``.

    Results come in the order of the portions. They depend neither on the number of processes nor
    on which of them did what. An error, in reading the portions or in the work, is raised when
    what comes before it has been given out. Raises CharlmError if a process is lost.

    ``modules`` are imported by each process before anything else: which engine runs a model may
    depend on what is there.
    """

    def __init__(self, number: int, modules: Sequence[str] = ()) -> None:
        self._wanted, self._modules = number, modules
        self._places: list[_Place] = []
        self._at_work: list[int] = []  # portions that each has
        self._sent = 0  # portions, over all calls
        self._tied: tuple[object, int] | None = None  # a long sequence, and which process reads it

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        if os.name == "posix":
            resource_tracker.ensure_running()  # which lets signals through when it begins
        try:
            with _held_back(), _one_thread():
                for _ in range(self._wanted):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=serve, args=(theirs, self._modules))
                    self._places.append(_Place(process, ours))
                    process.start()
                    theirs.close()
        except BaseException:
            self.__exit__()
            raise
        self._at_work = [0] * self._wanted
        return self

    def __exit__(self, *_: object) -> None:
        for _process, pipe in self._places:
            pipe.close()
        started = [process for process, _ in self._places if process.pid is not None]
        for process in started:
            process.kill()
        for process in started:
            process.join()
        self._places = []

    def __call__(self, work: Callable[[T], R], portions: Iterable[T | None]) -> Iterator[R]:
        """What ``work``, which is pickled once, makes of each portion."""
        data = pickle.dumps((None, work), pickle.HIGHEST_PROTOCOL)
        for index in range(len(self._places)):
            self._send(index, data)
        del data
        source = iter(portions)
        answers: dict[int, Any] = {}
        given = first = self._sent
        is_read, failure = False, None
        while not is_read or given < self._sent:
            is_paused = False
            while not (is_read or is_paused) and self._sent - given < _AHEAD * self._wanted:
                try:
                    portion = next(source)
                except StopIteration:
                    is_read = True
                except Exception as error:
                    is_read, failure = True, error
                else:
                    is_paused = portion is None
                    if portion is not None:
                        self._give(portion, answers, first)
            due = self._sent if is_paused else min(given + 1, self._sent)
            while given < due:
                while given not in answers:
                    self._take(answers, first)
                yield _result(*answers.pop(given))
                given += 1
        if failure is not None:
            raise failure

    def _give(self, portion: Any, answers: dict[int, Any], first: int) -> None:
        """Send a portion: a part of a sequence to where the others went, else where least is."""
        part_of = getattr(portion, "part_of", None)
        if part_of is not None and self._tied is not None and self._tied[0] == part_of:
            index = self._tied[1]
        else:
            index = self._at_work.index(min(self._at_work))
        if part_of is not None:
            self._tied = part_of, index
        while self._at_work[index] >= _AHEAD:
            self._take(answers, first)
        self._send(index, pickle.dumps((self._sent, portion), pickle.HIGHEST_PROTOCOL))
        self._at_work[index] += 1
        self._sent += 1

    def _send(self, index: int, data: bytes) -> None:
        try:
            self._places[index].pipe.send_bytes(data)
        except OSError:
            raise self._lost(index) from None

    def _take(self, answers: dict[int, Any], first: int) -> None:
        """Take what has come, waiting for the first of it; drop what came before ``first``."""
        pipes = {place.pipe: index for index, place in enumerate(self._places)}
        for pipe in connection.wait(list(pipes)):
            index = pipes[pipe]  # type: ignore[index]  # a Connection, as it went in
            try:
                data = self._places[index].pipe.recv_bytes()
            except (EOFError, OSError):
                raise self._lost(index) from None
            number, is_good, found = pickle.loads(data)  # noqa: S301 - from our own process
            self._at_work[index] -= 1
            if number >= first:
                answers[number] = is_good, found

    def _lost(self, index: int) -> CharlmError:
        """The error of a process that is gone."""
        process = self._places[index].process
        process.join(1)
        code = process.exitcode
        how = "went away" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed ({signal.Signals(-code).name})"
        return CharlmError(
            f"one of {self._wanted} processes {how}; the system kills where memory is short. What "
            "was written before is right; try again, with a smaller `jobs` if it was memory."
        )


def _result(is_good: bool, found: Any) -> Any:
    """What came of a portion. Raises the error, the traceback of the other process its cause."""
    if is_good:
        return found
    error, told = found
    raise error from _Told(f"\n{told}")


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Signals wait until this is over; what is started in it never sees them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """What is started in this has one thread for its sums."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
