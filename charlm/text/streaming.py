"""Files that are read as they come, in bounded memory: line by line, or sequence by sequence."""

import codecs
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from charlm.errors import TextError, UsageError
from charlm.text import files
from charlm.text.corpus import check_encoding, dropped_mark, not_text, refuse_wide
from charlm.text.files import Chunks, Note, Source
from charlm.text.lines import ended_by_lf, parted, raw_lines, raw_until_nul, said_of_cr

_BLOCK = 2**18  # characters of a line or a paragraph that are given out at a time
_MARK = "\ufeff"


class Line(NamedTuple):
    """A line without its end, and the bytes of its file up to there (0 where that is unknown).

    Where it is no text in its encoding, ``problem`` says so, and bytes that could not be read are
    lone surrogates (PEP 383), so that they can be written as they were. ``ending`` is what it ended
    with ("" for a last line without), so that a row can go out as it came.
    """

    text: str
    end: int
    problem: str | None = None
    ending: str = "\n"


def stream_lines(
    path: str | Path,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    note: Note = lambda _: None,
    null: bool = False,
) -> Iterator[Line | None]:
    """The lines of a file, the files below a directory or stdin (``-``), packed or not.

    Where lines end is for lines.py to say, or with ``null`` it is at NUL and at nothing else; a
    last one without an end counts. No more than a line is in memory. None comes where stdin has no
    more to give at the moment: whoever collects lines should deal with those at hand before asking
    for more. Raises TextError if a file cannot be read, UsageError for NULs in an encoding that
    has none of a byte.
    """
    check_encoding(encoding)
    found = ["-"] if str(path) == "-" else files.find_files(Path(path))
    for file in found:
        if file == "-" and files.has_to_wait(sys.stdin.buffer):
            yield None  # before the first bytes are looked at, which means to wait for them
        for line in _lines_of(files.opened(file, note), encoding, errors, note, null):
            if line is not None and not line.ending and file is not found[-1]:
                line = line._replace(ending=ENDS["null" if null else "line"])  # more come after it
            yield line


def _lines_of(
    source: Source, encoding: str, errors: str, note: Note, null: bool
) -> Iterator[Line | None]:
    name = source.name
    # Texts of a letter with NULs behind them look like UTF-16; its mark is four bytes at most.
    refuse_wide(name, source.head[:4] if null else source.head, encoding)
    number = end = 0
    before = 1  # lines begun, of those that end at LF
    alone = False
    # UTF-16 and the like have no bytes that are lines.
    wide = "\r\n".encode(encoding) != b"\r\n"
    if wide and null:
        raise UsageError(f"texts that end at a NUL are not read as {encoding}, but as UTF-8.")
    try:
        chunks = _as_utf8(source.chunks, encoding, errors) if wide else source.chunks
        read_as = ("utf-8", "surrogatepass") if wide else (encoding, errors)
        for raw in raw_until_nul(chunks) if null else raw_lines(chunks):
            if raw is None:
                yield None
                continue
            number += 1
            problem = None
            try:
                whole = raw.decode(*read_as)
            except UnicodeDecodeError as error:
                at = end + error.start
                line = before + raw.count(b"\n", 0, error.start) if null else number
                problem = not_text(name, encoding, error.object[error.start], at, line)
                whole = raw.decode(encoding, "surrogateescape")
            end += len(raw)
            before += raw.count(b"\n")
            if number == 1 and whole.startswith(_MARK):
                note(dropped_mark(name))
                whole = whole.removeprefix(_MARK)
            text, ending = parted(whole, "\0" if null else "\r\n")
            if ending == "\r" and not alone:
                alone = True
                note(said_of_cr(name))
            yield Line(text, 0 if wide else end, problem, ending)
    except (LookupError, TypeError) as error:  # the latter: errors that encoding has, not decoding
        raise UsageError(f"{error}.") from None
    except UnicodeError as error:
        raise TextError(f"{name} is not {encoding}: {error}.") from None


def _as_utf8(chunks: Chunks, encoding: str, errors: str) -> Chunks:
    """Bytes in any encoding as those in UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for chunk in chunks:
        yield None if chunk is None else decoder.decode(chunk).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", True).encode("utf-8", "surrogatepass")


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
    check_encoding(encoding)
    found: list[str | Path] = []
    for path in paths:
        found += ["-"] if str(path) == "-" else files.find_files(Path(path))
    if not found:
        raise TextError("there is no file to read.")
    return _read_sequences(found, split_on, encoding, errors, note)


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
            yield Line("".join(parts), piece.end, ending=ENDS[cut])
            parts.clear()


def _read_sequences(
    found: Sequence[str | Path], split_on: str, encoding: str, errors: str, note: Note
) -> Iterator[Piece]:
    before = 0
    for file in found:
        end = 0
        blocks = text_blocks(files.opened(file, note), encoding, errors, note)
        for piece in _PIECES[split_on](blocks):
            end = piece.end
            yield piece._replace(end=before + end)
        before += end


Blocks: TypeAlias = Iterator[tuple[str, int]]  # texts, and the bytes up to the end of each


def text_blocks(source: Source, encoding: str, errors: str, note: Note) -> Blocks:
    """The text of a file in blocks, its lines ended by LF; a byte order mark is dropped."""
    said = False

    def on_cr_alone() -> None:
        nonlocal said
        if not said:
            note(said_of_cr(source.name))
        said = True

    refuse_wide(source.name, source.head, encoding)
    return ended_by_lf(_decoded(source, encoding, errors, note), on_cr_alone)


def _decoded(source: Source, encoding: str, errors: str, note: Note) -> Blocks:
    name = source.name
    end, line, begun = 0, 1, False
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        for data in source.chunks:
            if data is None:
                continue
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


def _pieces_of_file(blocks: Blocks) -> Iterator[Piece]:
    """All of a file is one sequence."""
    held = Piece("", ends=False)
    for text, end in blocks:
        if text:
            if held.text:
                yield held
            held = Piece(text, ends=False, end=end)
    if held.text:
        yield held._replace(ends=True)


def _pieces_of_lines(blocks: Blocks) -> Iterator[Piece]:
    """Each line that is not blank is a sequence."""
    return (piece for piece in _lines(blocks) if piece.text)


def _pieces_of_paragraphs(blocks: Blocks) -> Iterator[Piece]:
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


def _lines(blocks: Blocks) -> Iterator[Piece]:
    """Lines without their ends, long ones in pieces; a blank line is an empty piece."""
    held = ""  # the part of a line that has not been given out
    begun = False  # a part of it has
    end = 0
    for block, end in blocks:
        *lines, held = (held + block).split("\n")
        for line in lines:
            yield Piece(line if begun or line.strip() else "", True, end)
            begun = False
        if len(held) > _BLOCK and (begun or held.strip()):
            yield Piece(held[:-1], False, end)  # a line that has been begun ends with some of it
            held, begun = held[-1:], True
    if begun or held.strip():
        yield Piece(held, True, end)


# What stands behind a text where it is written so that it is cut in the same way again.
ENDS = {"line": "\n", "paragraph": "\n\n", "file": "", "null": "\0"}
_PIECES = {"line": _pieces_of_lines, "paragraph": _pieces_of_paragraphs, "file": _pieces_of_file}
