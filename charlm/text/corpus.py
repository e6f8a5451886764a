"""From files to sequences: reading, decoding, splitting, holding out, counting.

A corpus is a list of sequences; a sequence is what <EOS> ends: a line, a paragraph or a file.
"""

import codecs
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charlm.config import VALID_SHARE
from charlm.errors import FieldError, TextError, UsageError
from charlm.text import files
from charlm.text.formats import HEAD, wide_encoding
from charlm.text.lines import has_cr_alone, said_of_cr, with_lf

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
    """The texts of files, of the files below directories, and of stdin (``-``), packed or not.

    Raises TextError if one cannot be read or decoded, or if there is nothing to read.
    """
    documents: list[Document] = []
    for path in paths:
        for file in ["-"] if str(path) == "-" else files.find_files(Path(path)):
            notes: list[str] = []
            source = files.opened(file, notes.append)
            document = decode(source.name, source.read(), encoding, errors)
            documents.append(document._replace(notes=(*notes, *document.notes)))
    if not documents:
        raise TextError("there is no file to read.")
    return documents


def decode(
    name: str,
    data: bytes,
    encoding: str = "utf-8",
    errors: str = "strict",
    *,
    is_settled: bool = False,
) -> Document:
    """Decode bytes, refusing what is not text in that encoding; one leading BOM is dropped.

    Every line of the text ends at LF, whatever it ended at (lines.py). Raises TextError naming the
    byte offset, the line and the likely cure, which is not another encoding where that one
    ``is_settled``; UsageError for an encoding that does not exist.
    """
    check_encoding(encoding)
    refuse_wide(name, data[:HEAD], encoding, is_settled=is_settled)
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        at = error.start + len(data) - len(error.object)  # utf-8-sig counts after its mark
        line = data.count(b"\n", 0, at) + 1
        raise TextError(
            not_text(name, encoding, data[at], at, line, is_settled=is_settled)
        ) from None
    except (LookupError, TypeError) as error:  # the latter: errors that encoding has, not decoding
        raise UsageError(f"{error}.") from None
    except UnicodeError as error:
        raise TextError(f"{name} is not {encoding}: {error}.") from None
    notes = []
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append(dropped_mark(name))
    if "\0" in text:
        notes.append(f"{name}: holds NUL characters; is it UTF-16 or no text?")
    if has_cr_alone(text):
        notes.append(said_of_cr(name))
    return Document(name, with_lf(text), tuple(notes))


def check_encoding(encoding: str) -> None:
    """Raise UsageError unless it is the name of an encoding of text (hex is none, nor base64)."""
    try:
        is_of_text = codecs.lookup(encoding)._is_text_encoding
    except LookupError as error:
        raise UsageError(f"{error}.") from None
    if not is_of_text:
        raise UsageError(
            f"{encoding} is no encoding of text. Give the one that the file is in, such as utf-8 "
            "or cp1252."
        )


def dropped_mark(name: str) -> str:
    """What there is to say of a text that began with a byte order mark."""
    return f"{name}: dropped the byte order mark at its start"


def refuse_wide(name: str, head: bytes, encoding: str, *, is_settled: bool = False) -> None:
    """Raise TextError if what is to be UTF-8 begins as UTF-16 or UTF-32 does."""
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        return
    found = wide_encoding(head)
    if found is not None:
        cure = f"Convert it first: iconv -f {found} -t utf-8."
        if not is_settled:
            cure = f"To read it as that, give `encoding={found}`."
        raise TextError(f"{name} looks like {found.upper()}, not UTF-8. {cure}")


def not_text(
    name: str, encoding: str, byte: int, at: int, line: int, *, is_settled: bool = False
) -> str:
    """What there is to say of a byte that is no text, and the likely cures."""
    if is_settled:
        encoding = encoding.upper()  # nobody has typed it
        cure = "Convert it first: iconv -f cp1252 -t utf-8, for example."
    else:
        cure = (
            "Give its encoding (`encoding=cp1252`, for example), or replace what cannot be read "
            "(`errors=replace`)."
        )
    return f"{name} is not {encoding}: byte 0x{byte:02x} at offset {at} (line {line}). {cure}"


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

    The end of a line (lines.py) is not part of the sequence. ``file`` keeps every character, the
    last newline included.
    """
    if split_on == "line":
        return [line for line in with_lf(text).split("\n") if line.strip()]
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
        number = "one sequence" if len(distinct) == 1 else f"{len(distinct)} different sequences"
        note = f"only {number}: none is held out for validation"
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


def _blocks(text: str) -> Iterable[list[str]]:
    """Runs of lines that are not blank."""
    block: list[str] = []
    for line in with_lf(text).split("\n"):
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block
