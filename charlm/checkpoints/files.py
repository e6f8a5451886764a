"""Files, read so that nothing is trusted: only regular ones, and none larger than it may be."""

import os
import stat
from pathlib import Path

from charlm.errors import CheckpointError

# Flags of os.open: follow no link at the end, and do not wait on a pipe that nobody writes to.
PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NO_WAITING = getattr(os, "O_NONBLOCK", 0)


def read_file(path: Path, largest: int, size: int | None = None) -> bytearray:
    """The bytes of a regular file no larger than ``largest``, of that very size if one is given.

    Raises CheckpointError naming it.
    """
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
            data = bytearray(status.st_size)
            if file.readinto(data) != len(data) or file.read(1):
                raise CheckpointError(f"{path} changes while it is being read.")
            return data
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from None
    except MemoryError:
        raise CheckpointError(f"{path} is too large for the memory here.") from None


def _open_plain(path: str, flags: int) -> int:
    """Open without following a link at the end and without waiting on a pipe."""
    return os.open(path, flags | PLAIN | NO_WAITING)
