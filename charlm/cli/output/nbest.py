"""Groups of hypotheses, ranked anew with the model's word in it.

A hypothesis is a line: its group's id, its text, and the score that another system gave it, or
none. Its total is that score plus a weight times log P(text); a group's lines go out best first.
The lines of a group follow one another, so that a group can go out when it has been read; an id
that comes back is told, for which the ids that were seen are remembered (a hash of each).
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.input.records import Columns, JsonLines, Record, as_cell, as_json
from charlm.cli.output.formats import cell, decimal
from charlm.fields.scores import Wanted, rank
from charlm.text.tables import Csv, Rows, Tabs

if TYPE_CHECKING:
    from charlm.inference.score import TextScore
    from charlm.text.streaming import Line

NAMES = ("total_score", "rank_in_group")
_COLUMNS = ("id", "text", "score")
_NUMBER = re.compile(r"-[0-9]+\Z")
_LARGEST = 1e100  # of a score, so that a total is always finite


class Kaldi(Tabs):
    """Lines of Kaldi's text files: an id, white space, and the rest."""

    def cells(self, row: str) -> list[str]:
        """The id and the text, which may be empty."""
        name, *rest = row.split(maxsplit=1)
        return [name, rest[0].strip() if rest else ""]


class Hypotheses:
    """A form of lines that hold hypotheses: JSON Lines, or rows of a table: id, text, score.

    Rows go out below a header, with further columns by their numbers where none names them. They
    are written as they came, or ``written_as`` "json" or "tsv". Lines of Kaldi, an id, a space and
    the text, have no scores; "utt-3" is the third of the id "utt". They go out as they came, alone.
    """

    def __init__(self, form: JsonLines | Columns, written_as: str | None = None) -> None:
        self.form = form
        self._written_as = written_as
        self._is_kaldi = isinstance(form, Columns) and isinstance(form.table, Kaldi)
        self._seen: set[int] = set()
        self._last: str | None = None
        self._is_headed = False
        self._id, self._score = 0, 2  # where those stand in a row
        self._columns: list[str] = []  # of a table: what they are called

    def rows(self, lines: "Iterable[Line | None]") -> Rows:
        """The lines, or what is put together of several."""
        return self.form.rows(lines)

    def is_header(self, record: Record) -> bool:
        """Whether a record names the columns of the others."""
        return self.form.is_header(record)

    def text(self, line: str, number: int) -> str | None:
        """The text, of one line after another.

        Raises ValueError if the line has no id, text or proper score, or if its id stood further
        up, before others.
        """
        text = self.form.text(line, number)
        if isinstance(self.form, Columns) and not self._columns and line:
            self._begin(self._cells(line), is_header=text is None)
        if text is None:
            return None
        if isinstance(self.form, Columns):
            width = len(self._cells(line))
            if not self._id < width <= len(self._columns):
                raise ValueError(f"it has {width} columns, not {len(self._columns)}")
        name = self.group(line)
        self.other(line)
        if name != self._last and hash(name) in self._seen:
            raise ValueError(
                f"its id {name} came before, with other ids between: lines of one id have to "
                "follow one another. Sort them first"
            )
        self._last = name
        self._seen.add(hash(name))
        return text

    def _begin(self, cells: list[str], *, is_header: bool) -> None:
        """Note what the columns are called, and which of them are id, text and score."""
        assert isinstance(self.form, Columns)
        if not is_header:
            further = [f"column_{place}" for place in range(4, len(cells) + 1)]
            self._columns = [*_COLUMNS, *further]
            return
        self._columns = cells
        if {"id", "text"} <= set(cells):
            places = [cells.index(name) if name in cells else len(cells) for name in _COLUMNS]
            self._id, self.form.index, self._score = places

    def head(self) -> Iterator[str]:
        """What stands above the first row, where no line has named its columns: their names."""
        if not isinstance(self.form, Columns) or self.form.header or self._written_as == "json":
            return
        if self._is_kaldi and self._written_as is None:
            return
        if not self._is_headed:
            yield self._joined([*self._columns, *self.form.names])
        self._is_headed = True

    def without_results(self, record: Record) -> Iterator[str]:
        """The line of what is no hypothesis: a header, an empty or a broken line."""
        if self._written_as is None:
            yield self.form.written(record, {})
        elif record.problem is not None:
            what = {"line": record.line, "problem": record.problem}
            yield as_json(what) if self._written_as == "json" else cell(record.line)
        elif self.is_header(record) and self._written_as == "tsv":
            assert isinstance(self.form, Columns)
            yield self._joined([*self._columns, *self.form.names])

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The line with the results."""
        if isinstance(self.form, JsonLines):
            return self.form.written(record, results)
        if self._is_kaldi and self._written_as is None:
            return record.line
        cells = self._cells(record.line)
        missing = [""] * (len(self._columns) - len(cells))
        if self._written_as == "json":
            named: dict[str, Any] = dict(zip(self._columns, cells, strict=False))
            if len(cells) > self._score and cells[self._score].strip():
                named[self._columns[self._score]] = self.other(record.line)
            return as_json({**named, **results})
        if self._written_as == "tsv":
            return self._joined([*cells, *missing, *results.values()])
        added = self.form.as_cells(results.values())
        return self.form.table.joined(record.line, [*missing, *added])

    def group(self, line: str) -> str:
        """The id of its group."""
        if isinstance(self.form, JsonLines):
            fields = self.form.fields(line)
            if "id" not in fields:
                raise ValueError('it has no field "id"')
            return repr(fields["id"])
        name = self._cells(line)[self._id]
        return _NUMBER.sub("", name) if self._is_kaldi else name

    def other(self, line: str) -> float:
        """The score that it came with, 0 if there is none."""
        if isinstance(self.form, JsonLines):
            given = self.form.fields(line).get("score", 0.0)
        else:
            cells = self._cells(line)
            given = cells[self._score] if len(cells) > self._score else "0"
            given = given if given.strip() else "0"
        try:
            value = decimal(given) if isinstance(given, str) else float(given)
        except (TypeError, ValueError):
            value = math.nan
        if isinstance(given, bool) or not abs(value) <= _LARGEST:
            hint = " (is that a header? Give --header)" if given == "score" else ""
            raise ValueError(f"its score is no number: {given!r}{hint}")
        return value

    def _cells(self, line: str) -> list[str]:
        assert isinstance(self.form, Columns)
        return self.form.table.cells(line)

    def _joined(self, values: Sequence[Any]) -> str:
        """A row of its own."""
        assert isinstance(self.form, Columns)
        if self._written_as == "tsv":
            return "\t".join(map(as_cell, values))
        first, *rest = self.form.as_cells(values)
        return self.form.table.joined(first, rest)


def form_of(
    field: str | None,
    names: Sequence[str],
    *,
    header: bool = False,
    csv: bool = False,
    kaldi: bool = False,
    written_as: str | None = None,
) -> Hypotheses:
    """JSON Lines whose text is in ``field``, or for None columns: id, text, score."""
    if field is not None:
        return Hypotheses(JsonLines(field, names))
    table = Kaldi() if kaldi else Csv() if csv else Tabs()
    return Hypotheses(Columns("2", names, header=header, table=table), written_as)


def groups(records: Iterator[Record | None], form: Hypotheses) -> Iterator[list[Record]]:
    """The hypotheses of each id, as far as they follow one another; broken lines by themselves."""
    group: list[Record] = []
    of = None
    for record in records:
        if record is None:
            continue  # a group has to be whole
        if record.text is None:
            yield [record]
            continue
        name = form.group(record.line)
        if group and name != of:
            yield group
            group = []
        of = name
        group.append(record)
    if group:
        yield group


def ranked(
    group: list[Record],
    scores: "list[TextScore]",
    form: Hypotheses,
    wanted: Wanted,
    weight: float,
) -> Iterator[tuple[Record, dict[str, Any], int]]:
    """A group's hypotheses best first, each with its results and its rank."""
    totals = [
        form.other(record.line) + weight * score.total_log_prob / wanted.nats
        for record, score in zip(group, scores, strict=True)
    ]
    places = rank(totals)
    for index in sorted(range(len(group)), key=places.__getitem__):
        names = (wanted.prefix + name for name in NAMES)
        added = dict(zip(names, (totals[index], places[index]), strict=True))
        yield group[index], {**wanted.results(scores[index]), **added}, places[index]
