"""Lines that hold a text, alone or among other things: plain, JSON Lines, rows of a table.

A record goes out as it came in, the results added to it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from charlm.bulk.scoring import MOST_CHARACTERS, MOST_TEXTS
from charlm.cli.options import Records
from charlm.cli.output.formats import cell
from charlm.cli.output.terminal import number
from charlm.display.safe_text import safe_text
from charlm.errors import UsageError
from charlm.text.fields import object_of, text_of
from charlm.text.tables import Csv, Rows, Table, Tabs, cut_by, lines_as_rows, looks_like, place_of

if TYPE_CHECKING:
    from charlm.text.streaming import Line

_SURROGATE = re.compile("[\ud800-\udfff]")
_BATCH_TEXTS, _BATCH_CHARACTERS = MOST_TEXTS, MOST_CHARACTERS


class Record(NamedTuple):
    """A line, its number from 1 on, and the bytes of its file up to its end; or a row of several.

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

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """The lines that are records, or what is put together of several (tables.py)."""

    def text(self, line: str, number: int) -> str | None:
        """The text in a line. Raises ValueError, with a sentence, if it is broken."""

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The line of a record with the results (none: as it was)."""

    def is_header(self, record: Record) -> bool:
        """Whether a record names the columns of the others."""


class PlainLines:
    """A line is a text."""

    def is_header(self, record: Record) -> bool:
        """There is none."""
        del record
        return False

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """Each line."""
        return lines_as_rows(lines)

    def text(self, line: str, number: int) -> str | None:
        """The line."""
        del number
        return line

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The line alone: there is no place for results."""
        del results
        return record.line


class JsonLines(PlainLines):
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
        return f"{head}{comma}{as_json(results)[1:]}"


class Columns:
    """A line is a row of a table, one of its columns the text.

    ``column`` is a number from 1 on or, where there is a header, a name. What a row lacks of the
    header's columns is filled up, so that results stand below their names.
    """

    def __init__(
        self,
        column: str,
        names: Sequence[str],
        *,
        header: bool,
        table: Table | None = None,
        regions: str | None = None,
    ) -> None:
        self.header = header or not all(
            one.isdecimal() for one in (column, regions) if one is not None
        )
        self._regions = regions
        self.table: Table = Tabs() if table is None else table
        self._column = column
        self.names = names
        self.index = int(column) - 1 if column.isdecimal() else None
        self._width: int | None = None  # of the header
        self._region_index = -1
        if self.index is not None and self.index < 0:
            raise UsageError("--column counts from 1.")

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """The rows of the table."""
        return self.table.rows(lines)

    def text(self, line: str, number: int) -> str | None:
        """The column of the row; None for the header and for an empty line."""
        cells = self.table.cells(line)
        if self.header and number == 1:
            self._read_header(cells)
            return None
        if not line:
            return None
        assert self.index is not None
        if self.index >= len(cells):
            raise ValueError(f"it has {len(cells)} columns, not {self.index + 1}")
        if self._width is not None and len(cells) > self._width:
            raise ValueError(f"it has {len(cells)} columns, the first line names {self._width}")
        if self._regions is not None:
            self._ranges(cells)
        return cells[self.index]

    def regions(self, line: str) -> list[tuple[int, int]] | None:
        """Where the regions of the text begin and end in it; None where no column holds them.

        That is their column: the text with bars between them.
        """
        return None if self._regions is None else self._ranges(self.table.cells(line))

    def _ranges(self, cells: list[str]) -> list[tuple[int, int]]:
        """The ranges of the regions. Raises ValueError if they do not make up the text."""
        assert self._regions is not None
        assert self.index is not None
        at = int(self._regions) - 1 if self._regions.isdecimal() else self._region_index
        text, written = cells[self.index], cells[at] if at < len(cells) else ""
        ranges, end = [], 0
        for region in map(str.strip, written.split("|")):
            begin = text.find(region, end)
            if begin < 0 or not region or text[end:begin].strip():
                raise ValueError(f'its regions, "{written[:40]}", are not its text with | between')
            end = begin + len(region)
            ranges.append((begin, end))
        if text[end:].strip():
            raise ValueError(f'its regions, "{written[:40]}", are not its whole text')
        return ranges

    def is_header(self, record: Record) -> bool:
        """Whether it is the first line, where that names the columns."""
        return self.header and record.number == 1

    def _read_header(self, cells: list[str]) -> None:
        """Find the column. Raises UsageError if it is not there, or if results' names are."""
        found = cut_by(cells[0]) if isinstance(self.table, Tabs) and len(cells) == 1 else None
        if len(cells) == 1 and looks_like(cells) == "JSON":
            raise UsageError("the first line is a JSON object: --jsonl reads a field of theirs.")
        if found is not None:
            raise UsageError(
                f"there is no tab in the first line; this looks like {found}: give --csv, too."
            )
        if self.index is None:
            if self._column not in cells:
                there = ", ".join(f'"{safe_text(cell[:40])}"' for cell in cells[:20])
                raise UsageError(
                    f'there is no column "{self._column}" in the first line, which names {there}.'
                )
            self.index = cells.index(self._column)
        if self._regions is not None and not self._regions.isdecimal():
            try:
                self._region_index = place_of(cells, self._regions)
            except ValueError as error:
                raise UsageError(f"--region-column: {error}.") from None
        taken = [name for name in self.names if name in cells]
        if taken:
            raise UsageError(
                f'there is a column "{taken[0]}" already: give results other names with --prefix.'
            )
        self._width = len(cells)

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The row with a column for each result behind it."""
        if self.is_header(record):
            return self.table.joined(record.line, self.names)
        if not results:
            return record.line
        missing = 0 if self._width is None else self._width - len(self.table.cells(record.line))
        return self.table.joined(record.line, [*[""] * missing, *self.as_cells(results.values())])

    def as_cells(self, values: Iterable[Any]) -> list[str]:
        """Values in cells: all digits of numbers, nothing where there is none."""
        escapes = isinstance(self.table, Tabs)  # CSV has its quotes
        return [as_cell(v) if escapes or not isinstance(v, str) else v for v in values]


def form_of(names: Sequence[str], asked: Records, *, csv: bool, regions: str | None = None) -> Form:
    """How lines hold texts, by the options that say so; ``names`` are those of the results.

    regions is the column that holds those of the text.
    """
    if asked.jsonl:
        return JsonLines(asked.field, names)
    if asked.column is not None:
        table = Csv() if csv else Tabs()
        return Columns(asked.column, names, header=asked.header, table=table, regions=regions)
    return PlainLines()


def as_json(values: Mapping[str, Any]) -> str:
    """An object of JSON; what is half a character stands there as an escape."""
    written = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return json.dumps(values) if _SURROGATE.search(written) else written


def as_cell(value: Any) -> str:
    """A value in a cell of a table for machines: all its digits, nothing where there is none."""
    if isinstance(value, float):
        return number(value)
    return "" if value is None else cell(str(value))


def read(lines: "Iterable[Line | None]", form: Form) -> Iterator[Record | None]:
    """The records of lines; None where no more can be had for now."""
    for row in form.rows(lines):
        if row is None:
            yield None
            continue
        number, line = row
        text, problem = None, line.problem
        if problem is None:
            try:
                text = form.text(line.text, number)
            except ValueError as error:
                problem = f"line {number} is broken: {error}."
        yield Record(number, line.text, text, problem, line.end, line.ending)


def batches(records: Iterable[Record | None]) -> Iterator[list[Record]]:
    """Records in portions that fit in memory; none waits for a line that is yet to come."""
    return (batch for batch in batches_and_pauses(records) if batch is not None)


def batches_and_pauses(records: Iterable[Record | None]) -> Iterator[list[Record] | None]:
    """The same, and None where no more can be had for now."""
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
        if record is None:
            yield None
    if batch:
        yield batch
