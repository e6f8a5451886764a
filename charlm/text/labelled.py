"""Texts with a label each: where the labels stand, read and held out.

A label is the name of the file that a sequence stands in or of its folder, a column beside it, or a
field.
"""

import collections
import dataclasses
import functools
import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

from charlm.errors import FieldError, TextError, UsageError
from charlm.text import corpus
from charlm.text.fields import label_of, object_of, text_of
from charlm.text.files import plain_name
from charlm.text.streaming import Line
from charlm.text.tables import Csv, Table, Tabs, cut_by, is_csv, is_number, place_of

IN_MEMORY = "memory"  # labels that a Python caller hands over beside the texts
FORMS = "file, directory, column:N, column:NAME or field:NAME"
OF_FILES = ("file", "directory")  # what needs no name of a column or field
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_CHARACTERS = 1000  # of a label


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where labels and texts stand: ``kind`` is file, directory, column or field.

    With ``column``, label and text are columns between tabs, by number from 1 on or, where files
    have a ``header``, by name; an empty text is the other one of two, or the column "text". With
    ``field`` they are fields of JSON objects, one per line; with file and directory they are empty.
    """

    kind: str
    label: str = ""
    text: str = ""
    header: bool = False

    @classmethod
    def parse(
        cls,
        form: str,
        *,
        text_column: int | str | None = None,
        text_field: str | None = None,
        header: bool = False,
    ) -> Self:
        """What ``label_from`` says: file, directory, column:2, column:kind or field:language.

        The text of a row is the other one of two columns, that of an object its field "text". A
        name of a column means that there is a header. Raises UsageError.
        """
        if form == IN_MEMORY:
            return cls(kind=form)
        kind, _, label = form.partition(":")
        alone = kind in OF_FILES
        if not (not label if alone else kind in ("column", "field") and bool(label)):
            raise UsageError(
                f"labels are read from {FORMS} (column:2, field:language), not from {form!r}."
            )
        if text_column is not None and kind != "column":
            raise FieldError("text_column", "goes with labels from a column.")
        if header and kind != "column":
            raise FieldError("header", "goes with labels from a column.")
        if text_field is not None and kind != "field":
            raise FieldError("text_field", "goes with labels from a field.")
        if alone:
            return cls(kind=kind)
        if kind == "field":
            text = "text" if text_field is None else text_field
        else:
            text = "" if text_column is None else str(text_column)
            header = header or not all(is_number(one) for one in (label, text or "1"))
            if any(is_number(one) and not int(one) for one in (label, text)):
                raise UsageError("columns count from 1: there is no column 0.")
            if not text and is_number(label) and (not header or int(label) < 3):
                if int(label) > 2:
                    raise UsageError(f"the label is column {label}: give `text_column`, too.")
                text = str(3 - int(label))
        if text == label:
            raise UsageError(f"text and label cannot both be {kind} {label}.")
        return cls(kind=kind, label=label, text=text, header=header)

    @property
    def is_of_files(self) -> bool:
        """Whether labels are names, so that what a sequence of a file is remains to be said."""
        return self.kind in OF_FILES

    def __str__(self) -> str:
        return f"{self.kind}:{self.label}" if self.label else self.kind


class Labelled(NamedTuple):
    """A sequence and its label."""

    text: str
    label: str


class LabelledTexts(NamedTuple):
    """Texts and the label of each."""

    texts: list[str]
    labels: list[str]

    @classmethod
    def of(cls, pairs: Iterable[Labelled]) -> "LabelledTexts":
        """The same, apart."""
        there = list(pairs)
        return cls([one.text for one in there], [one.label for one in there])


def read_labelled(
    paths: Iterable[str | Path],
    source: LabelSource,
    *,
    split_on: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> tuple[list[Labelled], str, tuple[str, ...]]:
    """The sequences of files with their labels, what a sequence is, and notes on the files.

    A row or an object is a sequence; files are split as split_on says, or by the look of them;
    where a label is a folder of several files, a file is one. Blank ones are left out. Raises
    TextError naming the line of what cannot be read, UsageError where names cannot be labels.
    """
    paths = list(paths)
    documents = corpus.read_documents(paths, encoding=encoding, errors=errors)
    notes = tuple(note for document in documents for note in document.notes)
    if source.is_of_files:
        names, more = _NAMED[source.kind](paths, documents)
        several = (
            source.kind == "directory" and max(collections.Counter(names.values()).values()) > 1
        )
        split_on = split_on or (
            "file" if several else corpus.choose_split(document.text for document in documents)
        )
        found = [
            Labelled(text, names[document.name])
            for document in documents
            if document.name in names
            for text in corpus.split_sequences(document.text, split_on)
        ]
        return found, split_on, notes + more
    if source.kind == IN_MEMORY:
        raise UsageError(f"labels are read from {FORMS}, not from {IN_MEMORY!r}.")
    if split_on is not None:
        raise UsageError(f"with labels from a {source.kind} a line is a sequence: leave out split.")
    tables = [list(_records(document, source)) for document in documents]
    found = [one for table in tables for one in table]
    if source.kind == "column" and not source.header:
        notes += _headers(documents, tables, found)
    several = any("\n" in one.text for one in found)
    return found, "paragraph" if several else "line", notes


# Labels that are names: what each document's is (those without are left out), and notes

_NO_KIND = ("readme", "license", "licence", "copying", "authors", "changelog", "notice", "todo")
_Named: TypeAlias = tuple[dict[str, str], tuple[str, ...]]


def _by_file(paths: Sequence[str | Path], documents: Sequence[corpus.Document]) -> _Named:
    """Labels are the names of files. Two files of one name in two folders are refused."""
    del paths
    names = {document.name: label_of_file(document.name) for document in documents}
    folders: dict[str, str] = {}
    for name, label in names.items():
        other = folders.setdefault(label, name)
        if _folder(other) != _folder(name):
            raise UsageError(
                f"{other} and {name} are of one name, so both would have the label {label!r}. If "
                'the names of their folders are the labels, read labels from "directory".'
            )
    endings = collections.Counter(_ending(name) for name in names)
    usual, number = endings.most_common(1)[0]
    notes = []
    for name, label in names.items():
        stray = 2 * number > len(names) > 2 and _ending(name) != usual
        if stray or label.casefold() in _NO_KIND:
            notes.append(
                f"{name}: its name is taken for a label, {label!r}, as that of each file; move it "
                "elsewhere if it is none"
            )
    return names, tuple(notes)


def _by_directory(paths: Sequence[str | Path], documents: Sequence[corpus.Document]) -> _Named:
    """Labels are the names of the folders that files are in.

    What lies in a given folder, beside folders of files, is in none that is a label: left out.
    """
    for document in documents:
        if document.name == _STDIN:
            raise UsageError("what comes from standard input is in no folder to be its label.")
    given = {os.path.abspath(path) for path in paths}
    folders = {document.name: _folder(document.name) for document in documents}
    above = {str(parent) for folder in set(folders.values()) for parent in Path(folder).parents}
    beside = given & above
    strays = [name for name, folder in folders.items() if folder in beside]
    names = {
        name: os.path.basename(folder) for name, folder in folders.items() if folder not in beside
    }
    if "" in names.values():
        raise UsageError("the root of all folders has no name to be a label.")
    if not strays:
        return names, ()
    others = f" and {len(strays) - 1:,} more" if len(strays) > 1 else ""
    return names, (
        f"left out, beside the folders that are labels and in none: {strays[0]}{others}",
    )


_NAMED = {"file": _by_file, "directory": _by_directory}
_STDIN = "standard input"


def label_of_file(name: str) -> str:
    """The name of a file without its suffix (of a ``.gz``, ``.bz2`` or ``.xz``, without both)."""
    label = plain_name(name).stem
    if name == _STDIN or not label:
        raise UsageError("what comes from standard input has no file name to be its label.")
    return label


def _folder(name: str) -> str:
    """Where a file is; links are not followed, for their names are the ones that a person gave."""
    return os.path.dirname(os.path.abspath(name))


def _ending(name: str) -> str:
    return plain_name(name).suffix


# Labels that stand beside the text


def _records(document: corpus.Document, source: LabelSource) -> Iterator[Labelled]:
    table: Table = Csv() if source.kind == "column" and is_csv(document.name) else Tabs()
    cells: Callable[[str], tuple[str, str]] = functools.partial(_fields, source=source)
    is_header = source.header
    if source.kind == "column" and not is_header:
        text_at, label_at = int(source.text) - 1, int(source.label) - 1
        cells = functools.partial(_columns, table=table, text=text_at, label=label_at)
    for row in table.rows(Line(line, 0) for line in document.text.split("\n")):
        assert row is not None  # the text is all there
        number, (line, _, problem, _) = row
        if not line.strip():
            continue
        try:
            if problem is not None:
                raise ValueError("a quote that is opened is not closed")
            if is_header:
                is_header = False
                text_at, label_at = _places(table.cells(line), source)
                cells = functools.partial(_columns, table=table, text=text_at, label=label_at)
                continue
            text, label = cells(line)
            if not label.strip():
                raise ValueError("it has an empty label")
            if len(label.strip()) > MOST_CHARACTERS:
                raise ValueError(
                    f"its label has {len(label.strip()):,} characters, {MOST_CHARACTERS:,} are "
                    "the most: is that the text?"
                )
        except ValueError as error:
            raise TextError(f"{document.name}, line {number}: {error}.") from None
        if text.strip():
            yield Labelled(text, label.strip())


def _places(header: Sequence[str], source: LabelSource) -> tuple[int, int]:
    """The places of text and label among columns whose names stand in the first line."""
    label = place_of(header, source.label)
    if source.text:
        text = place_of(header, source.text)
    elif len(header) == 2:
        text = 1 - label
    elif "text" in header:
        text = header.index("text")
    else:
        raise ValueError(f"which of its {len(header)} columns is the text? Name that, too")
    if text == label:
        raise ValueError(f'text and label cannot both be column "{header[label]}"')
    return text, label


def _columns(line: str, *, table: Table, text: int, label: int) -> tuple[str, str]:
    cells = table.cells(line)
    needed = max(text, label) + 1
    if len(cells) < needed:
        found = cut_by(line) if isinstance(table, Tabs) else None
        hint = "" if found is None else f". Are they between {found}? Name the file .csv, then"
        between = " between tabs" if isinstance(table, Tabs) else ""
        raise ValueError(f"it has {len(cells)} columns{between}, not {needed}{hint}")
    return cells[text], cells[label]


# What columns are called rather than what they hold.
_TEXTS = {"text", "sentence", "comment", "review", "content", "message", "name", "word", "title"}
_LABELS = {"label", "class", "category", "tag", "target", "kind", "type", "topic", "sentiment"}
_LABELS |= {"language", "lang", "intent", "genre", "author", "toxic", "y"}


def _headers(
    documents: Sequence[corpus.Document],
    tables: Sequence[Sequence[Labelled]],
    found: Sequence[Labelled],
) -> tuple[str, ...]:
    """What there is to say of tables whose first row looks like the names of their columns.

    No text else has its label, and it is called as such columns are, or all other labels recur.
    """
    counts = collections.Counter(one.label for one in found)
    firsts = collections.Counter(table[0].label for table in tables if table)
    notes = []
    for document, table in zip(documents, tables, strict=True):
        if not table or counts[table[0].label] > firsts[table[0].label]:
            continue
        text, label = (cell.strip().casefold() for cell in table[0])
        called = {label, label.removesuffix("s")} & _LABELS or {
            text,
            text.removesuffix("s"),
        } & _TEXTS
        others = [counts[name] for name in counts if name not in firsts]
        recur = len(found) > 3 and bool(others) and min(others) > 1 and len(text.split()) == 1
        if called or recur:
            notes.append(
                f"{document.name}: its first line looks like names of columns ({text:.40}, "
                f"{label:.40}), but is read as a text and its label; if it is a header, give "
                "`header`"
            )
    return tuple(notes)


def _fields(line: str, source: LabelSource) -> tuple[str, str]:
    values: Mapping[str, Any] = object_of(line)
    text, label = text_of(values, source.text), label_of(values, source.label)
    for what, value in ((source.text, text), (source.label, label)):
        if _SURROGATE.search(value):  # an escape, for a file of UTF-8 cannot hold one
            raise ValueError(f'its field "{what}" has half a surrogate pair, which is no character')
    return text, label


def hold_out_labelled(
    sequences: Sequence[Labelled], *, split_on: str, share: float, seed: int, whole: bool = False
) -> tuple[list[Labelled], list[Labelled]]:
    """What is trained on, and a share of each label to validate on (a stratified split).

    A text that occurs several times, with one label or with several, goes to one side as a whole:
    it counts for the label that it has first. Where a sequence is a file, its last part is held
    out, or, where there are many files of a label and they stay ``whole``, some of them.
    """
    if split_on == "file" and whole:
        split_on = "line"  # as lines do, they go to one side or the other
    if split_on == "file":
        parts = [
            corpus.hold_out([one.text], split_on=split_on, share=share, seed=seed)
            for one in sequences
        ]
        labels = [one.label for one in sequences]
        train, valid = (
            [
                Labelled(text, label)
                for part, label in zip(parts, labels, strict=True)
                for text in getattr(part, side)
            ]
            for side in ("train", "valid")
        )
        return train, valid
    groups: dict[str, list[str]] = {}
    for text, label in dict(reversed(sequences)).items():  # the first of each text wins
        groups.setdefault(label, []).append(text)
    held: set[str] = set()
    for label in sorted(groups):
        texts = sorted(groups[label])
        held.update(corpus.hold_out(texts, split_on=split_on, share=share, seed=seed).valid)
    return (
        [one for one in sequences if one.text not in held],
        [one for one in sequences if one.text in held],
    )
