"""A disk, written so that nothing is lost.

A directory is saved whole. It is made under a temporary name, each file is written and flushed to
the disk, last of all ``manifest.json`` with size and SHA-256 of every other; it is read back and
compared, and only then gets its name. A crash at any instant leaves what stood there before, or
the new one, and perhaps something under a temporary name, which the next writer deletes.

All that changes the disk goes through a ``Disk``; a test passes one of its own, which fails at
the k-th call or writes down what was done.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from charlm.checkpoints.files import NO_WAITING, PLAIN, Content, parts_of
from charlm.checkpoints.manifest import (
    MANIFEST,
    Entry,
    check_files,
    manifest_bytes,
    read_manifest,
)
from charlm.errors import CheckpointError

TEMPORARY = ".tmp-"  # how the names of unfinished things begin
ASIDE = ".old"  # how the name of a directory ends for the moment in which another takes its place
_ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "your quota there is used up: make room there",
    errno.EFBIG: "a limit on the size of files is reached: raise it (ulimit -f)",
    errno.EROFS: "make it writable",
    errno.EACCES: "get permission to write there",
    errno.EPERM: "get permission to write there",
    errno.EIO: "the disk may be failing: copy what is there to another one",
}


class Disk:
    """The calls that change what is on a disk, each as the system has it. Raises OSError."""

    def mkdir(self, path: Path) -> None:
        """Make a directory that is not there yet."""
        os.mkdir(path)

    def create(self, path: Path) -> int:
        """Open a file that is not there yet, for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o666)

    def extend(self, path: Path) -> int:
        """Open a file for writing at its end."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | PLAIN | NO_WAITING, 0o666)

    def directory(self, path: Path) -> int:
        """Open a directory, to fsync it."""
        return os.open(path, os.O_RDONLY | PLAIN)

    def write(self, file: int, data: memoryview) -> int:
        """Write some of the bytes; how many."""
        return os.write(file, data)

    def fsync(self, file: int) -> None:
        """Return once the disk holds what was written to a file, or the names of a directory."""
        os.fsync(file)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or a directory another name; a file of that name is replaced at once."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file, or a link."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        os.rmdir(path)


DISK = Disk()


class NewDirectory:
    """A directory in the making: hold it with ``with``; it appears when it is kept, or never does.

    Its files may grow side by side. Raises OSError if the disk refuses.
    """

    def __init__(self, target: Path, disk: Disk = DISK) -> None:
        self._target, self._disk = target, disk
        self._path = _temporary(target)
        self._files: dict[str, NewFile] = {}

    def __enter__(self) -> Self:
        self._disk.mkdir(self._path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()
        delete([self._path], self._disk)  # where it was kept there is nothing of that name

    def file(self, name: str) -> "NewFile":
        """A new file in it, to be written to."""
        self._files[name] = NewFile(self._path / name, self._disk)
        return self._files[name]

    def keep(self, about: Mapping[str, Any]) -> None:
        """Write the manifest, which says ``about`` too, read all of it back, and give it its name.

        Raises CheckpointError if what was written reads back wrong.
        """
        for file in self._files.values():
            file.finish()
        entries = {name: file.entry for name, file in self._files.items()}
        _write_new(self._path / MANIFEST, manifest_bytes(about, entries), self._disk)
        _sync_directory(self._path, self._disk)
        check_files(self._path, read_manifest(self._path)[1])
        _put_in_place(self._path, self._target, self._disk)


class NewFile:
    """A file that grows, its size and SHA-256 known. Raises OSError if the disk refuses."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self._file: int | None = disk.create(path)
        self._disk = disk
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: "bytes | memoryview") -> None:
        """Put bytes at its end."""
        assert self._file is not None
        left = memoryview(data)
        if not left.nbytes:
            return
        left = left.cast("B")
        self._digest.update(left)
        self._size += len(left)
        _check_regular(self._file)
        while left:
            left = left[self._disk.write(self._file, left) :]

    def finish(self) -> None:
        """Return once the disk holds it."""
        if self._file is not None:
            self._disk.fsync(self._file)
            self.close()

    def close(self) -> None:
        """Write no more to it."""
        if self._file is not None:
            os.close(self._file)
        self._file = None

    @property
    def entry(self) -> Entry:
        """What a manifest says of it."""
        return Entry(self._digest.hexdigest(), self._size)


def save_directory(
    target: Path, files: Mapping[str, Content], about: Mapping[str, Any], disk: Disk = DISK
) -> None:
    """Make a directory of these files and a manifest, which says ``about`` too, appear at once.

    What stood there before stays until the new one has taken its place, and may be met under the
    name with ``.old`` behind it if the machine stops in that moment. Raises OSError if the disk
    refuses, CheckpointError if what was written reads back wrong; then nothing has changed.
    """
    with NewDirectory(target, disk) as new:
        for name, content in files.items():
            file = new.file(name)
            for part in parts_of(content):
                file.write(part)
            file.finish()
        new.keep(about)


def replace_file(path: Path, data: bytes, disk: Disk = DISK) -> None:
    """Replace a file at once: whoever reads sees the old or the new one. Raises OSError."""
    temporary = _temporary(path)
    try:
        _write_new(temporary, data, disk)
        disk.rename(temporary, path)
        _sync_directory(path.parent, disk)
    except BaseException:
        delete([temporary], disk)
        raise


def append(path: Path, data: bytes, disk: Disk = DISK) -> None:
    """Put bytes at the end of a file and wait until they are on the disk. Raises OSError."""
    _write_and_sync(disk.extend(path), data, disk)


def make_directories(path: Path, disk: Disk = DISK) -> None:
    """Make a directory and those above it that are missing, for good. Raises OSError.

    Links above it are followed: they are of the person who named the path.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_directories(path.parent, disk)
    with contextlib.suppress(FileExistsError):  # another process was first
        disk.mkdir(path)
        _sync_directory(path.parent.resolve(), disk)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def delete(paths: Iterable[Path], disk: Disk = DISK) -> None:
    """Delete files and directories of files as far as the disk lets us; links themselves.

    None of them is ever seen half deleted, not even after a crash: each gets a temporary name
    first, and the disk knows that before the first file goes. What is left is swept up later.
    """
    doomed = []
    for path in paths:
        hidden = path
        with contextlib.suppress(OSError):
            if not path.name.startswith(TEMPORARY):
                hidden = hide(path, disk)
            doomed.append(hidden)
    for hidden in doomed:
        with contextlib.suppress(OSError):
            _delete_now(hidden, disk)


def hide(path: Path, disk: Disk = DISK) -> Path:
    """Give something a temporary name, for good, and return that. Raises OSError."""
    hidden = _temporary(path)
    disk.rename(path, hidden)
    _sync_directory(path.parent, disk)
    return hidden


def put_back(aside: Path, disk: Disk = DISK) -> None:
    """Undo what a crash interrupted: give a directory set aside its name again. Raises OSError."""
    disk.rename(aside, aside.with_name(aside.name.removesuffix(ASIDE)))
    _sync_directory(aside.parent, disk)


def explained(what: str, error: OSError, *, has_save: bool) -> CheckpointError:
    """The error of a write that failed: what happened, and what to do."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "see that it can be written to")
    if has_save:
        after = f"Earlier checkpoints are untouched; {advice} and go on with `resume`."
    else:
        after = f"There is no earlier checkpoint; {advice} and begin again."
    return CheckpointError(f"{what}: {reason}. {after}")


def free_bytes(path: Path) -> int | None:
    """What may still be written below a directory, or None where that cannot be told."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return usage.free if usage.total else None  # some network file systems say 0 of 0


def _put_in_place(temporary: Path, target: Path, disk: Disk) -> None:
    aside = target.with_name(target.name + ASIDE)
    if os.path.lexists(target):
        # No system renames a directory over another that holds files, so for a moment the old one
        # goes by a name that readers know too.
        if os.path.lexists(aside):
            delete([aside], disk)
        disk.rename(target, aside)
    try:
        disk.rename(temporary, target)
        _sync_directory(target.parent, disk)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(target):
            with contextlib.suppress(OSError):
                disk.rename(aside, target)
        raise
    if os.path.lexists(aside):
        delete([aside], disk)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")


def _write_new(path: Path, data: bytes, disk: Disk) -> None:
    _write_and_sync(disk.create(path), data, disk)


def _write_and_sync(file: int, data: bytes, disk: Disk) -> None:
    try:
        _check_regular(file)
        left = memoryview(data)
        while left:
            left = left[disk.write(file, left) :]
        disk.fsync(file)
    finally:
        os.close(file)


def _check_regular(file: int) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _sync_directory(path: Path, disk: Disk) -> None:
    file = disk.directory(path)
    try:
        disk.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system on which directories have no fsync
            raise
    finally:
        os.close(file)


def _delete_now(path: Path, disk: Disk) -> None:
    if not stat.S_ISDIR(path.lstat().st_mode):
        disk.unlink(path)
        return
    for child in list(path.iterdir()):
        with contextlib.suppress(OSError):  # a directory: not ours, and left alone
            disk.unlink(child)
    disk.rmdir(path)
