"""Lines that hold a text, alone or among other things: plain, JSON Lines, columns between tabs.

A record goes out as it came in, the results added to it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from charlm.cli.form import cell
from charlm.cli.terminal import number, say
from charlm.errors import UsageError
from charlm.fields import object_of, text_of

if TYPE_CHECKING:
    from charlm.streams import Line

_SURROGATE = re.compile("[\ud800-\udfff]")
_BATCH_TEXTS = 4096
_BATCH_CHARACTERS = 2**20


class Record(NamedTuple):
    """A line, its number from 1 on, and the bytes of its file up to its end.

    text is what is to be scored; None where there is nothing: in a broken line, which has a
    problem, and in the header or an empty line among records. ending is what the line ends with,
    to be written again.
    """

    number: int
    line: str
    text: str | None
    problem: str | None
    end: int
    ending: str = "\n"


class Form(Protocol):
    """How lines hold texts."""

    def text(self, line: str, number: int) -> str | None:
        """The text in a line. Raises ValueError, with a sentence, if it is broken."""

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The line of a record with the results (none: as it was)."""


class PlainLines:
    """A line is a text."""

    def text(self, line: str, number: int) -> str | None:
        """The line."""
        del number
        return line

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The line alone: there is no place for results."""
        del results
        return record.line


def say_lines_are_texts(split_on: str) -> None:
    """Say so where a model's sequences are something else, and how to have it cut as they are."""
    if split_on != "line":
        say(
            f"a text is a line; the model's sequences are {split_on}s: --split-on {split_on} cuts "
            "so, -0 reads what charlm sample -0 wrote"
        )


class JsonLines:
    """A line is a JSON object and one of its fields the text, be it inside another (doc.text).

    Results are written behind its last field; what stands before is left as it was, to the byte.
    """

    def __init__(self, field: str, names: Sequence[str]) -> None:
        self.field = field
        self._names = frozenset(names)

    def text(self, line: str, number: int) -> str | None:
        """The field of the object; None for a blank line."""
        del number
        if not line.strip():
            return None
        return text_of(self.fields(line), self.field)

    def fields(self, line: str) -> dict[str, Any]:
        """The object of a line. Raises ValueError if it is none, or cannot take the results."""
        values = object_of(line)
        taken = sorted(self._names & values.keys())
        if taken:
            raise ValueError(f'it has a field "{taken[0]}" already (--prefix gives results others)')
        return values

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The object with the results behind its last field."""
        if not results:
            return record.line
        head = record.line.rstrip()[:-1].rstrip()
        comma = "" if head.endswith("{") else ", "
        added = json.dumps(results, ensure_ascii=False, allow_nan=False)
        if _SURROGATE.search(added):  # a token of a text that was written with escapes
            added = json.dumps(results, allow_nan=False)
        return f"{head}{comma}{added[1:]}"


class Columns:
    """A line is a row of columns between tabs, one of them the text, taken as it stands.

    ``column`` is a number from 1 on or, where there is a header, a name.
    """

    def __init__(self, column: str, names: Sequence[str], *, header: bool) -> None:
        self.header = header or not column.isdecimal()
        self._column = column
        self._names = names
        self._index = int(column) - 1 if column.isdecimal() else None
        if self._index is not None and self._index < 0:
            raise UsageError("--column counts from 1.")

    def text(self, line: str, number: int) -> str | None:
        """The column of the row; None for the header and for an empty line."""
        cells = line.split("\t")
        if self.header and number == 1:
            if self._index is None:
                if self._column not in cells:
                    raise UsageError(f'there is no column "{self._column}" in the first line.')
                self._index = cells.index(self._column)
            return None
        if not line:
            return None
        assert self._index is not None
        if self._index >= len(cells):
            raise ValueError(f"it has {len(cells)} columns, not {self._index + 1}")
        return cells[self._index]

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The row with a column for each result behind it."""
        if self.header and record.number == 1:
            return "\t".join((record.line, *self._names))
        if not results:
            return record.line
        return "\t".join((record.line, *map(as_cell, results.values())))


def as_cell(value: Any) -> str:
    """A value in a cell of a table for machines: all its digits, nothing where there is none."""
    if isinstance(value, float):
        return number(value)
    return "" if value is None else cell(str(value))


def read(lines: "Iterable[Line | None]", form: Form) -> Iterator[Record | None]:
    """The records of lines; None where no more can be had for now."""
    count = 0
    for line in lines:
        if line is None:
            yield None
            continue
        count += 1
        text, problem = None, line.problem
        if problem is None:
            try:
                text = form.text(line.text, count)
            except ValueError as error:
                problem = f"line {count} is broken: {error}."
        yield Record(count, line.text, text, problem, line.end, line.ending)


def batches(records: Iterable[Record | None]) -> Iterator[list[Record]]:
    """Records in portions that fit in memory; none waits for a line that is yet to come."""
    batch: list[Record] = []
    characters = 0
    for record in records:
        if record is not None:
            batch.append(record)
            characters += len(record.line)
        full = len(batch) >= _BATCH_TEXTS or characters >= _BATCH_CHARACTERS
        if batch and (record is None or full):
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
