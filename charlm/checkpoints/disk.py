"""Bytes and directories: written so that nothing is lost, read so that nothing is trusted.

A directory is saved whole. It is made under a temporary name, each file is written and flushed to
the disk, last of all ``manifest.json`` with size and SHA-256 of every other; it is read back and
compared, and only then gets its name. A crash at any instant leaves what stood there before, or
the new one, and perhaps something under a temporary name, which the next writer sweeps away.

All that changes the disk goes through a ``Disk``; a test passes one of its own, which fails at
the k-th call or writes down what was done. Only regular files are read, links are not followed,
sizes are compared before anything is allocated, and no file is a pickle.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CheckpointError, LockedError

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"  # how the names of unfinished things begin
ASIDE = ".old"  # how the name of a directory ends for the moment in which another takes its place
LARGEST_MANIFEST = 2**16
_MOST_PARTS = 10_000_000  # strings, lists and commas of a JSON file: what it may take to hold it
_LARGEST_HEADER = 2**22  # of a file of tensors
_PATIENCE = 1.0  # seconds in which the holder of a lock has to say who it is
_HASH = re.compile(r"[0-9a-f]{64}")
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "|b1",
}
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # on a pipe that nobody writes to
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
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666)

    def extend(self, path: Path) -> int:
        """Open a file for writing at its end."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _PLAIN | _NO_WAITING, 0o666)

    def directory(self, path: Path) -> int:
        """Open a directory, to fsync it."""
        return os.open(path, os.O_RDONLY | _PLAIN)

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


class Entry(NamedTuple):
    """What a manifest says of a file."""

    sha256: str
    size: int


# Writing


def save_directory(
    target: Path, files: Mapping[str, bytes], about: Mapping[str, Any], disk: Disk = DISK
) -> None:
    """Make a directory of these files and a manifest, which says ``about`` too, appear at once.

    What stood there before stays until the new one has taken its place, and may be met under the
    name with ``.old`` behind it if the machine stops in that moment. Raises OSError if the disk
    refuses, CheckpointError if what was written reads back wrong; then nothing has changed.
    """
    temporary = _temporary(target)
    try:
        disk.mkdir(temporary)
        for name, data in files.items():
            _write_new(temporary / name, data, disk)
        entries = {
            name: Entry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()
        }
        _write_new(temporary / MANIFEST, _manifest(about, entries), disk)
        _sync_directory(temporary, disk)
        read_files(temporary, read_manifest(temporary)[1], lambda name: len(files[name]))
        _put_in_place(temporary, target, disk)
    except BaseException:
        remove([temporary], disk)
        raise


def replace_file(path: Path, data: bytes, disk: Disk = DISK) -> None:
    """Replace a file at once: whoever reads sees the old or the new one. Raises OSError."""
    temporary = _temporary(path)
    try:
        _write_new(temporary, data, disk)
        disk.rename(temporary, path)
        _sync_directory(path.parent, disk)
    except BaseException:
        remove([temporary], disk)
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


def remove(paths: Iterable[Path], disk: Disk = DISK) -> None:
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
            _delete(hidden, disk)


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
        after = f"Earlier checkpoints are untouched; {advice} and go on with --resume."
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
            remove([aside], disk)
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
        remove([aside], disk)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")


def _write_new(path: Path, data: bytes, disk: Disk) -> None:
    _write_and_sync(disk.create(path), data, disk)


def _write_and_sync(file: int, data: bytes, disk: Disk) -> None:
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        left = memoryview(data)
        while left:
            left = left[disk.write(file, left) :]
        disk.fsync(file)
    finally:
        os.close(file)


def _sync_directory(path: Path, disk: Disk) -> None:
    file = disk.directory(path)
    try:
        disk.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system on which directories have no fsync
            raise
    finally:
        os.close(file)


def _delete(path: Path, disk: Disk) -> None:
    if not stat.S_ISDIR(path.lstat().st_mode):
        disk.unlink(path)
        return
    for child in list(path.iterdir()):
        with contextlib.suppress(OSError):  # a directory: not ours, and left alone
            disk.unlink(child)
    disk.rmdir(path)


# Reading


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


def read_manifest(path: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """What the manifest of a directory says about it, and its files.

    Raises CheckpointError if it is missing, or is not as save_directory writes it.
    """
    name = path / MANIFEST
    data = read_file(name, LARGEST_MANIFEST)
    about = parse_json(name, data)
    written = about.pop("sha256", None)  # manifests of older versions have none
    if written is not None and data != _sealed(about):
        raise CheckpointError(f"{name} is damaged: it is not what was saved.")
    listed = about.pop("files", None)
    if not isinstance(listed, dict):
        raise CheckpointError(f"{name} is not a list of a checkpoint's files.")
    files = {}
    for file, entry in listed.items():
        values = entry if isinstance(entry, dict) and entry.keys() == {"sha256", "size"} else {}
        digest, size = values.get("sha256"), values.get("size")
        if type(digest) is not str or not _HASH.fullmatch(digest) or type(size) is not int:
            raise CheckpointError(f"{name} does not tell size and SHA-256 of {file!r:.60}.")
        files[file] = Entry(digest, size)
    return about, files


def read_files(
    path: Path, entries: Mapping[str, Entry], largest: Callable[[str], int]
) -> dict[str, bytes]:
    """The files of a directory, each with the size and hash that its manifest tells.

    ``largest`` tells for each name what it may have at most; the size is known to be right before
    the file is read. Raises CheckpointError naming the file that is damaged or missing.
    """
    files: dict[str, bytes] = {}
    for name, entry in sorted(entries.items()):
        data = read_file(path / name, largest(name), entry.size)
        if entry.sha256 != hashlib.sha256(data).hexdigest():
            raise CheckpointError(
                f"{path / name} is damaged: it is not what was saved. Use another step or run."
            )
        # What arrays are made of stays as it is, so that they need no memory of their own.
        files[name] = data if name.endswith(".safetensors") else bytes(data)  # type: ignore[assignment]
    return files


def parse_json(name: Path, data: bytes | bytearray) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError naming the file if it is none, or out of bounds."""
    check_parts(name, data)
    try:
        value = json.loads(
            data, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_distinct
        )
    except (ValueError, RecursionError):  # the latter: brackets nested too deep
        raise CheckpointError(f"{name} is damaged: it is not JSON.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} is damaged: it is not a JSON object.")
    return value


def check_parts(name: Path, data: bytes | bytearray) -> None:
    """Raise CheckpointError if what a JSON file holds would take far more memory than the file."""
    if sum(map(data.count, (b"[", b"{", b",", b'"'))) > _MOST_PARTS:
        raise CheckpointError(f"{name} is damaged: no file of a checkpoint has so many parts.")


def to_json(value: object) -> bytes:
    """JSON as charlm writes it: never NaN or Infinity."""
    return (json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1) + "\n").encode()


def parse_tensors(name: Path, data: bytes | bytearray) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, which share the memory of its bytes.

    The header is compared with the bytes there are before an array is made of them: tensors lie
    one behind the other and fill the file. Raises CheckpointError naming the file.
    (The format: https://huggingface.co/docs/safetensors, "Format".)
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_LARGEST_HEADER, len(data) - 8):
        raise CheckpointError(f"{name} is damaged: its header is cut short or too long.")
    header = parse_json(name, data[8 : 8 + length])
    header.pop("__metadata__", None)
    begins = 8 + length
    try:
        tensors = sorted((_Tensor.of(key, value) for key, value in header.items()), key=_place)
    except ValueError as error:
        raise CheckpointError(f"{name} is damaged: {error}.") from None
    at = 0
    for tensor in tensors:
        if tensor.begin != at:
            raise CheckpointError(f"{name} is damaged: {tensor.name!r:.60} is not in its place.")
        at = tensor.end
    if at != len(data) - begins:
        raise CheckpointError(f"{name} is damaged: its tensors do not fill the file.")
    arrays = {}
    for tensor in tensors:
        count = math.prod(tensor.shape)
        array = np.frombuffer(data, tensor.dtype, count, begins + tensor.begin)
        array = array if array.flags.aligned else array.copy()
        arrays[tensor.name] = array.reshape(tensor.shape)
    return {key: arrays[key] for key in header}


class _Tensor(NamedTuple):
    """A tensor as the header of a file describes it, from byte ``begin`` to byte ``end``."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int

    @classmethod
    def of(cls, name: str, value: object) -> Self:
        """One entry of a header. Raises ValueError if it contradicts itself."""
        fields = value if isinstance(value, dict) else {}
        if fields.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name!r:.60} is not described")
        kind, shape, place = fields["dtype"], fields["shape"], fields["data_offsets"]
        if type(kind) is not str or kind not in _DTYPES:
            raise ValueError(f"{name!r:.60} is of the type {kind!r:.20}, which charlm never writes")
        if not _are_sizes(shape) or len(shape) > 8:
            raise ValueError(f"{name!r:.60} has no shape")
        if not _are_sizes(place) or len(place) != 2:
            raise ValueError(f"{name!r:.60} has no place")
        dtype = np.dtype(_DTYPES[kind])
        if math.prod(shape) * dtype.itemsize != place[1] - place[0]:  # whole numbers: no overflow
            raise ValueError(f"{name!r:.60} is not of the size of its shape")
        return cls(name, dtype, tuple(shape), *place)


def _place(tensor: _Tensor) -> tuple[int, int]:
    return tensor.begin, tensor.end


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _manifest(about: Mapping[str, Any], entries: Mapping[str, Entry]) -> bytes:
    """The bytes of a manifest: its last field is the hash of what it would be without."""
    return _sealed({**about, "files": {name: entry._asdict() for name, entry in entries.items()}})


def _sealed(values: Mapping[str, Any]) -> bytes:
    return to_json({**values, "sha256": hashlib.sha256(to_json(values)).hexdigest()})


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose keys are distinct; json alone would keep the last of each."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _open_plain(path: str, flags: int) -> int:
    """Open without following a link at the end and without waiting on a pipe."""
    return os.open(path, flags | _PLAIN | _NO_WAITING)


# One writer


class Lock:
    """Held by the one process that writes to a directory; the file tells which that is."""

    def __init__(self, path: Path) -> None:
        import filelock  # readers need none

        self._path = path
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
                f"{who} is training in {self._path.parent}. Wait until it is done, or train under "
                "another --name."
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
            file = os.open(self._path, os.O_WRONLY | os.O_TRUNC | _PLAIN | _NO_WAITING)
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
