"""Token stores: a text as ids on disk, with what its ids mean, for texts larger than memory.

    <directory>/tokens-<text>-<tokenizer>/
        train.ids, valid.ids     the ids of all tokens, each sequence closed by <EOS>
        text.json                sizes and fingerprint of the text, what it was made of and how
        tokenizer.json, …        what turned the text into ids, and what spells <UNK>
        manifest.json            SHA-256 and size of every other file

A store appears under its name only once it is whole. Several stand side by side; one that is
damaged is refused.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.disk import (
    DISK,
    TEMPORARY,
    Disk,
    NewDirectory,
    NewFile,
    delete,
    free_bytes,
    make_directories,
)
from charlm.checkpoints.files import read_blocks
from charlm.checkpoints.json_objects import parse_json, to_json
from charlm.checkpoints.lock import Lock
from charlm.checkpoints.manifest import MANIFEST, Entry, check_files, read_files, read_manifest
from charlm.checkpoints.tensors import parse_tensors
from charlm.errors import CheckpointError

FORMAT = 1
SIDES = ("train", "valid")
ABOUT = "text.json"
_NAME = "tokens-"
_LARGEST = 2**28  # bytes of a file that is read as a whole
_Ids: TypeAlias = NDArray[np.unsignedinteger[Any]]
DTYPES: dict[str, np.dtype[np.unsignedinteger[Any]]] = {
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
}
_IDS = tuple(f"{side}.ids" for side in SIDES)


class StoredIds(NamedTuple):
    """The ids of one side, on disk: N tokens below vocab_size in S sequences."""

    path: Path
    dtype: np.dtype[np.unsignedinteger[Any]]
    num_tokens: int
    num_sequences: int
    vocab_size: int

    def read(self, begin: int, end: int) -> _Ids:
        """The ids [begin, end), copied. Raises CheckpointError if they are no longer there."""
        offset = begin * self.dtype.itemsize
        size = (end - begin) * self.dtype.itemsize
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror}.") from None
        if len(data) != size:
            raise CheckpointError(f"{self.path} is damaged: it is shorter than it was.")
        found: _Ids = np.frombuffer(bytearray(data), self.dtype)
        return found


class TokenStore:
    """A store that was found whole. ``about`` is what text.json says."""

    def __init__(self, path: Path, about: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
        self.path, self.about, self._entries = path, about, entries

    @classmethod
    def open(cls, path: Path) -> "TokenStore":
        """The store of a directory, every byte compared with its manifest.

        Raises CheckpointError naming what is missing or damaged.
        """
        store = cls._described(path)
        check_files(path, store._entries)
        for side in SIDES:
            _check_ids(store.ids(side))
        return store

    @classmethod
    def _described(cls, path: Path) -> "TokenStore":
        """The same, nothing but its description read."""
        about, entries = read_manifest(path)
        if about.get("format") != FORMAT or not {ABOUT, *_IDS} <= entries.keys():
            raise CheckpointError(
                f"{path / MANIFEST} is of another format than this charlm's token stores."
            )
        found = read_files(path, {ABOUT: entries[ABOUT]}, lambda _: _LARGEST)
        return cls(path, parse_json(path / ABOUT, found[ABOUT]), entries)

    def ids(self, side: str) -> StoredIds:
        """Those of a side, train or valid. Raises CheckpointError for sizes that cannot be."""
        about = self.about
        try:
            dtype, vocab_size = DTYPES[about["dtype"]], about["vocab_size"]
            tokens, sequences = about[side]["tokens"], about[side]["sequences"]
        except (KeyError, TypeError):
            raise _undescribed(self.path) from None
        numbers = (vocab_size, tokens, sequences)
        if any(type(n) is not int or n < 0 for n in numbers) or not sequences <= tokens:
            raise _undescribed(self.path)
        if self._entries[f"{side}.ids"].size != tokens * dtype.itemsize:
            raise _undescribed(self.path)
        return StoredIds(self.path / f"{side}.ids", dtype, tokens, sequences, vocab_size)

    def files(self) -> dict[str, bytes]:
        """Its other files. Raises CheckpointError if one is damaged."""
        there = {name: one for name, one in self._entries.items() if name not in (ABOUT, *_IDS)}
        return read_files(self.path, there, lambda _: _LARGEST)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object of a file. Raises CheckpointError."""
        return parse_json(self.path / name, self._bytes(name))

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of a file. Raises CheckpointError."""
        return parse_tensors(self.path / name, self._bytes(name))

    def _bytes(self, name: str) -> bytes:
        if name not in self:
            raise CheckpointError(f"{self.path} has no {name}.")
        return read_files(self.path, {name: self._entries[name]}, lambda _: _LARGEST)[name]


def _undescribed(path: Path) -> CheckpointError:
    return CheckpointError(f"{path / ABOUT} is damaged: it does not describe the ids beside it.")


def _check_ids(ids: StoredIds) -> None:
    """Raise CheckpointError if one of the ids is none of the vocabulary."""
    size = ids.num_tokens * ids.dtype.itemsize
    for block in read_blocks(ids.path, size, size):
        found = np.frombuffer(block, ids.dtype)
        if len(found) and int(found.max()) >= ids.vocab_size:
            raise CheckpointError(f"{ids.path} is damaged: an id is not in its vocabulary.")


class Stores:
    """The stores of a directory, for their one writer: hold it open with ``with``.

    Nothing but what it writes is made, and an empty directory that it made is removed again.
    """

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self.root = root
        self._disk = disk
        self._lock = Lock(root / ".lock", doing="writing tokens to", other="store")
        self._made: list[Path] = []

    def __enter__(self) -> "Stores":
        path = self.root
        while not path.exists() and path != path.parent:
            self._made.append(path)
            path = path.parent
        try:
            make_directories(self.root, self._disk)
            self._lock.acquire()
        except OSError as error:
            self._unmake()
            self.refuse(error)
        delete([p for p in directory.children(self.root) if p.name.startswith(TEMPORARY)])
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._unmake()

    def _unmake(self) -> None:
        """Remove the directories that were made for nothing."""
        if any(path.name != ".lock" for path in directory.children(self.root)):
            return
        with contextlib.suppress(OSError):
            self._disk.unlink(self.root / ".lock")
        with contextlib.suppress(OSError):  # somebody else has put something there
            for path in self._made:
                if path.exists():
                    self._disk.rmdir(path)

    def find(
        self, fits: Callable[[Mapping[str, Any]], bool], say: Callable[[str], None]
    ) -> TokenStore | None:
        """A store whose description fits, every byte compared; one that is damaged is said."""
        for path in directory.children(self.root):
            if not path.name.startswith(_NAME) or not directory.is_directory(path):
                continue
            try:
                if fits(TokenStore._described(path).about):
                    return TokenStore.open(path)
            except CheckpointError:
                say(f"{path} is damaged: it is left alone, or written anew if it is needed")
        return None

    def scratch(self) -> Path:
        """A new directory for what is not to stay; ``discard`` it."""
        path = self.root / f"{TEMPORARY}counts"
        try:
            self._disk.mkdir(path)
        except OSError as error:
            self.refuse(error)
        return path

    def spill(self, path: Path, parts: Iterator[bytes]) -> None:
        """Write a file that is not to stay. Raises CheckpointError if the disk refuses."""
        try:
            file = NewFile(path, self._disk)
            try:
                for part in parts:
                    file.write(part)
            finally:
                file.close()
        except OSError as error:
            self.refuse(error)

    def discard(self, path: Path) -> None:
        """Remove a directory of scratch."""
        delete([path], self._disk)

    def check_room(self, size: int) -> None:
        """Raise CheckpointError if so many bytes do not fit."""
        free = free_bytes(self.root)
        if free is not None and free < size:
            raise CheckpointError(
                f"there is no room for the tokens at {self.root}: they take {size / 1e6:,.0f} MB, "
                f"and {free / 1e6:,.0f} MB are free. Make room there, or name another `store`."
            )

    def write(
        self,
        fingerprint: str,
        tokenizer: str,
        fill: Callable[[Mapping[str, NewFile]], tuple[Mapping[str, Any], Mapping[str, bytes]]],
    ) -> TokenStore:
        """A new store: ``fill`` writes the ids of both sides, and gives about and other files.

        Raises CheckpointError if the disk refuses; then nothing of it is left.
        """
        target = self.root / f"{_NAME}{fingerprint[:16]}-{tokenizer[:16]}"
        try:
            with NewDirectory(target, self._disk) as new:
                about, files = fill({side: new.file(f"{side}.ids") for side in SIDES})
                for name, data in {**files, ABOUT: to_json(about)}.items():
                    new.file(name).write(data)
                try:
                    new.keep({"format": FORMAT})
                except CheckpointError as error:
                    raise CheckpointError(
                        f"cannot write {target}: what was written reads back wrong ({error})."
                    ) from None
        except OSError as error:
            self.refuse(error)
        return TokenStore._described(target)

    def refuse(self, error: OSError) -> NoReturn:
        """Raise CheckpointError for what the disk refused."""
        directory.refuse(f"cannot write tokens to {self.root}", error, self.root)
