"""Pairs of texts, a source and a target: read from tables and from JSON Lines."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from charlm.errors import FieldError, TextError, UsageError
from charlm.text import corpus
from charlm.text.fields import object_of, text_of
from charlm.text.streaming import Line
from charlm.text.tables import Csv, Table, Tabs, cut_by, is_csv, is_number, place_of


class Pair(NamedTuple):
    """What is read, and what is written for it."""

    source: str
    target: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairPlaces:
    """Where source and target stand: columns by number from 1 on or by name, or fields.

    Names of columns stand in the first line, the ``header``. Without any column or field a line
    has two columns, source and target.
    """

    source: str = "1"
    target: str = "2"
    is_field: bool = False
    header: bool = False
    only_two: bool = False

    @classmethod
    def of(
        cls,
        *,
        source_column: str | None = None,
        target_column: str | None = None,
        source_field: str | None = None,
        target_field: str | None = None,
        header: bool = False,
    ) -> Self:
        """What was asked for. Raises UsageError for what cannot be."""
        columns, fields = (source_column, target_column), (source_field, target_field)
        if any(fields):
            if any(columns) or header:
                raise UsageError("pairs stand in columns or in fields: name one or the other.")
            for name, value in zip(("source_field", "target_field"), fields, strict=True):
                if not value:
                    raise FieldError(name, "is missing: both fields are to be named.")
            found = cls(source=fields[0] or "", target=fields[1] or "", is_field=True)
        else:
            source, target = source_column or "1", target_column or "2"
            named = not (is_number(source) and is_number(target))
            found = cls(
                source=source,
                target=target,
                header=header or named,
                only_two=not any(columns),
            )
            if any(is_number(one) and not int(one) for one in (source, target)):
                raise UsageError("columns count from 1: there is no column 0.")
        if found.source == found.target:
            raise UsageError(f"source and target cannot both be {found.source}.")
        return found


def read_pairs(
    paths: Iterable[str | Path],
    places: PairPlaces,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> tuple[list[Pair], tuple[str, ...]]:
    """The pairs of files, one per line, and notes on the files; blank lines are left out.

    White space around a source or a target is none of it. Raises TextError naming the line of
    what is no pair.
    """
    documents = corpus.read_documents(list(paths), encoding=encoding, errors=errors)
    notes = tuple(note for document in documents for note in document.notes)
    return [pair for document in documents for pair in _pairs(document, places)], notes


def _pairs(document: corpus.Document, places: PairPlaces) -> Iterator[Pair]:
    table: Table = Csv() if is_csv(document.name) and not places.is_field else Tabs()
    at: tuple[int, int] | None = None
    if not places.header and not places.is_field:
        at = int(places.source) - 1, int(places.target) - 1
    for row in table.rows(Line(line, 0) for line in document.text.split("\n")):
        assert row is not None  # the text is all there
        number, (line, _, problem, _) = row
        if not line.strip():
            continue
        try:
            if problem is not None:
                raise ValueError("a quote that is opened is not closed")
            if places.is_field:
                values = object_of(line)
                pair = Pair(text_of(values, places.source), text_of(values, places.target))
            elif at is None:
                header = table.cells(line)
                at = place_of(header, places.source), place_of(header, places.target)
                continue
            else:
                pair = _cells(table, line, at, only_two=places.only_two)
            pair = Pair(pair.source.strip(), pair.target.strip())
            for side in pair._fields:
                if not getattr(pair, side):
                    raise ValueError(f"its {side} is empty")
        except ValueError as error:
            raise TextError(f"{document.name}, line {number}: {error}.") from None
        yield pair


def _cells(table: Table, line: str, at: tuple[int, int], *, only_two: bool) -> Pair:
    cells = table.cells(line)
    needed = 2 if only_two else max(at) + 1
    if len(cells) < needed or (only_two and len(cells) > 2):
        found = cut_by(line) if len(cells) == 1 and isinstance(table, Tabs) else None
        hint = "" if found is None else f"; are they between {found}? Name the file .csv, then"
        if len(cells) > 2:
            hint = "; name those of the pair with `source_column` and `target_column`"
        between = " between tabs" if isinstance(table, Tabs) else ""
        count = f"{len(cells)} column{'' if len(cells) == 1 else 's'}"
        raise ValueError(f"it has {count}{between}, not {needed}{hint}")
    return Pair(cells[at[0]], cells[at[1]])


def hold_out_pairs(
    pairs: Sequence[Pair], *, share: float, seed: int
) -> tuple[list[Pair], list[Pair], tuple[str, ...]]:
    """What is trained on, a share of the sources to validate on, and notes.

    All pairs of one source stand on one side.
    """
    split = corpus.hold_out(
        [pair.source for pair in pairs], split_on="line", share=share, seed=seed
    )
    held = set(split.valid)
    return (
        [pair for pair in pairs if pair.source not in held],
        [pair for pair in pairs if pair.source in held],
        split.notes,
    )
