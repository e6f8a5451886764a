"""What a person hands to a command: files, pipes, and texts as they are.

The one place where commands read, so that what was noticed in reading is always said.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.cli.options import Decoding
from charlm.cli.output.terminal import say
from charlm.errors import TextError, UsageError
from charlm.text.files import name_of
from charlm.text.tables import first_lines, said_of

if TYPE_CHECKING:
    from charlm.text.corpus import Document
    from charlm.text.labelled import Labelled, LabelSource
    from charlm.text.streaming import Line, Piece


def piped(missing: str) -> str:
    """Standard input, where no file was named. Raises UsageError if nothing is piped into it."""
    if sys.stdin.isatty():
        raise UsageError(f"give {missing}")
    return "-"


def dash_is_piped(texts: list[str] | None, file: str | None) -> tuple[list[str] | None, str | None]:
    """Texts and file of a command line: a text that is - alone is standard input, as elsewhere."""
    return (None, "-") if texts == ["-"] else (texts, file)


def texts_of(file: str, cut: str, decoding: Decoding) -> "Iterator[Line | None]":
    """The texts of a file, cut as streaming.ENDS has it; notes of text/streaming.py are said."""
    from charlm.text.streaming import stream_texts

    return stream_texts(file, cut, **vars(decoding), note=say)


def whole_texts_of(file: str, cut: str, decoding: Decoding) -> Iterator[str]:
    """The same texts alone. Raises TextError at what is none."""
    for line in texts_of(file, cut, decoding):
        if line is not None:
            if line.problem is not None:
                raise TextError(line.problem)
            yield line.text


def sequences_of(files: Sequence[str], split_on: str, decoding: Decoding) -> "Iterator[Piece]":
    """The sequences of files in pieces; notes of text/streaming.py are said."""
    from charlm.text.streaming import read_sequences

    pieces = read_sequences(files, split_on, **vars(decoding), note=say)
    first = list(itertools.islice(pieces, 5)) if split_on == "line" else []
    for note in said_of(name_of(files[0]), [piece.text for piece in first]):
        say(note)
    return itertools.chain(first, pieces)


def documents_of(files: Sequence[str | Path], decoding: Decoding | None = None) -> "list[Document]":
    """The texts of files; what was noticed is said (text/corpus.py)."""
    from charlm.text.corpus import read_documents

    documents = read_documents(files, **vars(decoding or Decoding()))
    for document in documents:
        for note in (*document.notes, *said_of(document.name, first_lines(document.text))):
            say(note)
    return documents


def labelled_of(
    files: Sequence[str],
    source: "LabelSource",
    split_on: str | None,
    decoding: Decoding,
) -> "tuple[list[Labelled], str]":
    """Sequences with labels, and what a sequence is; what was noticed is said (labelled.py)."""
    from charlm.text.labelled import read_labelled

    found, split_on, notes = read_labelled(files, source, split_on=split_on, **vars(decoding))
    for note in notes:
        say(note)
    return found, split_on


def read_beginning(text: str | None, file: str | Path | None, *, ways: str) -> str:
    """What a text begins with: given as it is, or read from a file or (``-``) stdin, or nothing.

    The last newline of what is read is not part of it. Raises UsageError if both of the two
    ``ways`` are used, TextError if it cannot be read or is not UTF-8.
    """
    if text is not None and file is not None:
        raise UsageError(f"give {ways}, not both.")
    source = "-" if text == "-" else file
    if source is not None:
        return read_utf8(source).removesuffix("\n")
    return text or ""


def read_utf8(source: str | Path) -> str:
    """All of a file, or of standard input for ``-``: its lines end at LF, a mark is dropped.

    Raises TextError if it cannot be read or is not UTF-8.
    """
    from charlm.text import files
    from charlm.text.corpus import decode

    found = files.opened(source, say)
    document = decode(found.name, found.read(), is_settled=True)
    for note in document.notes:
        say(note)
    return document.text
