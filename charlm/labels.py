"""Labels of sequences: where they are read from, how many have each, and what was made of them.

A label is the name of the file that a sequence stands in, a column beside it, or a field.
"""

import collections
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm import corpus
from charlm.classifying import LEAST_TEMPERATURE, MOST_TEMPERATURE
from charlm.errors import CheckpointError, TextError, UsageError

FORMS = "file, column:N or field:NAME"
_SAID = 20  # labels that an error lists
_MOST = 1_000_000
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_CHARACTERS = 1000  # of a label


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where labels and texts stand: ``kind`` is file, column or field.

    With ``column``, label and text are the numbers of columns between tabs, from 1 on; with
    ``field`` the names of fields of JSON objects, one a line; with ``file`` they are empty.
    """

    kind: str
    label: str = ""
    text: str = ""

    @classmethod
    def parse(
        cls, form: str, *, text_column: int | None = None, text_field: str | None = None
    ) -> Self:
        """What ``--label-from`` says: file, column:2 or field:language. Raises UsageError.

        The text of a row is the other one of two columns, that of an object its field "text".
        """
        kind, _, label = form.partition(":")
        sound = not label if kind == "file" else kind in ("column", "field") and bool(label)
        if not sound or (kind == "column" and not (label.isdecimal() and int(label))):
            raise UsageError(
                f"labels are read from {FORMS} (column:2, field:language), not from {form!r}."
            )
        if text_column is not None and kind != "column":
            raise UsageError("--text-column goes with labels from a column.")
        if text_field is not None and kind != "field":
            raise UsageError("--text-field goes with labels from a field.")
        if kind == "file":
            return cls(kind=kind)
        if kind == "field":
            text = "text" if text_field is None else text_field
        else:
            if text_column is None and int(label) > 2:
                raise UsageError(f"the label is column {label}: say --text-column, too.")
            text = str(3 - int(label) if text_column is None else text_column)
            if int(text) < 1:
                raise UsageError("--text-column counts from 1.")
        if text == label:
            raise UsageError(f"text and label cannot both be {kind} {label}.")
        return cls(kind=kind, label=label, text=text)

    def __str__(self) -> str:
        return self.kind if self.kind == "file" else f"{self.kind}:{self.label}"


class Labelled(NamedTuple):
    """A sequence and its label."""

    text: str
    label: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a conditional model, and how many training sequences have each.

    ``temperature`` is what log P(label, text) is divided by before it is normalised, None until it
    has been fitted to the text held out (classifying.py).
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    temperature: float | None = None

    @classmethod
    def of(cls, labels: Iterable[str]) -> Self:
        """Those of the training sequences, in alphabetical order."""
        counts = collections.Counter(labels)
        names = tuple(sorted(counts))
        return cls(names=names, counts=tuple(counts[name] for name in names))

    @property
    def log_prior(self) -> NDArray[np.float64]:
        """log P(label) (L,): one is added to the count of each (Laplace)."""
        counts = np.array(self.counts, dtype=np.float64) + 1
        return np.asarray(np.log(counts / counts.sum()))

    def index(self, name: str) -> int:
        """The number of a label. Raises UsageError naming those there are."""
        if name not in self.names:
            more = len(self.names) - _SAID
            known = ", ".join(self.names[:_SAID]) + (f" and {more:,} more" if more > 0 else "")
            raise UsageError(f"the model knows no label {name!r}. It knows {known}.")
        return self.names.index(name)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """What ``to_json`` wrote. Raises CheckpointError for anything else."""
        if not isinstance(values, dict) or values.keys() != {"names", "counts", "temperature"}:
            raise CheckpointError("it does not hold the labels of a model.")
        names, counts, temperature = values["names"], values["counts"], values["temperature"]
        if (
            not isinstance(names, list)
            or not isinstance(counts, list)
            or not 0 < len(names) == len(counts) <= _MOST
            or not all(type(name) is str and 0 < len(name) <= MOST_CHARACTERS for name in names)
            or len(set(names)) < len(names)
            or not all(type(count) is int and 0 <= count < 2**53 for count in counts)
        ):
            raise CheckpointError("its names or counts cannot be those of labels.")
        if temperature is not None and not (
            type(temperature) in (int, float)
            and LEAST_TEMPERATURE <= temperature <= MOST_TEMPERATURE
        ):
            raise CheckpointError(f"its temperature cannot be {temperature!r:.40}.")
        return cls(names=tuple(names), counts=tuple(counts), temperature=temperature)


def read_labelled(
    paths: Iterable[str | Path],
    source: LabelSource,
    *,
    split_on: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> tuple[list[Labelled], str, tuple[str, ...]]:
    """The sequences of files with their labels, what a sequence is, and notes on the files.

    A row or an object is a sequence; files are split as split_on says, or by the look of them.
    Blank ones are left out. Raises TextError naming the line of what cannot be read.
    """
    documents = corpus.read_documents(paths, encoding=encoding, errors=errors)
    notes = tuple(note for document in documents for note in document.notes)
    if source.kind == "file":
        split_on = split_on or corpus.choose_split(document.text for document in documents)
        found = [
            Labelled(text, label_of_file(document.name))
            for document in documents
            for text in corpus.split_sequences(document.text, split_on)
        ]
        return found, split_on, notes
    if split_on is not None:
        raise UsageError(f"with labels from a {source.kind} a line is a sequence: leave out split.")
    found = [one for document in documents for one in _records(document, source)]
    several = any("\n" in one.text for one in found)
    return found, "paragraph" if several else "line", notes


def label_of_file(name: str) -> str:
    """The name of a file without its suffix (of a ``.gz`` file, without both)."""
    label = Path(name.removesuffix(".gz")).stem
    if name == "standard input" or not label:
        raise UsageError("what comes from standard input has no file name to be its label.")
    return label


def _records(document: corpus.Document, source: LabelSource) -> Iterator[Labelled]:
    cells = _columns if source.kind == "column" else _fields
    for number, line in enumerate(map(corpus.without_cr, document.text.split("\n")), 1):
        if not line.strip():
            continue
        try:
            text, label = cells(line, source)
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


def _columns(line: str, source: LabelSource) -> tuple[str, str]:
    cells = line.split("\t")
    needed = max(int(source.text), int(source.label))
    if len(cells) < needed:
        raise ValueError(f"it has {len(cells)} columns between tabs, not {needed}")
    return cells[int(source.text) - 1], cells[int(source.label) - 1]


def _fields(line: str, source: LabelSource) -> tuple[str, str]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    text, label = values.get(source.text), values.get(source.label)
    if type(text) is not str:
        raise ValueError(f'it has no text in the field "{source.text}"')
    if type(label) not in (str, int):
        raise ValueError(f'it has no label in the field "{source.label}"')
    for what, value in ((source.text, text), (source.label, str(label))):
        if _SURROGATE.search(value):  # an escape, for a file of UTF-8 cannot hold one
            raise ValueError(f'its field "{what}" has half a surrogate pair, which is no character')
    return text, str(label)


def hold_out(
    sequences: Sequence[Labelled], *, split_on: str, share: float, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """What is trained on, and a share of each label to validate on (a stratified split).

    A text that occurs several times, with one label or with several, goes to one side as a whole:
    it counts for the label that it has first. Where a sequence is a file, its last part is held
    out.
    """
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
