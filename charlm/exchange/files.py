"""Files that are written for other programs: whole under their name, or not at all."""

import gzip
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from charlm.errors import CharlmError, UsageError

_LINES = 2**12  # joined at a time


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, packed if it is called .gz. Raises CharlmError if the disk refuses."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with gzip.open(temporary, "wb") if path.suffix == ".gz" else temporary.open("wb") as file:
            for data in joined(lines):
                file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        raise CharlmError(f"cannot write {path}: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def joined(lines: Iterable[str]) -> Iterable[bytes]:
    """Lines as UTF-8, many at a time."""
    some: list[str] = []
    for line in lines:
        some.append(line)
        if len(some) >= _LINES:
            yield ("\n".join(some) + "\n").encode()
            some.clear()
    if some:
        yield ("\n".join(some) + "\n").encode()


def check_new(directory: Path) -> None:
    """Raise UsageError unless a directory is empty or not there yet."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} holds something already: name a new or empty directory.")


def write_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new directory. Raises UsageError, or CharlmError if the disk refuses."""
    check_new(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(data)
    except OSError as error:
        raise CharlmError(f"cannot write {directory}: {error.strerror or error}.") from None
