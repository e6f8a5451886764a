"""Files and standard input as bytes: found, opened, unpacked where they are packed.

What they are is told by their first bytes, not by their names (formats.py).
"""

import bz2
import importlib
import lzma
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from charlm.errors import TextError
from charlm.text.formats import HEAD, PACKED, format_of, may_be_begun, packed_as, said_of_marks

Note: TypeAlias = Callable[[str], None]  # is told what a person may want to hear
Chunks: TypeAlias = Iterator[bytes | None]  # None: a reader of a pipe would have to wait

_BLOCK = 2**18  # bytes that are given out at most at a time
_PACKED_BLOCK = 2**16  # bytes that are read at a time of what is packed
_MOST_MEMORY = 2**28  # bytes that unpacking xz may take; xz -9 takes a quarter of it
# What unpacks to more than that is no text: zeros, made so as to fill a memory.
_MOST_TIMES, _FREE = 500, 2**28
_SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".lzma": "lzma", ".zst": "zstd"}


class Source(NamedTuple):
    """Bytes to be read, unpacked: by what name, how they begin, and all of them in chunks."""

    name: str
    head: bytes
    chunks: Chunks

    def read(self) -> bytes:
        """All of them at once."""
        return b"".join(chunk for chunk in self.chunks if chunk is not None)


def name_of(file: str | Path) -> str:
    """What a file is called when something is said of it."""
    return "standard input" if str(file) == "-" else str(file)


def plain_name(path: str | Path) -> Path:
    """The path without the suffix of what it is packed with, if it has one."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in _SUFFIXES else path


def find_files(path: Path) -> list[Path]:
    """The file, or the files below a directory but hidden ones, in order.

    Raises TextError if there is none.
    """
    if path.is_dir():
        found = (p for p in path.rglob("*") if p.is_file())
        files = sorted(
            p for p in found if not any(part[0] == "." for part in p.relative_to(path).parts)
        )
        if not files:
            raise TextError(f"the directory {path} holds no file to read.")
        return files
    if not path.exists():
        raise TextError(f"there is no file {path}.")
    if not (path.is_file() or path.is_fifo()):
        raise TextError(f"{path} is neither a file nor a directory.")
    return [path]


def unpacked_size(path: Path) -> int | None:
    """The bytes of a file; None where that is not known before it is read."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        packed = packed_as(stream.read(HEAD))
    return None if packed else path.stat().st_size


def opened(file: str | Path, note: Note) -> Source:
    """The bytes of a file or of standard input (``-``), unpacked if they are packed.

    Packed is gzip, bzip2, xz or, where Python or the package zstandard can, zstd.

    Nothing is held but a block. Raises TextError, also while they are read, if they cannot be,
    are damaged, or are of a format that is no text.
    """
    name = name_of(file)
    head, chunks = _looked_at(_raw(file, name))
    packed = packed_as(head)
    promised = _SUFFIXES.get(Path(file).suffix)
    if promised is not None and head and packed is None:
        raise TextError(f"cannot read {name}: it is no {promised} data, as its name says it is.")
    if packed is not None:
        head, chunks = _looked_at(_unpacked(name, packed, chunks, note))
        if packed_as(head):
            raise TextError(f"{name} is packed twice. Unpack it first, once at least.")
    found = format_of(head)
    if found is not None:
        inside = f" in {packed}" if packed else ""
        raise TextError(f"{name} is {found.name}{inside}, no plain text. {found.cure}.")
    said = said_of_marks(head)
    if said is not None:
        note(f"{name}: {said}")
    return Source(name, head, chunks)


def _raw(file: str | Path, name: str) -> Chunks:
    """The bytes as they lie there."""
    try:
        if str(file) == "-":
            yield from _chunks(sys.stdin.buffer)
        else:
            with Path(file).open("rb") as stream:
                yield from _chunks(stream)
    except OSError as error:
        raise TextError(f"cannot read {name}: {error.strerror or error}.") from None


def _chunks(stream: Any) -> Chunks:
    """A stream in chunks; of a pipe what is there, and None where more would have to be awaited."""
    if not _is_pipe(stream):
        while chunk := stream.read(_BLOCK):
            yield chunk
        return
    while True:
        if has_to_wait(stream):
            yield None
        chunk = stream.read1(_PACKED_BLOCK)  # nothing stays behind in a buffer
        if not chunk:
            return
        yield chunk


def has_to_wait(stream: Any) -> bool:
    """Whether a stream is a pipe that has no more to give at the moment."""
    return _is_pipe(stream) and not select.select([stream], [], [], 0)[0]


def _is_pipe(stream: Any) -> bool:
    """Whether what reads a stream may have to wait for it, and can be told so."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (AttributeError, OSError):  # bytes in memory
        return False
    waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
    return waits and os.name == "posix" and hasattr(stream, "read1")


def _looked_at(chunks: Chunks) -> tuple[bytes, Chunks]:
    """The first bytes, as many as are there at once, and all of them."""
    begun = b""
    waits = False
    for chunk in chunks:
        begun += chunk or b""
        waits = chunk is None and bool(begun) and not may_be_begun(begun)
        if waits or len(begun) >= HEAD:
            break

    def all_of() -> Chunks:
        for at in range(0, len(begun), _BLOCK):
            yield begun[at : at + _BLOCK]
        if waits:
            yield None
        yield from chunks

    return begun[:HEAD], all_of()


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Gzip:
    """One member of a gzip file, with the methods that bz2 and lzma have."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Zstd:
    """One frame of zstd, with the same methods."""

    # Bytes that are unpacked at a time, the more of them the less comes of them: 4 can stand for
    # 128 KiB, and nothing limits what a call gives.
    _LEAST, _MOST, _MUCH = 2**7, 2**10, 2**18

    def __init__(self) -> None:
        self._inner, self._error = _zstd()
        self._waiting = b""
        self._slice = self._LEAST

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self._waiting

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        waiting = memoryview(self._waiting + data)
        parts: list[bytes] = []
        size = 0
        try:
            while waiting and not self.eof and (size < max_length or max_length < 0):
                part = self._inner.decompress(waiting[: self._slice])
                waiting = waiting[self._slice :]
                few = len(part) < self._MUCH
                self._slice = min(self._MOST, 2 * self._slice) if few else self._LEAST
                parts.append(part)
                size += len(part)
        except self._error as error:
            raise OSError(str(error)) from None
        self._waiting = bytes(waiting)
        return b"".join(parts)


def _zstd() -> tuple[Any, type[Exception]]:
    """What unpacks a frame of zstd, and the error that it raises."""
    try:
        module = importlib.import_module("compression.zstd")  # Python 3.14 and later
        return module.ZstdDecompressor(), module.ZstdError
    except ImportError:
        pass
    try:
        module = importlib.import_module("zstandard")
    except ImportError:
        raise TextError(
            "to read zstd data the package zstandard is needed: pip install 'charlm[zstd]'. Or "
            "unpack it first (zstd -d)."
        ) from None
    unpacker = module.ZstdDecompressor(max_window_size=_MOST_MEMORY)
    return unpacker.decompressobj(), module.ZstdError


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MOST_MEMORY),
    "zstd": _Zstd,
}
assert tuple(_UNPACKERS) == PACKED


def _unpacked(name: str, packed: str, chunks: Chunks, note: Note) -> Chunks:
    """What is packed, all its members one after another; bytes that are none come to a note."""
    unpacker: _Unpacker | None = _UNPACKERS[packed]()
    read = written = 0
    held = b""  # what comes after a member
    try:
        for chunk in chunks:
            if chunk is None:
                yield None
                continue
            read += len(chunk)
            data = held + chunk
            held = b""
            while data:
                if unpacker is None:
                    data = data.lstrip(b"\0")  # padding
                    if len(data) < HEAD and may_be_begun(data):
                        held, data = data, b""
                        break
                    if data and packed_as(data) != packed:
                        held = data
                        break
                    if not data:
                        break
                    unpacker = _UNPACKERS[packed]()
                while unpacker is not None:
                    part = unpacker.decompress(data, _BLOCK)
                    data = b""
                    written += len(part)
                    if written > _FREE and written > _MOST_TIMES * read:
                        raise TextError(
                            f"{name} unpacks to more than {_MOST_TIMES} times its size, as no "
                            f"text does. If it is text, unpack it first."
                        )
                    if part:
                        yield part
                    if unpacker.eof:
                        data, unpacker = unpacker.unused_data, None
                    elif len(part) < _BLOCK and unpacker.needs_input:
                        break
            if held and not may_be_begun(held):
                break
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise TextError(f"cannot read {name}: its {packed} data is damaged ({error}).") from None
    if unpacker is not None:
        raise TextError(f"cannot read {name}: its {packed} data is cut short.")
    if held:
        note(f"{name}: left out the bytes after the end of its {packed} data")
