"""A file of texts, a line each or several in a line, and what becomes of its broken lines."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from charlm.cli.input.beginning import texts_of
from charlm.cli.input.records import Form, Record, read
from charlm.cli.options import Cut, Decoding
from charlm.cli.output.terminal import say
from charlm.errors import TextError, UsageError
from charlm.text.tables import is_csv, looks_like, suffix_of

if TYPE_CHECKING:
    from charlm.text.streaming import Line

_OPTIONS = {  # that read what a name's suffix tells
    ".csv": "columns between commas or semicolons: --column says which of them is the text",
    ".tsv": "columns between tabs: --column says which of them is the text",
    ".jsonl": "JSON objects: --jsonl reads a field of theirs",
    ".ndjson": "JSON objects: --jsonl reads a field of theirs",
}


class TextFile(NamedTuple):
    """A file of texts; in_records they are parts of lines that hold other things, too."""

    name: str
    cut: Cut
    decoding: Decoding
    in_records: bool

    @property
    def is_plain(self) -> bool:
        """Whether each line is a text because nobody said anything else."""
        return not self.in_records and self.cut.parting is None

    def check_name(self) -> None:
        """Raise UsageError if lines that are to be texts are those of a table, by its name."""
        if not self.in_records and self.is_parquet:
            raise UsageError(
                f"{self.name} is a Parquet file: --column says which of its columns is the text."
            )
        if self.is_plain and (what := _OPTIONS.get(suffix_of(self.name))) is not None:
            raise UsageError(
                f"{self.name} holds {what}. (In a pipe its lines are taken as they are.)"
            )

    @property
    def is_csv(self) -> bool:
        """Whether its name says that commas or semicolons stand between columns.

        Rows of a Parquet file come so, too.
        """
        return is_csv(self.name) or self.is_parquet

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file."""
        from charlm.text.binary.parquet import is_parquet

        return is_parquet(self.name)

    def records(self, form: Form, broken: "Broken") -> Iterator[Record | None]:
        """Its lines, the broken ones dealt with; None where no more can be had for now."""
        lines: Iterator[Line | None]
        if self.is_parquet:
            from charlm.text.binary.parquet import parquet_lines

            lines = parquet_lines(self.name)
        else:
            lines = texts_of(self.name, self.cut.parting or "line", self.decoding)
        return broken.sorted_out(read(_noticed(lines) if self.is_plain else lines, form))

    def read_twice(self, form: Form) -> Iterator[Record]:
        """The same of a file that is going to be read again. Raises UsageError for a pipe."""
        if not (Path(self.name).is_file() or Path(self.name).is_dir()):
            raise UsageError("a pipe cannot be read twice: give a file.")
        return self.silent_records(form)

    def silent_records(self, form: Form) -> Iterator[Record]:
        """The same, broken ones too, and nothing is said: of a file that is read once more."""
        from charlm.text.binary.parquet import parquet_lines
        from charlm.text.streaming import stream_texts

        if self.is_parquet:
            return (record for record in read(parquet_lines(self.name), form) if record is not None)
        lines = stream_texts(self.name, self.cut.parting or "line", **vars(self.decoding))
        return (record for record in read(lines, form) if record is not None)


class Broken:
    """Broken lines are kept, dropped or the end (``on_error``), and counted."""

    def __init__(self, on_error: str) -> None:
        self._on_error = on_error
        self._number = 0

    def sorted_out(self, records: Iterable[Record | None]) -> Iterator[Record | None]:
        """The records without the broken ones that are to be dropped.

        Raises TextError at the first if that is what was asked for, when those before it have
        been dealt with.
        """
        for record in records:
            if record is not None and record.problem is not None:
                if self._on_error == "stop":
                    yield None  # what was read before it
                    raise TextError(record.problem)
                self._number += 1
                say(record.problem)
                if self._on_error == "drop":
                    continue
            yield record

    def say(self, left_out: int = 0) -> None:
        """Say how many there were, if any; so many were kept but had no place."""
        if kept := self._number - left_out:
            verb = {"keep": "kept as they were", "drop": "dropped"}[self._on_error]
            say(f"broken lines, {verb}: {kept:,}")
        if left_out:
            say(f"broken lines, left out, for there is no row for them: {left_out:,}")


def say_lines_are_texts(split_on: str) -> None:
    """Say so where a model's sequences are something else, and how to have it cut as they are."""
    if split_on != "line":
        say(
            f"a text is a line; the model's sequences are {split_on}s: --split-on {split_on} cuts "
            "so, -0 reads what charlm sample -0 wrote"
        )


def _noticed(lines: "Iterable[Line | None]") -> "Iterator[Line | None]":
    """Plain lines as they are; if the first ones look like those of a table, that is said."""
    first: list[str] | None = []
    for line in lines:
        yield line
        if line is not None and first is not None:
            first.append(line.text)
            if len(first) == 5:
                _say_looks(first)
                first = None
    if first:
        _say_looks(first)


def _say_looks(first: list[str]) -> None:
    ways = {
        "JSON": "JSON objects; --jsonl reads a field of theirs",
        "CoNLL-U": "CoNLL-U; charlm tag reads its tokens",
        "tabs": "columns between tabs; --column 2 reads one of them",
    }
    if (found := looks_like(first)) is not None:
        between = f"columns between {found}; --csv --column 2 reads one of them"
        say(f"each line is taken as a text, but they look like {ways.get(found, between)}")
