"""Disks for tests: one that fails, one that writes down what was done, and the crashes of that."""

# ruff: noqa: D102 - Disk says what its methods do

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from charlm.checkpoints.disk import DISK, Disk

Tree = dict[str, bytes | None]  # paths below a directory; None is a directory


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """A directory on a disk that is quick to fsync, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as path:
        yield Path(path)


class Failing(Disk):
    """Its k-th change fails with an error number, and as that error is, more fail after it.

    A full disk still deletes and renames; one turned read-only does nothing any more; an I/O
    error comes once. A write that fails has written the first half. ``dead`` is a machine that
    stops: nothing is done any more at all.
    """

    def __init__(self, k: int, number: int, *, dead: bool = False) -> None:
        self.calls, self.k, self.number, self.dead = 0, k, number, dead

    def _fails(self, grows: bool) -> bool:
        self.calls += 1
        at = self.calls - 1
        if self.dead or self.number == errno.EROFS:
            return at >= self.k
        if self.number in (errno.ENOSPC, errno.EDQUOT):
            return grows and at >= self.k
        return at == self.k

    def _change(self, *, grows: bool) -> None:
        if self._fails(grows):
            raise OSError(self.number, os.strerror(self.number))

    def mkdir(self, path: Path) -> None:
        self._change(grows=True)
        super().mkdir(path)

    def create(self, path: Path) -> int:
        self._change(grows=True)
        return super().create(path)

    def extend(self, path: Path) -> int:
        self._change(grows=True)
        return super().extend(path)

    def write(self, file: int, data: memoryview) -> int:
        if self._fails(grows=True):
            if self.calls - 1 == self.k:
                super().write(file, data[: len(data) // 2])
            raise OSError(self.number, os.strerror(self.number))
        return super().write(file, data)

    def fsync(self, file: int) -> None:
        self._change(grows=True)
        super().fsync(file)

    def rename(self, old: Path, new: Path) -> None:
        self._change(grows=False)
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._change(grows=False)
        super().unlink(path)

    def rmdir(self, path: Path) -> None:
        self._change(grows=False)
        super().rmdir(path)


_CALLS = (
    *("mkdir", "create", "extend", "directory", "write", "fsync", "rename", "unlink", "rmdir"),
)


@contextlib.contextmanager
def everywhere(disk: Disk) -> Iterator[None]:
    """Meanwhile all that is done to a disk is done by this one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(DISK, name, getattr(disk, name))
        yield


class Op(NamedTuple):
    """One change: what, of which path below the root, and the bytes or the other name."""

    what: str
    path: str
    data: bytes = b""
    to: str = ""


class Recorder(Disk):
    """Does everything, and writes it down."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ops: list[Op] = []
        self._open: dict[int, str] = {}

    def _add(self, what: str, path: Path, *, to: Path | None = None) -> str:
        name = str(path.relative_to(self.root))
        self.ops.append(Op(what, name, to=str(to.relative_to(self.root)) if to else ""))
        return name

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._add("mkdir", path)

    def create(self, path: Path) -> int:
        file = super().create(path)
        self._open[file] = self._add("create", path)
        return file

    def extend(self, path: Path) -> int:
        there = path.exists()
        file = super().extend(path)
        if not there:
            self._add("create", path)
        self._open[file] = str(path.relative_to(self.root))
        return file

    def directory(self, path: Path) -> int:
        file = super().directory(path)
        self._open[file] = str(path.relative_to(self.root))
        return file

    def write(self, file: int, data: memoryview) -> int:
        count = super().write(file, data)
        self.ops.append(Op("write", self._open[file], bytes(data[:count])))
        return count

    def fsync(self, file: int) -> None:
        super().fsync(file)
        self.ops.append(Op("fsync", self._open[file]))

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._add("rename", old, to=new)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._add("unlink", path)

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self._add("rmdir", path)


def snapshot(root: Path) -> Tree:
    """What is below a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if not path.is_symlink()
    }


def restore(tree: Tree, root: Path) -> None:
    """Make a directory of what was below another."""
    root.mkdir()
    for name in sorted(tree):
        data = tree[name]
        if data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(data)


def crash_states(before: Tree, ops: list[Op]) -> Iterator[Tree]:
    """What may be found after a crash at any point of ``ops``, each state once, the latest first.

    The disk holds what was there before and any prefix of the operations. Of that prefix, what
    was not yet flushed may be otherwise: names that were made, changed or taken in a directory
    since its last fsync may be lost, one or all of them, and a file with bytes that were not
    flushed may be missing, empty, cut or zeroed.
    """
    seen = set()
    for length in reversed(range(len(ops) + 1)):
        prefix = ops[:length]
        loose = [i for i, op in enumerate(prefix) if op.what in _NAMING and _is_loose(prefix, i)]
        lost: list[set[int]] = [set(), *({i} for i in loose), set(loose)]
        for gone in lost:
            tree = _replay(before, [op for i, op in enumerate(prefix) if i not in gone])
            for state in (tree, *_torn(tree, prefix)):
                key = hash(frozenset(state.items()))
                if key not in seen:
                    seen.add(key)
                    yield state


_NAMING = ("mkdir", "create", "rename", "unlink", "rmdir")


def _is_loose(ops: list[Op], index: int) -> bool:
    """Whether the disk may not know yet of a change of names."""
    parent = os.path.dirname(ops[index].path) or "."
    return not any(op.what == "fsync" and op.path == parent for op in ops[index:])


def _torn(tree: Tree, ops: list[Op]) -> Iterator[Tree]:
    """The states in which a file that was not flushed is missing, empty, cut or zeroed."""
    dirty = {}
    for op in ops:
        if op.what == "write":
            dirty[op.path] = True
        elif op.what == "fsync":
            dirty.pop(op.path, None)
        elif op.what == "rename":
            for name in [n for n in dirty if f"{n}/".startswith(f"{op.path}/")]:
                dirty[op.to + name[len(op.path) :]] = dirty.pop(name)
    for name in dirty:
        data = tree.get(name)
        if data is not None:
            yield {key: value for key, value in tree.items() if key != name}
            for other in (b"", data[: len(data) // 2], bytes(len(data))):
                yield {**tree, name: other}


def _replay(before: Tree, ops: list[Op]) -> Tree:
    """The operations one after another; one that cannot be done without a lost one is skipped."""
    tree = dict(before)
    for what, path, data, to in ops:
        parent = os.path.dirname(path)
        inside = [name for name in tree if name.startswith(f"{path}/")]
        if what == "mkdir" and (not parent or parent in tree):
            tree[path] = None
        elif what == "create" and (not parent or parent in tree):
            tree[path] = b""
        elif what == "write" and tree.get(path) is not None:
            tree[path] = (tree[path] or b"") + data
        elif (what == "unlink" or (what == "rmdir" and not inside)) and path in tree:
            del tree[path]
        elif what == "rename" and path in tree:
            if tree[path] is None and to in tree:
                continue
            for name in (path, *inside):
                tree[to + name[len(path) :]] = tree.pop(name)
    return tree
