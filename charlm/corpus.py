"""From files to sequences: reading, decoding, splitting, holding out, counting.

A corpus is a list of sequences; a sequence is what <EOS> ends: a line, a paragraph or a file.
"""

import codecs
import contextlib
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from charlm.errors import TextError, UsageError

VALID_SHARE = 0.1
_FEWEST_TO_HOLD_OUT = 5  # with fewer sequences than this, none is held out


class Document(NamedTuple):
    """A text and where it came from, with what was noticed while reading it."""

    name: str
    text: str
    notes: tuple[str, ...] = ()


class Counts(NamedTuple):
    """Sizes of a text: sequences, code points, UTF-8 bytes, words between white space."""

    sequences: int
    characters: int
    bytes: int
    words: int


class Split(NamedTuple):
    """The sequences to train on and those held out, with what there is to say about them."""

    train: list[str]
    valid: list[str]
    notes: tuple[str, ...] = ()


def read_documents(
    paths: Iterable[str | Path], *, encoding: str = "utf-8", errors: str = "strict"
) -> list[Document]:
    """The texts of files, of the files below directories, of ``.gz`` files and of stdin (``-``).

    Raises TextError if one cannot be read or decoded, or if there is nothing to read.
    """
    documents: list[Document] = []
    for path in paths:
        if str(path) == "-":
            documents.append(decode("standard input", sys.stdin.buffer.read(), encoding, errors))
            continue
        for file in _files(Path(path)):
            documents.append(decode(str(file), _read_bytes(file), encoding, errors))
    if not documents:
        raise TextError("there is no file to read.")
    return documents


class Line(NamedTuple):
    """A line without its end, and the bytes of its file up to there (0 where that is unknown)."""

    text: str
    end: int


def read_lines(
    path: str | Path, *, encoding: str = "utf-8", errors: str = "strict"
) -> Iterator[Line]:
    """The lines of a file, a ``.gz`` file, the files below a directory or stdin (``-``).

    Lines end at LF or CRLF; a last one without an end counts. No more than a line is in memory.
    Raises TextError as read_documents does, when it comes to the line.
    """
    if str(path) == "-":
        yield from _lines_of("standard input", sys.stdin.buffer, encoding, errors)
        return
    for file in _files(Path(path)):
        try:
            with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
                yield from _lines_of(str(file), stream, encoding, errors)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise TextError(f"cannot read {file}: {reason}.") from None


def _lines_of(name: str, stream: Any, encoding: str, errors: str) -> Iterator[Line]:
    number = end = 0
    try:
        if "\n".encode(encoding) != b"\n":  # UTF-16 and the like: no line of bytes is a line
            texts = io.TextIOWrapper(stream, encoding, errors, newline="\n")
            try:
                for text in texts:
                    yield Line(_without_end(text), 0)
            finally:
                texts.detach()  # the stream is not ours to close
            return
        for raw in stream:
            number += 1
            if number == 1:
                _refuse_utf16(name, raw, encoding)
            text = raw.decode(encoding, errors)
            end += len(raw)
            yield Line(_without_end(text.removeprefix("\ufeff") if number == 1 else text), end)
    except UnicodeDecodeError as error:
        at = end + error.start
        raise TextError(_not_text(name, encoding, error.object[error.start], at, number)) from None
    except LookupError as error:
        raise UsageError(f"{error}.") from None
    except UnicodeError as error:
        raise TextError(f"{name} is not {encoding}: {error}.") from None


def decode(name: str, data: bytes, encoding: str = "utf-8", errors: str = "strict") -> Document:
    """Decode bytes, refusing what is not text in that encoding; one leading BOM is dropped.

    Raises TextError naming the byte offset, the line and the likely cure; UsageError for an
    encoding that does not exist.
    """
    _refuse_utf16(name, data, encoding)
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        at = error.start + len(data) - len(error.object)  # utf-8-sig counts after its mark
        line = data.count(b"\n", 0, at) + 1
        raise TextError(_not_text(name, encoding, data[at], at, line)) from None
    except LookupError as error:
        raise UsageError(f"{error}.") from None
    except UnicodeError as error:
        raise TextError(f"{name} is not {encoding}: {error}.") from None
    if text.startswith("\ufeff"):
        return Document(name, text[1:], (f"{name}: dropped the byte order mark at its start",))
    return Document(name, text)


def _refuse_utf16(name: str, data: bytes, encoding: str) -> None:
    is_utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and is_utf8:
        raise TextError(
            f"{name} looks like UTF-16, not UTF-8. Say --encoding utf-16 to read it as that."
        )


def _not_text(name: str, encoding: str, byte: int, at: int, line: int) -> str:
    return (
        f"{name} is not {encoding}: byte 0x{byte:02x} at offset {at} (line {line}). Say which "
        "encoding it is (--encoding cp1252, for example) or replace what cannot be read "
        "(--errors replace)."
    )


def choose_split(texts: Iterable[str]) -> str:
    """``paragraph`` where blank lines mostly separate blocks of several lines, else ``line``."""
    blocks = several = 0
    for text in texts:
        lengths = [len(block) for block in _blocks(text)]
        if len(lengths) > 1:  # a text without blank lines, one of many files, says nothing
            blocks += len(lengths)
            several += sum(length > 1 for length in lengths)
    return "paragraph" if blocks and 2 * several >= blocks else "line"


def split_sequences(text: str, split_on: str) -> list[str]:
    """The sequences of a text; blank lines only separate and are not sequences themselves.

    Lines end at LF or CRLF and the end is not part of the sequence. ``file`` keeps every
    character, the last newline included.
    """
    if split_on == "line":
        return [line for line in map(_without_cr, text.split("\n")) if line.strip()]
    if split_on == "paragraph":
        return ["\n".join(block) for block in _blocks(text)]
    if split_on == "file":
        return [text] if text else []
    raise UsageError(f"sequences are split on line, paragraph or file, not on {split_on!r}.")


def hold_out(
    sequences: Sequence[str], *, split_on: str, share: float = VALID_SHARE, seed: int = 0
) -> Split:
    """Put a share of the corpus aside for validation.

    Whole sequences are drawn by seed, and a text that occurs several times goes to one side as a
    whole, so nothing held out also stands in training. Where a sequence is a file, the last
    contiguous part of each file is held out instead.
    """
    if not 0 <= share < 1:
        raise UsageError(f"the share held out must be from 0 to below 1, got {share}.")
    if share == 0:
        return Split(list(sequences), [], ("nothing is held out for validation",))
    if split_on == "file":
        cuts = [int(len(text) * (1 - share)) for text in sequences]
        train = [text[:cut] for text, cut in zip(sequences, cuts, strict=True) if cut]
        valid = [text[cut:] for text, cut in zip(sequences, cuts, strict=True) if cut < len(text)]
        if not train or sum(map(len, valid)) < 2:
            return Split(list(sequences), [], ("too little text to hold any out for validation",))
        return Split(train, valid)
    distinct = list(dict.fromkeys(sequences))
    if len(distinct) < _FEWEST_TO_HOLD_OUT:
        note = f"only {len(distinct)} different sequences: none is held out for validation"
        return Split(list(sequences), [], (note,))
    order = np.random.default_rng(seed).permutation(len(distinct))
    num_held = min(max(1, round(share * len(distinct))), len(distinct) - 1)
    held = {distinct[i] for i in order[:num_held]}
    return Split(
        [text for text in sequences if text not in held],
        [text for text in sequences if text in held],
    )


def count(sequences: Iterable[str]) -> Counts:
    """Count sequences, characters, UTF-8 bytes and words; separators are in none of them."""
    totals = [0, 0, 0, 0]
    for text in sequences:
        totals[0] += 1
        totals[1] += len(text)
        totals[2] += len(text.encode("utf-8", "surrogatepass"))
        totals[3] += len(text.split())
    return Counts(*totals)


_BLOCK = 2**18  # bytes of a file that are decoded at a time


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
) -> Iterator[Piece]:
    """The sequences of files in pieces, so that memory grows neither with a file nor with a line.

    Put together they are what split_sequences makes of the texts of read_documents. Raises
    TextError at once if a file is missing, and when it comes to what cannot be read or decoded.
    """
    if split_on not in _PIECES:
        raise UsageError(f"sequences are split on line, paragraph or file, not on {split_on!r}.")
    files: list[str | Path] = []
    for path in paths:
        files += ["-"] if str(path) == "-" else _files(Path(path))
    if not files:
        raise TextError("there is no file to read.")
    return _read_sequences(files, split_on, encoding, errors)


def _read_sequences(
    files: Sequence[str | Path], split_on: str, encoding: str, errors: str
) -> Iterator[Piece]:
    before = 0
    for file in files:
        end = 0
        with _opened(file) as (name, stream):
            for piece in _PIECES[split_on](_blocks_of(name, stream, encoding, errors)):
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


def _blocks_of(name: str, stream: Any, encoding: str, errors: str) -> _Blocks:
    """The text of a file in blocks; a byte order mark is dropped."""
    end, line, begun = 0, 1, False
    try:
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        while data := stream.read(_BLOCK):
            if not end:
                _refuse_utf16(name, data, encoding)
            end += len(data)
            text = decoder.decode(data)
            line += data.count(b"\n")
            if text:
                yield text if begun else text.removeprefix("\ufeff"), end
                begun = True
        yield decoder.decode(b"", True), end
    except UnicodeDecodeError as error:
        held = error.object  # the end of what was read: all that has not been decoded
        line += held.count(b"\n", 0, error.start)
        at = end - len(held) + error.start
        raise TextError(_not_text(name, encoding, held[error.start], at, line)) from None
    except LookupError as error:
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
            text = _without_cr(line)
            yield Piece(text if begun or text.strip() else "", True, end)
            begun = False
        if len(held) > _BLOCK and (begun or held[:-2].strip()):
            yield Piece(held[:-2], False, end)  # what comes last may be the CR of its end
            held, begun = held[-2:], True
    text = _without_cr(held)
    if begun or text.strip():
        yield Piece(text, True, end)


_PIECES = {"line": _pieces_of_lines, "paragraph": _pieces_of_paragraphs, "file": _pieces_of_file}


def fingerprint(sequences: Iterable[str]) -> str:
    """SHA-256 over the sequences and their boundaries, in hexadecimal."""
    digest = hashlib.sha256()
    for text in sequences:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def sequence_hashes(sequences: Iterable[str]) -> np.ndarray:
    """Sorted 64-bit hashes (S,) uint64 of the different sequences, to know one again."""
    return np.unique(np.fromiter(map(sequence_hash, sequences), dtype=np.uint64))


def sequence_hash(text: str) -> int:
    """The 64-bit hash of one sequence, the same on every machine."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _files(path: Path) -> list[Path]:
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


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TextError(f"cannot read {path}: {reason}.") from None


def _without_end(line: str) -> str:
    return _without_cr(line.removesuffix("\n"))


def _without_cr(line: str) -> str:
    return line[:-1] if line.endswith("\r") else line


def _blocks(text: str) -> Iterable[list[str]]:
    """Runs of lines that are not blank."""
    block: list[str] = []
    for line in map(_without_cr, text.split("\n")):
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block
