"""A file for each bucket of texts, and beside them what the bounds were."""

import contextlib
import errno
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from charlm.checkpoints.disk import DISK, TEMPORARY, Disk, replace_file
from charlm.checkpoints.json_objects import to_json
from charlm.errors import UsageError

_NAMES = {2: ("head", "tail"), 3: ("head", "middle", "tail")}
_BLOCK = 2**20  # bytes that wait to be written


def bucket_names(number: int) -> tuple[str, ...]:
    """What buckets are called, the one of the lowest perplexity first."""
    return _NAMES.get(number) or tuple(str(place) for place in range(1, number + 1))


class BucketFiles:
    """PREFIX.head.txt and so on, and PREFIX.buckets.json, which are there once all is written.

    Lines go into files under temporary names. At the end of the ``with`` the list of an earlier
    time is removed, the files get their names, and last comes the new list: where there is one,
    the files are those that it tells of, whole. If the ``with`` is left by an error, whatever
    stood under the names before stays. Raises OSError if the disk refuses.
    """

    def __init__(self, prefix: str, names: Sequence[str], suffix: str, disk: Disk = DISK) -> None:
        self.paths = [Path(f"{prefix}.{name}{suffix}") for name in names]
        self.list = Path(f"{prefix}.buckets.json")
        self.counts = [0] * len(names)
        self.about: Mapping[str, Any] = {}  # what the list tells; set before the end
        self._disk = disk
        self._temporary = [path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}") for path in self.paths]
        self._open: list[int] = []
        self._waiting = [bytearray() for _ in names]

    def check_against(self, source: str) -> None:
        """Raise UsageError if what is read would be replaced."""
        for path in (*self.paths, self.list):
            with contextlib.suppress(OSError):
                if source != "-" and path.samefile(source):
                    raise UsageError(f"{path} is what is read: give other names with --bucket-to.")

    def __enter__(self) -> Self:
        try:
            for path in self._temporary:
                self._open.append(self._disk.create(path))
        except BaseException:
            self._drop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._drop()

    def write(self, bucket: int, line: str, ending: str) -> None:
        """Put a text into a bucket, as it came: bytes that were no text are what they were."""
        self.counts[bucket] += 1
        self._write(bucket, line, ending)

    def write_all(self, line: str, ending: str) -> None:
        """Put a line that is no text, a header, into each of them."""
        for bucket in range(len(self.paths)):
            self._write(bucket, line, ending)

    def _write(self, bucket: int, line: str, ending: str) -> None:
        try:
            data = (line + ending).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half of a pair, which only JSON can spell
            data = (line + ending).encode("utf-8", "replace")
        self._waiting[bucket] += data
        if len(self._waiting[bucket]) >= _BLOCK:
            self._flush(bucket)

    def _flush(self, bucket: int) -> None:
        left = memoryview(bytes(self._waiting[bucket]))
        self._waiting[bucket].clear()
        try:
            while left:
                left = left[self._disk.write(self._open[bucket], left) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.paths[bucket])) from None

    def _finish(self) -> None:
        """Let the files appear."""
        for bucket, file in enumerate(self._open):
            self._flush(bucket)
            self._disk.fsync(file)
        for path in self.paths:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(self.list)
        for temporary, path in zip(self._temporary, self.paths, strict=True):
            self._disk.rename(temporary, path)
        replace_file(self.list, to_json(self.about), self._disk)

    def _drop(self) -> None:
        """Close the files, and delete those that are there under temporary names still."""
        for file in self._open:
            os.close(file)
        for _, path in zip(self._open, self._temporary, strict=False):
            with contextlib.suppress(OSError):
                self._disk.unlink(path)
        self._open = []
