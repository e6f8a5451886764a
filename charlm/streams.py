"""Files that are read as they come, in bounded memory: line by line, or sequence by sequence."""

import codecs
import contextlib
import gzip
import io
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from charlm.corpus import dropped_mark, find_files, not_text, refuse_utf16, without_cr
from charlm.errors import TextError, UsageError

_CHUNK = 2**16  # bytes of a pipe that are taken at most at a time
_BLOCK = 2**18  # bytes of a file that are decoded at a time
_MARK = "\ufeff"
Note: TypeAlias = Callable[[str], None]  # is told what a person may want to hear


class Line(NamedTuple):
    """A line without its end, and the bytes of its file up to there (0 where that is unknown).

    Where it is no text in its encoding, ``problem`` says so, and bytes that could not be read are
    lone surrogates (PEP 383), so that they can be written as they were.
    """

    text: str
    end: int
    problem: str | None = None


def stream_lines(
    path: str | Path,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    note: Note = lambda _: None,
    null: bool = False,
) -> Iterator[Line | None]:
    """The lines of a file, a ``.gz`` file, the files below a directory or stdin (``-``).

    Lines end at LF or CRLF, or with ``null`` at NUL and at nothing else; a last one without an end
    counts. No more than a line is in memory. None comes where stdin has no more to give at the
    moment: whoever collects lines should deal with those at hand before asking for more. Raises
    TextError if a file cannot be read, UsageError for NULs in an encoding that has none of a byte.
    """
    if str(path) == "-":
        yield from _lines_of("standard input", sys.stdin.buffer, encoding, errors, note, null)
        return
    for file in find_files(Path(path)):
        try:
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
                yield from _lines_of(str(file), stream, encoding, errors, note, null)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TextError(f"cannot read {file}: {reason}.") from None


def _lines_of(
    name: str, stream: Any, encoding: str, errors: str, note: Note, null: bool
) -> Iterator[Line | None]:
    number = end = 0
    before = 1  # lines begun, of those that end at LF
    without_end = _without_nul if null else _without_end
    try:
        if "\n".encode(encoding) != b"\n":  # UTF-16 and the like: no line of bytes is a line
            if null:
                raise UsageError(
                    f"texts that end at a NUL are not read as {encoding}, but as UTF-8."
                )
            texts = io.TextIOWrapper(stream, encoding, errors, newline="\n")
            try:
                for text in texts:
                    number += 1
                    if number == 1 and text.startswith(_MARK):
                        note(dropped_mark(name))
                        text = text.removeprefix(_MARK)
                    yield Line(_without_end(text), 0)
            finally:
                texts.detach()  # the stream is not ours to close
            return
        for raw in _raw_lines(stream, b"\0" if null else b"\n"):
            if raw is None:
                yield None
                continue
            number += 1
            if number == 1:
                refuse_utf16(name, raw, encoding)
            problem = None
            try:
                text = raw.decode(encoding, errors)
            except UnicodeDecodeError as error:
                at = end + error.start
                line = before + raw.count(b"\n", 0, error.start)
                problem = not_text(name, encoding, error.object[error.start], at, line)
                text = raw.decode(encoding, "surrogateescape")
            end += len(raw)
            before += raw.count(b"\n")
            if number == 1 and text.startswith(_MARK):
                note(dropped_mark(name))
                text = text.removeprefix(_MARK)
            yield Line(without_end(text), end, problem)
    except (LookupError, TypeError) as error:  # the latter: errors that encoding has, not decoding
        raise UsageError(f"{error}.") from None
    except UnicodeError as error:
        raise TextError(f"{name} is not {encoding}: {error}.") from None


def _raw_lines(stream: Any, end: bytes) -> Iterator[bytes | None]:
    """The lines of a stream of bytes; None where a reader of a pipe would have to wait."""
    waits = _is_pipe(stream)
    if not waits and end == b"\n":
        yield from stream
        return
    begun: list[bytes] = []  # of a line whose end has not come yet
    while True:
        if waits and not select.select([stream], [], [], 0)[0]:
            yield None
        # Of a pipe what is there; nothing stays behind in a buffer.
        chunk = stream.read1(_CHUNK) if waits else stream.read(_CHUNK)
        if not chunk:
            break
        *whole, rest = chunk.split(end)
        for line in whole:
            yield b"".join((*begun, line, end))
            begun.clear()
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)


def _is_pipe(stream: Any) -> bool:
    """Whether what reads a stream may have to wait for it, and can be told so."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (AttributeError, OSError):  # bytes in memory
        return False
    waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
    return waits and os.name == "posix" and hasattr(stream, "read1")


class Piece(NamedTuple):
    """A part of a sequence, and whether the sequence ends with it.

    ``end`` is how many bytes of all the files have been read for it, those of ``.gz`` unpacked.
    """

    text: str
    ends: bool = True
    end: int = 0


def read_sequences(
    paths: Iterable[str | Path],
    split_on: str,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    note: Note = lambda _: None,
) -> Iterator[Piece]:
    """The sequences of files in pieces, so that memory grows neither with a file nor with a line.

    Put together they are what split_sequences makes of the texts of read_documents. Raises
    TextError at once if a file is missing, and when it comes to what cannot be read or decoded.
    """
    if split_on not in _PIECES:
        raise UsageError(f"sequences are split on line, paragraph or file, not on {split_on!r}.")
    files: list[str | Path] = []
    for path in paths:
        files += ["-"] if str(path) == "-" else find_files(Path(path))
    if not files:
        raise TextError("there is no file to read.")
    return _read_sequences(files, split_on, encoding, errors, note)


def stream_texts(
    path: str | Path,
    cut: str,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    note: Note = lambda _: None,
) -> Iterator[Line | None]:
    """The texts of files that hold nothing else, cut as one of ENDS says.

    Lines and what ends at a NUL come as from stream_lines, blank ones too; paragraphs and files as
    from read_sequences, each put together, and then what cannot be decoded is a TextError.
    """
    if cut in ("line", "null"):
        options = {"encoding": encoding, "errors": errors, "note": note}
        yield from stream_lines(path, **options, null=cut == "null")  # type: ignore[arg-type]
        return
    parts: list[str] = []
    for piece in read_sequences([path], cut, encoding=encoding, errors=errors, note=note):
        parts.append(piece.text)
        if piece.ends:
            yield Line("".join(parts), piece.end)
            parts.clear()


def _read_sequences(
    files: Sequence[str | Path], split_on: str, encoding: str, errors: str, note: Note
) -> Iterator[Piece]:
    before = 0
    for file in files:
        end = 0
        with _opened(file) as (name, stream):
            for piece in _PIECES[split_on](_blocks_of(name, stream, encoding, errors, note)):
                end = piece.end
                yield piece._replace(end=before + end)
        before += end


@contextlib.contextmanager
def _opened(file: str | Path) -> Iterator[tuple[str, Any]]:
    """The name of a file and its bytes; what fails in reading them is a TextError."""
    if file == "-":
        yield "standard input", sys.stdin.buffer
        return
    path = Path(file)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield str(path), stream
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TextError(f"cannot read {path}: {reason}.") from None


_Blocks: TypeAlias = Iterator[tuple[str, int]]  # texts, and the bytes up to the end of each


def _blocks_of(name: str, stream: Any, encoding: str, errors: str, note: Note) -> _Blocks:
    """The text of a file in blocks; a byte order mark is dropped."""
    end, line, begun = 0, 1, False
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        while data := stream.read(_BLOCK):
            if not end:
                refuse_utf16(name, data, encoding)
            end += len(data)
            text = decoder.decode(data)
            line += data.count(b"\n")
            if text:
                if not begun and text.startswith(_MARK):
                    note(dropped_mark(name))
                    text = text.removeprefix(_MARK)
                yield text, end
                begun = True
        yield decoder.decode(b"", True), end
    except UnicodeDecodeError as error:
        held = error.object  # the end of what was read: all that has not been decoded
        line += held.count(b"\n", 0, error.start)
        at = end - len(held) + error.start
        raise TextError(not_text(name, encoding, held[error.start], at, line)) from None
    except (LookupError, TypeError) as error:  # the latter: errors that encoding has, not decoding
        raise UsageError(f"{error}.") from None
    except UnicodeError as error:
        raise TextError(f"{name} is not {encoding}: {error}.") from None


def _pieces_of_file(blocks: _Blocks) -> Iterator[Piece]:
    """All of a file is one sequence."""
    held = Piece("", ends=False)
    for text, end in blocks:
        if text:
            if held.text:
                yield held
            held = Piece(text, ends=False, end=end)
    if held.text:
        yield held._replace(ends=True)


def _pieces_of_lines(blocks: _Blocks) -> Iterator[Piece]:
    """Each line that is not blank is a sequence."""
    return (piece for piece in _lines(blocks) if piece.text)


def _pieces_of_paragraphs(blocks: _Blocks) -> Iterator[Piece]:
    """Each run of lines that are not blank is a sequence."""
    held: list[str] = []  # the lines of a paragraph that have not been given out
    size = end = 0
    begun = line_begun = False  # a part of the paragraph, of the line, is held or given out
    for text, line_ends, end in _lines(blocks):
        if text:
            held.append("\n" + text if begun and not line_begun else text)
            size += len(held[-1])
            begun = line_begun = True
        blank = line_ends and not line_begun
        if begun and (blank or size >= _BLOCK):
            yield Piece("".join(held), blank, end)
            held, size, begun = [], 0, not blank
        line_begun = line_begun and not line_ends
    if begun:
        yield Piece("".join(held), True, end)


def _lines(blocks: _Blocks) -> Iterator[Piece]:
    """Lines without their ends, long ones in pieces; a blank line is an empty piece."""
    held = ""  # the part of a line that has not been given out
    begun = False  # a part of it has
    end = 0
    for block, end in blocks:
        *lines, held = (held + block).split("\n")
        for line in lines:
            text = without_cr(line)
            yield Piece(text if begun or text.strip() else "", True, end)
            begun = False
        if len(held) > _BLOCK and (begun or held[:-2].strip()):
            yield Piece(held[:-2], False, end)  # what comes last may be the CR of its end
            held, begun = held[-2:], True
    text = without_cr(held)
    if begun or text.strip():
        yield Piece(text, True, end)


# What stands behind a text where it is written so that it is cut in the same way again.
ENDS = {"line": "\n", "paragraph": "\n\n", "file": "", "null": "\0"}
_PIECES = {"line": _pieces_of_lines, "paragraph": _pieces_of_paragraphs, "file": _pieces_of_file}


def _without_nul(text: str) -> str:
    return text.removesuffix("\0")


def _without_end(line: str) -> str:
    return without_cr(line.removesuffix("\n"))
