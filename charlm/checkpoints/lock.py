"""Lock: one writer for a directory."""

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from charlm.checkpoints.files import NO_WAITING, PLAIN, read_file
from charlm.errors import CheckpointError, LockedError

_PATIENCE = 1.0  # seconds in which the holder of a lock has to say who it is


class Lock:
    """Held by the one process that writes to a directory; the file tells which that is.

    What that is ``doing`` there, and which ``other`` thing can be named, are said to the next one.
    """

    def __init__(self, path: Path, *, doing: str = "training in", other: str = "name") -> None:
        import filelock  # readers need none

        self._path = path
        self._doing, self._other = doing, other
        self._timeout = filelock.Timeout
        self._lock = filelock.FileLock(path, timeout=0)

    def acquire(self) -> None:
        """Take the lock. Raises LockedError naming the process that holds it, or OSError."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._lock.acquire()
                self._note(f"{os.getpid()}\n")
                return
            except self._timeout:
                holder = self._holder()
                if holder is None and time.monotonic() < until:
                    time.sleep(0.005)  # whoever was first has yet to write down who it is
                    continue
            who = "another process" if holder is None else f"process {holder}"
            raise LockedError(
                f"{who} is {self._doing} {self._path.parent}. Wait until it is done, or train "
                f"under another `{self._other}`."
            )

    def release(self) -> None:
        """Let the next one in."""
        if self._lock.is_locked:
            self._note("")
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _note(self, text: str) -> None:
        """Write into the lock file. That this fails, as on a full disk, hinders nobody."""
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_TRUNC | PLAIN | NO_WAITING)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)

    def _holder(self) -> int | None:
        """The process that the file names, if there is one."""
        try:
            text = bytes(read_file(self._path, 100))
            holder = int(text) if text.endswith(b"\n") else 0
            if holder > 0:
                if os.name == "posix":
                    os.kill(holder, 0)  # asks only whether it is there
                return holder
        except PermissionError:
            return holder
        except (CheckpointError, ValueError, OSError, OverflowError):
            pass
        return None
