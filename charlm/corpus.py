"""From files to sequences: reading, decoding, splitting, holding out, counting.

A corpus is a list of sequences; a sequence is what <EOS> ends: a line, a paragraph or a file.
"""

import gzip
import hashlib
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charlm.errors import FieldError, TextError, UsageError

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
        for file in find_files(Path(path)):
            documents.append(decode(str(file), _read_bytes(file), encoding, errors))
    if not documents:
        raise TextError("there is no file to read.")
    return documents


def decode(name: str, data: bytes, encoding: str = "utf-8", errors: str = "strict") -> Document:
    """Decode bytes, refusing what is not text in that encoding; one leading BOM is dropped.

    Raises TextError naming the byte offset, the line and the likely cure; UsageError for an
    encoding that does not exist.
    """
    refuse_utf16(name, data, encoding)
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        at = error.start + len(data) - len(error.object)  # utf-8-sig counts after its mark
        line = data.count(b"\n", 0, at) + 1
        raise TextError(not_text(name, encoding, data[at], at, line)) from None
    except (LookupError, TypeError) as error:  # the latter: errors that encoding has, not decoding
        raise UsageError(f"{error}.") from None
    except UnicodeError as error:
        raise TextError(f"{name} is not {encoding}: {error}.") from None
    notes = (f"{name}: holds NUL characters; is it UTF-16 or no text?",) if "\0" in text else ()
    if text.startswith("\ufeff"):
        return Document(name, text[1:], (dropped_mark(name), *notes))
    return Document(name, text, notes)


def dropped_mark(name: str) -> str:
    """What there is to say of a text that began with a byte order mark."""
    return f"{name}: dropped the byte order mark at its start"


def refuse_utf16(name: str, data: bytes, encoding: str) -> None:
    """Raise TextError if what is to be UTF-8 begins as UTF-16 or UTF-32 does."""
    is_utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    if not is_utf8:
        return
    # The mark of UTF-32 begins with that of UTF-16.
    for found, marks in (
        ("UTF-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff")),
        ("UTF-16", (b"\xff\xfe", b"\xfe\xff")),
    ):
        if data.startswith(marks):
            raise TextError(
                f"{name} looks like {found}, not UTF-8. Say --encoding {found.lower()} to read it "
                "as that."
            )


def not_text(name: str, encoding: str, byte: int, at: int, line: int) -> str:
    """What there is to say of a byte that is no text, and the likely cures."""
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


def split_of(texts: Iterable[str]) -> str:
    """What sequences are that look like these, which are known one by one.

    Lines if none holds more than one, paragraphs if none holds a blank line, else files.
    """
    found = "line"
    for text in texts:
        if len(split_sequences(text, "paragraph")) > 1:
            return "file"
        if len(split_sequences(text, "line")) > 1:
            found = "paragraph"
    return found


def split_sequences(text: str, split_on: str) -> list[str]:
    """The sequences of a text; blank lines only separate and are not sequences themselves.

    Lines end at LF or CRLF and the end is not part of the sequence. ``file`` keeps every
    character, the last newline included.
    """
    if split_on == "line":
        return [line for line in map(without_cr, text.split("\n")) if line.strip()]
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
        raise FieldError("valid_share", f"must be from 0 to below 1, got {share}.")
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


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TextError(f"cannot read {path}: {reason}.") from None


def without_cr(line: str) -> str:
    """A line without the CR of a CRLF."""
    return line[:-1] if line.endswith("\r") else line


def _blocks(text: str) -> Iterable[list[str]]:
    """Runs of lines that are not blank."""
    block: list[str] = []
    for line in map(without_cr, text.split("\n")):
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block
