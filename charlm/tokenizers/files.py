"""The files a tokenizer is kept in: checked JSON and, at subword level, a SentencePiece model."""

import json
from collections.abc import Mapping
from typing import Any

from charlm.errors import CheckpointError

HEADER_NAME = "tokenizer.json"
MODEL_NAME = "tokenizer.model"
MAX_FILE_BYTES = 64 * 1024 * 1024
_FORMAT = "charlm-tokenizer"
_VERSION = 1


def write_header(level: str, **fields: object) -> bytes:
    """The bytes of tokenizer.json: format, version, level and the level's own fields."""
    header = {"format": _FORMAT, "version": _VERSION, "level": level, **fields}
    # ASCII escapes carry lone surrogates, which UTF-8 cannot.
    return json.dumps(header, ensure_ascii=True).encode("ascii") + b"\n"


def read_file(files: Mapping[str, bytes], name: str) -> bytes:
    """The bytes of one file.

    Raises CheckpointError if it is missing or larger than MAX_FILE_BYTES.
    """
    if name not in files:
        raise CheckpointError(f"The tokenizer's file {name} is missing.")
    if len(files[name]) > MAX_FILE_BYTES:
        raise CheckpointError(f"{name} is larger than {MAX_FILE_BYTES >> 20} MiB.")
    return files[name]


def read_header(files: Mapping[str, bytes]) -> tuple[str, dict[str, Any]]:
    """The level, and the fields of that level, that tokenizer.json holds.

    Raises CheckpointError if the file is missing, too large, not JSON or of another format.
    """
    data = read_file(files, HEADER_NAME)
    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested too deep
        raise CheckpointError(f"{HEADER_NAME} is damaged: it is not valid JSON.") from error
    if not isinstance(header, dict) or header.pop("format", None) != _FORMAT:
        raise CheckpointError(f"{HEADER_NAME} does not describe a charlm tokenizer.")
    version = header.pop("version", None)
    if type(version) is not int or version != _VERSION:
        raise CheckpointError(
            f"{HEADER_NAME} has format version {version!r:.40}; "
            f"this charlm reads version {_VERSION}."
        )
    level = header.pop("level", None)
    if type(level) is not str:
        raise CheckpointError(f"{HEADER_NAME} does not name the level of its tokens.")
    return level, header


def check_fields(fields: Mapping[str, object], kinds: Mapping[str, type]) -> None:
    """Refuse fields that are not exactly those of ``kinds``, each of its type.

    Raises CheckpointError.
    """
    if fields.keys() != kinds.keys():
        raise CheckpointError(f"{HEADER_NAME} must have the fields {', '.join(kinds)}.")
    for name, kind in kinds.items():
        if type(fields[name]) is not kind:
            raise CheckpointError(
                f"{HEADER_NAME} is damaged: {name} is {type(fields[name]).__name__}, "
                f"not {kind.__name__}."
            )


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose keys are distinct; json alone would keep the last of each."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values
