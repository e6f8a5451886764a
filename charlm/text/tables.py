"""Tables of text, read row by row: columns between tabs, or CSV with its quotes.

CSV is what RFC 4180 describes, as Python's csv module reads it: a cell in quotes may hold the
delimiter, a doubled quote and ends of lines. What stands between cells is told by the first row.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from charlm.text.files import plain_name
from charlm.text.lines import with_lf

if TYPE_CHECKING:
    from charlm.text.streaming import Line

_LARGEST = 2**24  # characters of a cell: a quote that is never closed must not fill the memory
_LOOKED_AT = 5  # lines
_SAID = 20  # columns that an error lists
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}

# Rows, each with the number of its first line, from 1 on; None where no more can be had for now.
Rows: TypeAlias = "Iterator[tuple[int, Line] | None]"


class Table(Protocol):
    """How a table is written."""

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """The rows that lines make up."""

    def cells(self, row: str) -> list[str]:
        """The cells of a row. Raises ValueError, with a sentence, if it is none."""

    def joined(self, row: str, cells: Iterable[str]) -> str:
        """The row, as it is written, with further cells behind it."""


class Tabs:
    """Columns between tabs, taken as they stand: a row is a line, and no cell holds a tab."""

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """Each line."""
        return lines_as_rows(lines)

    def cells(self, row: str) -> list[str]:
        """What stands between tabs."""
        return row.split("\t")

    def joined(self, row: str, cells: Iterable[str]) -> str:
        """With a tab in front of each further cell, which holds none."""
        return "\t".join((row, *cells))


class Csv:
    """CSV; ``delimiter`` is a tab if the first row has one, else what cuts it most, comma or ;."""

    def __init__(self) -> None:
        self.delimiter = ","
        self._is_told = False

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """Lines put together where a cell in quotes goes over several."""
        waiting = iter(lines)
        number = 1
        for line in waiting:
            if line is None:
                yield None
                continue
            if not self._is_told and line.text.strip():
                self.delimiter, self._is_told = _delimiter_of(line.text), True
            taken = [line]
            row = self._whole(number, taken, waiting) if '"' in line.text else line
            yield number, row
            number += len(taken)

    def cells(self, row: str) -> list[str]:
        """What stands between delimiters, out of its quotes."""
        if '"' not in row:
            return row.split(self.delimiter)
        try:
            cells = next(self._reader([row]))
        except csv.Error as error:
            raise ValueError(f"its quotes are not those of CSV ({error})") from None
        return [with_lf(cell) for cell in cells]

    def joined(self, row: str, cells: Iterable[str]) -> str:
        """With a delimiter in front of each further cell, quoted where it has to be."""
        written = io.StringIO()
        csv.writer(written, delimiter=self.delimiter).writerow(["", *cells])
        return row + written.getvalue().removeprefix('""').removesuffix("\r\n")

    def _whole(self, number: int, taken: "list[Line]", waiting: "Iterator[Line | None]") -> "Line":
        """A row that begins with the line that is taken, and takes as many as its quotes say."""

        def texts() -> Iterator[str]:
            yield f"{taken[0].text}\n"
            for line in waiting:
                if line is not None:
                    taken.append(line)
                    yield f"{line.text}\n"

        problem = None
        try:
            next(self._reader(texts()))
        except csv.Error as error:
            problem = f"line {number} is broken: its quotes are not those of CSV ({error})."
        if len(taken) == 1:
            return taken[0]  # if something is wrong with it, its cells tell
        problem = next((line.problem for line in taken if line.problem is not None), problem)
        *lines, last = taken
        text = "".join(f"{line.text}{line.ending}" for line in lines) + last.text
        return last._replace(text=text, problem=problem)

    def _reader(self, texts: Iterable[str]) -> Iterator[list[str]]:
        csv.field_size_limit(_LARGEST)  # is the module's own, and far too small for texts
        return csv.reader(texts, delimiter=self.delimiter, strict=True)


def is_csv(name: str) -> bool:
    """Whether a file is CSV by its name."""
    return suffix_of(name) == ".csv"


def suffix_of(name: str) -> str:
    """What a file's name ends with, in lower case; that it is packed does not count."""
    return plain_name(name).suffix.casefold()


def place_of(header: Sequence[str], column: str) -> int:
    """Where a column stands, from 0 on, by its number from 1 on or by its name in the header.

    Raises ValueError, with a sentence, if there is none of that name.
    """
    if is_number(column):
        return int(column) - 1
    if column in header:
        return header.index(column)
    names = ", ".join(f'"{name:.40}"' for name in header[:_SAID])
    raise ValueError(f'there is no column "{column}" among those that it names: {names}')


def is_number(column: str) -> bool:
    """Whether a column is told by its number."""
    return column.isascii() and column.isdigit()


def lines_as_rows(lines: "Iterable[Line | None]") -> Rows:
    """Each line is a row."""
    number = 0
    for line in lines:
        if line is None:
            yield None
        else:
            number += 1
            yield number, line


def _delimiter_of(first: str) -> str:
    """A tab where there is one, else what cuts the row into most cells; a comma if nothing does."""
    return "\t" if "\t" in first else max(",;", key=lambda delimiter: _width(first, delimiter))


def cut_by(row: str) -> str | None:
    """The name of what cuts a row into most cells; None if nothing does."""
    delimiter = _delimiter_of(row)
    return NAMES[delimiter] if _width(row, delimiter) > 1 else None


def _width(row: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([row], delimiter=delimiter)))
    except csv.Error:
        return 1


def looks_like(lines: Sequence[str]) -> str | None:
    """What the first lines of a plain text look like if they are a table's, else None.

    "tabs", "commas" or "semicolons" if at least three lines are each cut into as many cells;
    "JSON" if each is an object; "CoNLL-U" if they are comments and ten columns between tabs.
    """
    lines = [line for line in lines[:_LOOKED_AT] if line.strip()]
    if lines and all(map(_is_object, lines)):
        return "JSON"
    tokens = [line for line in lines if not line.startswith("#")]
    if tokens and all(line[:1].isdecimal() and line.count("\t") == 9 for line in tokens):
        return "CoNLL-U"
    if len(lines) < 3:
        return None
    for delimiter in ("\t", ",", ";"):
        widths = {_width(line, delimiter) for line in lines}
        if len(widths) == 1 and widths != {1}:
            return NAMES[delimiter]
    return None


def said_of(name: str, lines: Sequence[str]) -> tuple[str, ...]:
    """What there is to say of a text that is read as one, if its first lines are a table's.

    Where they are too few or too uneven to tell, the file's name does.
    """
    found = looks_like(lines)
    if found is None and lines and suffix_of(name) in (".csv", ".tsv"):
        found = cut_by(lines[0])
    if found is None:
        return ()
    whole = {"JSON": "JSON objects", "CoNLL-U": "CoNLL-U"}
    what = whole.get(found, f"columns between {found}")
    return (f"{name}: its lines look like {what}, and are read as they stand",)


def first_lines(text: str) -> list[str]:
    """As many lines of a text as are looked at."""
    return text[:_LARGEST].split("\n", _LOOKED_AT)[:_LOOKED_AT]


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
