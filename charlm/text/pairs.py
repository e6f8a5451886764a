"""Pairs of texts, a source and a target: read from tables and from JSON Lines."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from charlm.errors import FieldError, TextError, UsageError
from charlm.text import corpus
from charlm.text.fields import object_of, text_of
from charlm.text.streaming import Line
from charlm.text.tables import Csv, Table, Tabs, cut_by, is_csv, is_number, looks_like, place_of
from charlm.tokenizers.features import featured, parted


class Pair(NamedTuple):
    """What is read, and what is written for it.

    A source with features is a line: its text, a tab and the features (tokenizers/features.py).
    """

    source: str
    target: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairPlaces:
    """Where source and target stand: columns by number from 1 on or by name, or fields.

    So do the features of sources, if they have any. Names of columns stand in the first line, the
    ``header``. Without any column or field a line has two columns, source and target.
    """

    source: str = "1"
    target: str = "2"
    features: str | None = None
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
        features_column: str | None = None,
        features_field: str | None = None,
        header: bool = False,
    ) -> Self:
        """What was asked for. Raises UsageError for what cannot be."""
        columns = (source_column, target_column, features_column)
        fields = (source_field, target_field)
        if any((*fields, features_field)):
            if any(columns) or header:
                raise UsageError("pairs stand in columns or in fields: name one or the other.")
            for name, value in zip(("source_field", "target_field"), fields, strict=True):
                if not value:
                    raise FieldError(name, "is missing: both fields are to be named.")
            found = cls(
                source=fields[0] or "",
                target=fields[1] or "",
                features=features_field,
                is_field=True,
            )
        else:
            found = cls(
                source=source_column or "1",
                target=target_column or "2",
                features=features_column,
                header=header,
                only_two=not any(columns),
            )
            if not all(map(is_number, found.names)):
                found = dataclasses.replace(found, header=True)
            if any(is_number(one) and not int(one) for one in found.names):
                raise UsageError("columns count from 1: there is no column 0.")
        for what, one in (("target", found.target), ("features", found.features)):
            if found.source == one:
                raise UsageError(f"source and {what} cannot both be {one}.")
        if found.target == found.features:
            raise UsageError(f"target and features cannot both be {found.target}.")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Those of source and target, and of features if there are any."""
        both = (self.source, self.target)
        return both if self.features is None else (*both, self.features)


def read_pairs(
    paths: Iterable[str | Path],
    places: PairPlaces,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> tuple[list[Pair], tuple[str, ...]]:
    """The pairs of files, one per line, and notes on the files; blank lines are left out.

    Where there are features, sources are lines of text and features. White space around a source
    or a target is none of it. Raises TextError naming the line of what is no pair.
    """
    documents = corpus.read_documents(list(paths), encoding=encoding, errors=errors)
    notes = tuple(note for document in documents for note in document.notes)
    return [pair for document in documents for pair in _pairs(document, places)], notes


class PairReader:
    """Reads the pairs of one table, of CSV or with tabs, row after row, or those of JSON Lines."""

    def __init__(self, places: PairPlaces, *, csv: bool = False) -> None:
        self.places = places
        self.table: Table = Csv() if csv and not places.is_field else Tabs()
        self._at: list[int] | None = None
        if not places.header and not places.is_field:
            self._at = [int(name) - 1 for name in places.names]

    def pair(self, row: str) -> Pair | None:
        """The pair of a row; None of a blank one, and of the first where that is the header.

        Raises ValueError, with a sentence, if it is none.
        """
        if not row.strip():
            return None
        places = self.places
        if places.is_field:
            values = object_of(row)
            parts = [text_of(values, name) for name in places.names]
        elif self._at is None:
            header = self.table.cells(row)
            self._at = [place_of(header, name) for name in places.names]
            return None
        else:
            parts = _cells(self.table, row, self._at, only_two=places.only_two)
        source, target, *features = (part.strip() for part in parts)
        for side, text in (("source", source), ("target", target)):
            if not text:
                raise ValueError(f"its {side} is empty")
        return Pair(featured(source, *features).line if features else source, target)


def _pairs(document: corpus.Document, places: PairPlaces) -> Iterator[Pair]:
    reader = PairReader(places, csv=is_csv(document.name))
    for row in reader.table.rows(Line(line, 0) for line in document.text.split("\n")):
        assert row is not None  # the text is all there
        number, (line, _, problem, _) = row
        try:
            if problem is not None:
                raise ValueError("a quote that is opened is not closed")
            pair = reader.pair(line)
        except ValueError as error:
            raise TextError(f"{document.name}, line {number}: {error}.") from None
        if pair is not None:
            yield pair


def _cells(table: Table, line: str, at: Sequence[int], *, only_two: bool) -> list[str]:
    cells = table.cells(line)
    needed = 2 if only_two else max(at) + 1
    if len(cells) < needed or (only_two and len(cells) > 2):
        found = cut_by(line) if len(cells) == 1 and isinstance(table, Tabs) else None
        hint = "" if found is None else f"; are they between {found}? Name the file .csv, then"
        if looks_like([line]) == "JSON":
            hint = "; it looks like JSON: name its fields with `source_field` and `target_field`"
        if len(cells) > 2:
            hint = "; name those of the pair with `source_column` and `target_column`"
        between = " between tabs" if isinstance(table, Tabs) else ""
        count = f"{len(cells)} column{'' if len(cells) == 1 else 's'}"
        raise ValueError(f"it has {count}{between}, not {needed}{hint}")
    return [cells[one] for one in at]


def hold_out_pairs(
    pairs: Sequence[Pair], *, share: float, seed: int, has_features: bool = False
) -> tuple[list[Pair], list[Pair], tuple[str, ...]]:
    """What is trained on, a share of the sources to validate on, and notes.

    All pairs of one source stand on one side, whatever its features.
    """
    texts = [parted(pair.source).text if has_features else pair.source for pair in pairs]
    split = corpus.hold_out(texts, split_on="line", share=share, seed=seed)
    held = set(split.valid)
    both = list(zip(pairs, texts, strict=True))
    return (
        [pair for pair, text in both if text not in held],
        [pair for pair, text in both if text in held],
        split.notes,
    )
