"""Files that are read pass after pass: their sequences, some at a time, as often as one likes.

A sequence is a line, a paragraph or a file of plain text, packed or not; or, where a ``field`` is
named, what stands in that field of an object of JSON Lines, or in that column of a Parquet file.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from charlm.errors import TextError
from charlm.text import files
from charlm.text.binary.parquet import arrow, is_parquet
from charlm.text.fields import object_of, text_of
from charlm.text.files import Note
from charlm.text.formats import HEAD, packed_as
from charlm.text.lines import with_lf
from charlm.text.streaming import Piece, read_sequences, stream_lines, text_blocks

MOST = 2**26  # characters of a line, a paragraph or a field, which are held as a whole
_BLOCK = 2**20  # characters of sequences that are given out together, at least
_LOOKED_AT = 2**22  # characters of a file by whose look it is guessed what a sequence is
_ALL_LOOKED_AT = 2**24
_UNPACKED = 4  # what a packed file is thought to be times as large
_ROWS = 2**10
_PARQUET = b"PAR1"
_SURROGATE = re.compile("[\ud800-\udfff]")


class Block(NamedTuple):
    """Some sequences that follow one another, and how many bytes have been read for them in all."""

    texts: list[str]
    end: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceFiles:
    """Files, and how their sequences are found.

    Whatever cannot be read or decoded is a TextError when it comes to that.
    """

    paths: tuple[Path | str, ...]
    split_on: str = "line"
    field: str | None = None
    encoding: str = "utf-8"
    errors: str = "strict"

    @classmethod
    def below(
        cls,
        paths: Iterable[str | Path],
        *,
        split_on: str = "line",
        field: str | None = None,
        encoding: str = "utf-8",
        errors: str = "strict",
    ) -> "SequenceFiles":
        """The files that are named, and those below directories. Raises TextError if one lacks."""
        found: list[Path | str] = []
        for path in paths:
            found += ["-"] if str(path) == "-" else files.find_files(Path(path))
        if not found:
            raise TextError("there is no file to read.")
        return cls(
            paths=tuple(found), split_on=split_on, field=field, encoding=encoding, errors=errors
        )

    def blocks(self, note: Note = lambda _: None) -> Iterator[Block]:
        """The sequences, a million characters of them at a time; each is whole.

        Raises TextError for one of more than 67 million characters.
        """
        texts: list[str] = []
        size = end = 0
        for some, end in self._some(note):
            texts += some
            size += sum(map(len, some))
            if size >= _BLOCK:
                yield Block(texts, end)
                texts, size = [], 0
        yield Block(texts, end)

    def pieces(self, note: Note = lambda _: None) -> Iterator[Piece]:
        """The same in pieces, however long a sequence is (streaming.py)."""
        if self.field is not None:
            return (Piece(text, True, end) for some, end in self._some(note) for text in some)
        return read_sequences(
            self.paths, self.split_on, encoding=self.encoding, errors=self.errors, note=note
        )

    def beginnings(self) -> Iterator[tuple[str, str]]:
        """How each file begins, with its name: by that it is guessed what a sequence is."""
        left = _ALL_LOOKED_AT
        for path in self.paths:
            parts: list[str] = []
            size = 0
            source = files.opened(path, lambda _: None)
            for text, _ in text_blocks(source, self.encoding, self.errors, lambda _: None):
                parts.append(text)
                size += len(text)
                if size >= min(left, _LOOKED_AT):
                    break
            left = max(0, left - size)
            yield source.name, "".join(parts)

    def stamps(self) -> list[list[Any]]:
        """Path, bytes and time of change of each file, by which it is known to be as it was."""
        found = []
        for path in self.paths:
            status = os.stat(path)
            found.append([os.path.abspath(path), status.st_size, status.st_mtime_ns])
        return found

    def size(self) -> int:
        """About how many bytes of text there are; what is packed is taken for four times as many.

        Standard input counts for none: how much is there is not known before it is read.
        """
        return sum(_size(Path(path)) for path in self.paths if str(path) != "-")

    def _some(self, note: Note) -> Iterator[tuple[list[str], int]]:
        """Sequences as they come, and the bytes read up to there."""
        before = 0
        for path in self.paths:
            end = 0
            for texts, end in self._of_file(path, note):
                yield texts, before + end
            before += end

    def _of_file(self, path: Path | str, note: Note) -> Iterator[tuple[list[str], int]]:
        if self.field is not None:
            yield from (
                _parquet(Path(path), self.field)
                if is_parquet(path)
                else self._json(path, self.field, note)
            )
        elif self.split_on == "line":
            yield from self._lines(path, note)
        else:
            yield from self._others(path, note)

    def _lines(self, path: Path | str, note: Note) -> Iterator[tuple[list[str], int]]:
        held, end = "", 0
        source = files.opened(path, note)
        for text, end in text_blocks(source, self.encoding, self.errors, note):
            *lines, held = (held + text).split("\n")
            _check_length(source.name, len(held), "line")
            yield [line for line in lines if line and not line.isspace()], end
        if held and not held.isspace():
            yield [held], end

    def _others(self, path: Path | str, note: Note) -> Iterator[tuple[list[str], int]]:
        parts: list[str] = []
        options: dict[str, Any] = {"encoding": self.encoding, "errors": self.errors, "note": note}
        for piece in read_sequences([path], self.split_on, **options):
            parts.append(piece.text)
            _check_length(files.name_of(path), sum(map(len, parts)), self.split_on)
            if piece.ends:
                yield ["".join(parts)], piece.end
                parts = []

    def _json(self, path: Path | str, field: str, note: Note) -> Iterator[tuple[list[str], int]]:
        name, number = files.name_of(path), 0
        for line in stream_lines(path, encoding=self.encoding, errors=self.errors, note=note):
            if line is None:
                continue
            number += 1
            if line.problem is not None:
                raise TextError(line.problem)
            if not line.text.strip():
                continue
            try:
                text = text_of(object_of(line.text), field)
                if _SURROGATE.search(text):
                    raise ValueError(
                        f'its field "{field}" has half a surrogate pair, which is no character'
                    )
            except ValueError as error:
                raise TextError(f"{name}, line {number}: {error}.") from None
            _check_length(name, len(text), "field")
            if text.strip():
                yield [with_lf(text)], line.end


def _parquet(path: Path, column: str) -> Iterator[tuple[list[str], int]]:
    """The texts of a column, some rows at a time. Raises TextError if there is none."""
    pyarrow = arrow(path)
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BLOCK) as file:
            names = file.schema_arrow.names
            if column not in names:
                there = ", ".join(names[:20])
                raise TextError(f'{path} has no column "{column}". There are {there:.200}.')
            kind = file.schema_arrow.field(column).type
            if pyarrow.types.is_dictionary(kind):
                kind = kind.value_type
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise TextError(f'the column "{column}" of {path} holds {kind}, no text.')
            rows, size, done = max(1, file.metadata.num_rows), path.stat().st_size, 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=[column]):
                done += batch.num_rows
                texts = batch.column(0).to_pylist()
                for text in texts:
                    _check_length(str(path), len(text or ""), "text")
                found = [with_lf(text) for text in texts if text and not text.isspace()]
                yield found, size * done // rows
    except (OSError, pyarrow.ArrowException) as error:
        told = " ".join(str(error).split())
        raise TextError(f"cannot read {path}: {told:.200}.") from None


def _check_length(name: str, length: int, what: str) -> None:
    if length > MOST:
        raise TextError(
            f"{name} has a {what} of more than {MOST:,} characters. What is so long is a text of "
            "its own: let a sequence be a file (`split_on=file`)."
        )


def _size(path: Path) -> int:
    if not path.is_file():
        return 0
    try:
        with path.open("rb") as stream:
            packed = packed_as(stream.read(HEAD)) is not None
    except OSError:
        return 0
    return path.stat().st_size * (_UNPACKED if packed or is_parquet(path) else 1)
