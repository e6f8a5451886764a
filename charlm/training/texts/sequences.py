"""The texts of a language model: read, split into sequences, and some of them held out."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TypeVar

from charlm.errors import TextError
from charlm.inference.labels import Labels
from charlm.text.corpus import (
    Counts,
    choose_split,
    count,
    fingerprint,
    hold_out,
    read_documents,
    split_sequences,
)
from charlm.text.labelled import IN_MEMORY, Labelled, LabelSource, hold_out_labelled, read_labelled
from charlm.text.overlap import overlap
from charlm.text.passes import SequenceFiles
from charlm.text.tables import first_lines, said_of
from charlm.training.request import Request, Say
from charlm.training.texts.memory import TextsInMemory

_FEW_CHARACTERS = 1_000  # fewer than this are remarked on
A = TypeVar("A")


@dataclasses.dataclass(frozen=True)
class Texts:
    """The corpus, split: what is trained on, what is held out, and how sequences were found.

    Where sequences have labels, train_labels and valid_labels are their numbers in ``labels``.
    """

    train: list[str]
    valid: list[str]
    split_on: str
    labels: Labels | None = None
    train_labels: list[int] | None = None
    valid_labels: list[int] | None = None

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        if self.labels is not None:
            numbers = map(str, [*(self.train_labels or ()), *(self.valid_labels or ())])
            labelled = [*self.labels.names, "", *numbers, ""]
            return fingerprint([*labelled, self.split_on, *self.train, "", *self.valid])
        return fingerprint([self.split_on, *self.train, "", *self.valid])

    def differences(self, split_on: str, labels: Labels | None, about: object) -> str:
        """What is another than a saved step says: what sequences are, their labels, their sizes."""
        sizes = {side: count(getattr(self, side)) for side in ("train", "valid")}
        changes = size_differences((split_on, about), (self.split_on, sizes))
        names = [found.names if found else () for found in (labels, self.labels)]
        for ours, theirs, where in ((*names, "there"), (*reversed(names), "here")):
            if lost := sorted(set(ours) - set(theirs)):
                more = f" and {len(lost) - 5:,} more" if len(lost) > 5 else ""
                changes.append(f"labels {', '.join(lost[:5])}{more} only {where}")
        return ", ".join(changes) or "as long, but not the same"


def size_differences(
    there: tuple[str, object], here: tuple[str, Mapping[str, Counts]]
) -> list[str]:
    """In what two texts differ: what a sequence is, and the sizes of both sides.

    One is as a saved step tells it (about), the other as it was counted.
    """
    changes = []
    (before_is, about), (now_is, sizes) = there, here
    if before_is != now_is:
        changes.append(f"a sequence is a {before_is} there, a {now_is} here")
    for side, what in (("train", "to train on"), ("valid", "held out")):
        told = about.get(side, {}) if isinstance(about, dict) else {}
        for name in ("sequences", "characters"):
            before, now = told.get(name), getattr(sizes[side], name)
            if type(before) is int and before != now:
                changes.append(f"{before:,} {name} {what} there, {now:,} here")
    return changes


def read_texts(request: Request, say: Say, given: TextsInMemory | None = None) -> Texts:
    """Read, decode, split into sequences and hold out. Raises TextError where nothing is left.

    Texts ``given`` in memory stand in place of the files that a request names.
    """
    if request.label_source is not None:
        return _read_labelled(request, request.label_source, say, given)
    if given is not None:
        train, valid = given.sequences()
        split_on = given.split_on
    else:
        train, valid, split_on = _read_files(request, say)
    if not train:
        raise TextError("there is no text to train on: the corpus is empty or blank.")
    if is_apart(request, given) and not valid:
        raise TextError("there is no text to validate on: it is empty or blank.")
    if not is_apart(request, given):
        split = hold_out(train, split_on=split_on, share=request.valid_share, seed=request.seed)
        train, valid = split.train, split.valid
        for note in split.notes:
            say(note)
    train = without_copies(request, train, say)
    _say_text(request, train, valid, split_on, say)
    return Texts(train, valid, split_on)


def _read_files(request: Request, say: Say) -> tuple[list[str], list[str], str]:
    """The sequences of the files to train on and to validate on, and what they are split on."""
    if request.text_field is not None:
        return _read_field(request, request.text_field, say)
    options = {"encoding": request.encoding, "errors": request.errors}
    documents = read_documents(request.corpus, **options)
    held = read_documents(request.valid, **options) if request.valid else []
    for document in [*documents, *held]:
        for note in (*document.notes, *said_of(document.name, first_lines(document.text))):
            say(note)
    split_on = request.split_on or choose_split(d.text for d in documents)
    train, valid = (
        [s for d in side for s in split_sequences(d.text, split_on)] for side in (documents, held)
    )
    return train, valid, split_on


def _read_field(request: Request, field: str, say: Say) -> tuple[list[str], list[str], str]:
    """The same of a field of JSON Lines, or a column of Parquet files: each is a sequence."""
    options = {"field": field, "encoding": request.encoding, "errors": request.errors}
    train, valid = (
        [
            text
            for block in (SequenceFiles.below(paths, **options).blocks(say) if paths else ())
            for text in block.texts
        ]
        for paths in (request.corpus, request.valid)
    )
    return train, valid, "paragraph" if any("\n" in text for text in train) else "line"


def without_copies(request: Request, train: list[A], say: Say) -> list[A]:
    """What is trained on, each sequence once if that was asked for."""
    if not request.distinct:
        return train
    distinct = list(dict.fromkeys(train))
    say(f"copies left out of training: {len(train) - len(distinct):,}")
    return distinct


def is_apart(request: Request, given: TextsInMemory | None) -> bool:
    """Whether what to validate on was named, so that nothing is held out of the training text."""
    return bool(request.valid if given is None else given.valid_texts)


def read_labelled_sides(
    request: Request,
    source: LabelSource,
    say: Say,
    given: TextsInMemory | None,
    split_on: str | None = None,
) -> tuple[list[Labelled], list[Labelled], str]:
    """Sequences with a label each: to train on, held out, and what one is.

    split_on is what a sequence of a file is where nothing was asked for.
    """
    train, valid, split_on, notes = _labelled(request, source, given, split_on)
    if not is_apart(request, given) and request.valid_share:
        train, valid = hold_out_labelled(
            train,
            split_on=split_on,
            share=request.valid_share,
            seed=request.seed,
            whole=source.kind in ("directory", IN_MEMORY),
        )
    for note in notes:
        say(note)
    return train, valid, split_on


def _labelled(
    request: Request, source: LabelSource, given: TextsInMemory | None, split_on: str | None
) -> tuple[list[Labelled], list[Labelled], str, tuple[str, ...]]:
    """What is read to train on and to validate on, what a sequence is, and notes."""
    if given is not None:
        return *given.labelled(), given.split_on, ()
    options = {"encoding": request.encoding, "errors": request.errors}
    train, split_on, notes = read_labelled(
        request.corpus, source, split_on=request.split_on or split_on, **options
    )
    if not request.valid:
        return train, [], split_on, notes
    of_files = split_on if source.is_of_files else None
    valid, _, more = read_labelled(request.valid, source, split_on=of_files, **options)
    return train, valid, split_on, notes + more


def _read_labelled(
    request: Request, source: LabelSource, say: Say, given: TextsInMemory | None
) -> Texts:
    """The same where each sequence has a label."""
    train, valid, split_on = read_labelled_sides(request, source, say, given)
    if not valid:
        say("nothing is held out for validation")
    labels = Labels.of(one.label for one in train)
    if len(labels.names) < 2:
        raise TextError(
            f"labels from {source}: there are fewer than two of them in the text "
            f"({', '.join(labels.names) or 'none'})."
        )
    number = {name: index for index, name in enumerate(labels.names)}
    if (
        valid
        and is_apart(request, given)
        and (strange := {one.label for one in valid} - number.keys())
    ):
        raise TextError(
            f"the label {min(strange)!r} occurs in the text to validate on, and not in training."
        )
    valid = [one for one in valid if one.label in number]
    train = without_copies(request, train, say)
    texts = Texts(
        [one.text for one in train],
        [one.text for one in valid],
        split_on,
        labels,
        [number[one.label] for one in train],
        [number[one.label] for one in valid],
    )
    _say_text(request, texts.train, texts.valid, split_on, say)
    say(f"labels: {len(number):,}, from {source}")
    return texts


def _say_text(
    request: Request, train: list[str], valid: list[str], split_on: str, say: Say
) -> None:
    say_sizes(request, count(train), count(valid), split_on, say)
    if request.valid and (note := overlap(train, valid, split_on).note()):
        say(note)


def say_sizes(request: Request, counts: Counts, held: Counts, split_on: str, say: Say) -> None:
    """Say how large a text is, and what is held out of it."""
    chosen = "" if request.split_on else " (guessed from the text; set with `split_on`)"
    say(
        f"text: {counts.characters:,} characters in {counts.sequences:,} "
        f"{'sequence' if counts.sequences == 1 else 'sequences'}, one per {split_on}{chosen}; "
        f"{held.characters:,} more held out"
    )
    if counts.characters < _FEW_CHARACTERS:
        say(
            f"only {counts.characters:,} characters: the model will do little more than repeat "
            f"them; give {_FEW_CHARACTERS:,} or more"
        )
