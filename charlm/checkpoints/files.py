"""Files, read so that nothing is trusted: only regular ones, and none larger than it may be."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from charlm.errors import CheckpointError

# Flags of os.open: follow no link at the end, and do not wait on a pipe that nobody writes to.
PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NO_WAITING = getattr(os, "O_NONBLOCK", 0)
BLOCK = 2**20  # bytes that are read at a time of what is not needed as a whole


class Parts:
    """The bytes of a file in parts that lie where they are: none of them is copied."""

    def __init__(self, parts: "Iterable[bytes | memoryview]") -> None:
        self._parts = tuple(parts)

    def __iter__(self) -> "Iterator[bytes | memoryview]":
        return iter(self._parts)

    def __len__(self) -> int:
        """Bytes in all."""
        return sum(map(len, self._parts))


Content: TypeAlias = bytes | bytearray | Parts


def parts_of(content: Content) -> Parts:
    """A file's bytes, in one part if they are in one."""
    return content if isinstance(content, Parts) else Parts((memoryview(content),))


def read_file(path: Path, largest: int, size: int | None = None) -> bytearray:
    """The bytes of a regular file no larger than ``largest``, of that very size if one is given.

    Raises CheckpointError naming it.
    """
    with _opened(path, largest, size) as (file, there):
        try:
            data = bytearray(there)
        except MemoryError:
            raise CheckpointError(f"{path} is too large for the memory here.") from None
        if file.readinto(data) != len(data) or file.read(1):  # type: ignore[attr-defined]
            raise CheckpointError(f"{path} changes while it is being read.")
        return data


def read_blocks(path: Path, largest: int, size: int | None = None) -> Iterator[memoryview]:
    """The same in blocks of no more than 1 MiB; each is overwritten by the next."""
    with _opened(path, largest, size) as (file, there):
        block = memoryview(bytearray(BLOCK))
        left = there
        while number := cast(int, file.readinto(block)):  # type: ignore[attr-defined]
            left -= number
            yield block[:number]
        if left:
            raise CheckpointError(f"{path} changes while it is being read.")


@contextlib.contextmanager
def _opened(path: Path, largest: int, size: int | None) -> Iterator[tuple[BinaryIO, int]]:
    """A file for reading, and its bytes. Raises CheckpointError, for what fails in it too."""
    try:
        with open(path, "rb", opener=_open_plain) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{path} is not a file of a checkpoint: it is no plain file.")
            if status.st_size > largest:
                raise CheckpointError(
                    f"{path} is not a file of a checkpoint: it has {status.st_size:,} bytes where "
                    f"{largest:,} are the most."
                )
            if size is not None and size != status.st_size:
                raise CheckpointError(
                    f"{path} is damaged: it has {status.st_size:,} bytes, {size:,} were saved."
                )
            yield cast(BinaryIO, file), status.st_size
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from None


def _open_plain(path: str, flags: int) -> int:
    """Open without following a link at the end and without waiting on a pipe."""
    return os.open(path, flags | PLAIN | NO_WAITING)
