"""What one of several processes does: the portions that it is sent, until nobody sends any more.

Messages are pickled pairs: None and the work, a callable, or a number and a portion. Of each
portion goes back its number, whether all went well, and what came of it: what the work returned,
or the error and its traceback.
"""

import importlib
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from charlm.memory import give_back


def serve(connection: Connection, modules: Sequence[str]) -> None:
    """Work until the other end is closed, then end at once, whatever is being done.

    ``modules`` are imported first.
    """
    _stand_apart()
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # Neither end ever waits for the other to read: each of the two may have to write first.
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    threading.Thread(target=_send, args=(connection, answers), daemon=True).start()
    for name in modules:
        importlib.import_module(name)
    work: Callable[[Any], Any] = _no_work
    while True:
        number, found = _opened(tasks.get())
        if number is not None:
            answers.put(answer(number, work, found))
            give_back()
        else:
            work = found


def answer(number: int, work: Callable[[Any], Any], portion: Any) -> bytes:
    """What goes back of a portion."""
    try:
        return pickle.dumps((number, True, work(portion)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        told = traceback.format_exc()
        try:
            data = pickle.dumps((number, False, (error, told)), pickle.HIGHEST_PROTOCOL)
            pickle.loads(data)  # noqa: S301 - our own, and not every error can be put together again
        except Exception:
            other = RuntimeError(f"{type(error).__name__}: {error}")
            data = pickle.dumps((number, False, (other, told)), pickle.HIGHEST_PROTOCOL)
        return data


def _opened(message: bytes) -> tuple[int | None, Any]:
    """A message; work that cannot be unpacked is work that raises why."""
    try:
        found: tuple[int | None, Any] = pickle.loads(message)  # noqa: S301 - from our own parent
    except Exception as error:
        return None, _Broken(error)
    return found


class _Broken:
    """Work that there is not."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, _: Any) -> Any:
        raise self._error


def _no_work(portion: Any) -> Any:
    raise RuntimeError(f"no work for {portion!r:.40}")


def _stand_apart() -> None:
    """Leave signals to the process that sends the work, and its streams alone.

    It ends this one; a pipe that it reads or writes ends when it does.
    """
    for name in ("SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)


def _receive(connection: Connection, tasks: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            tasks.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


def _send(connection: Connection, answers: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            connection.send_bytes(answers.get())
    except OSError:
        os._exit(0)
