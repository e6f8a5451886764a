"""The manifest of a directory: size and SHA-256 of its files, by which they are checked."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charlm.checkpoints.files import Content, parts_of, read_blocks, read_file
from charlm.checkpoints.json_objects import parse_json, to_json
from charlm.errors import CheckpointError

MANIFEST = "manifest.json"
_LARGEST = 2**16
_HASH = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """What a manifest says of a file."""

    sha256: str
    size: int


def entry_of(content: Content) -> Entry:
    """What a manifest says of a file that holds these bytes."""
    digest = hashlib.sha256()
    for part in parts_of(content):
        digest.update(part)
    return Entry(digest.hexdigest(), len(content))


def read_manifest(path: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """What the manifest of a directory says about it, and its files.

    Raises CheckpointError if it is missing, or is not as save_directory writes it.
    """
    name = path / MANIFEST
    data = read_file(name, _LARGEST)
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
            raise _damaged(path / name)
        # What arrays are made of stays as it is, so that they need no memory of their own.
        files[name] = data if name.endswith(".safetensors") else bytes(data)  # type: ignore[assignment]
    return files


def check_files(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raise CheckpointError unless the files of a directory are what its manifest tells.

    They are read a block at a time, however large they are.
    """
    for name, entry in sorted(entries.items()):
        digest = hashlib.sha256()
        for block in read_blocks(path / name, entry.size, entry.size):
            digest.update(block)
        if entry.sha256 != digest.hexdigest():
            raise _damaged(path / name)


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: it is not what was saved. Use another step or run.")


def manifest_bytes(about: Mapping[str, Any], entries: Mapping[str, Entry]) -> bytes:
    """The bytes of a manifest: its last field is the hash of what it would be without."""
    return _sealed({**about, "files": {name: entry._asdict() for name, entry in entries.items()}})


def _sealed(values: Mapping[str, Any]) -> bytes:
    return to_json({**values, "sha256": hashlib.sha256(to_json(values)).hexdigest()})
