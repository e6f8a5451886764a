"""The texts of a language model: read, split into sequences, and some of them held out."""

from typing import NamedTuple, TypeVar

from charlm.errors import TextError
from charlm.inference.labels import Labels
from charlm.text.corpus import (
    choose_split,
    count,
    fingerprint,
    hold_out,
    read_documents,
    split_sequences,
)
from charlm.text.labelled import Labelled, LabelSource, hold_out_labelled, read_labelled
from charlm.text.overlap import overlap
from charlm.text.tables import first_lines, said_of
from charlm.training.request import Request, Say

_FEW_CHARACTERS = 1_000  # fewer than this are remarked on
A = TypeVar("A")


class Texts(NamedTuple):
    """The corpus, split: what is trained on, what is held out, and how sequences were found.

    Where sequences have labels, train_labels and valid_labels are their numbers in ``labels``.
    """

    train: list[str]
    valid: list[str]
    split_on: str
    labels: Labels | None = None
    train_labels: list[int] | None = None
    valid_labels: list[int] | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        if self.labels is not None:
            numbers = map(str, [*(self.train_labels or ()), *(self.valid_labels or ())])
            labelled = [*self.labels.names, "", *numbers, ""]
            return fingerprint([*labelled, self.split_on, *self.train, "", *self.valid])
        return fingerprint([self.split_on, *self.train, "", *self.valid])


def read_texts(request: Request, say: Say) -> Texts:
    """Read, decode, split into sequences and hold out. Raises TextError where nothing is left."""
    if request.label_source is not None:
        return _read_labelled(request, request.label_source, say)
    documents = read_documents(request.corpus, encoding=request.encoding, errors=request.errors)
    held = (
        read_documents(request.valid, encoding=request.encoding, errors=request.errors)
        if request.valid
        else []
    )
    for document in [*documents, *held]:
        for note in (*document.notes, *said_of(document.name, first_lines(document.text))):
            say(note)
    split_on = request.split_on or choose_split(d.text for d in documents)
    train = [s for d in documents for s in split_sequences(d.text, split_on)]
    if not train:
        raise TextError("there is no text to train on: the corpus is empty or blank.")
    if held:
        valid = [s for d in held for s in split_sequences(d.text, split_on)]
        if not valid:
            raise TextError("there is no text to validate on: it is empty or blank.")
    else:
        split = hold_out(train, split_on=split_on, share=request.valid_share, seed=request.seed)
        train, valid = split.train, split.valid
        for note in split.notes:
            say(note)
    train = _without_copies(request, train, say)
    _say_text(request, train, valid, split_on, say)
    return Texts(train, valid, split_on)


def _without_copies(request: Request, train: list[A], say: Say) -> list[A]:
    """What is trained on, each sequence once if that was asked for."""
    if not request.distinct:
        return train
    distinct = list(dict.fromkeys(train))
    say(f"copies left out of training: {len(train) - len(distinct):,}")
    return distinct


def _read_labelled(request: Request, source: LabelSource, say: Say) -> Texts:
    """The same where each sequence has a label."""
    options = {"encoding": request.encoding, "errors": request.errors}
    train, split_on, notes = read_labelled(
        request.corpus, source, split_on=request.split_on, **options
    )
    valid: list[Labelled] = []
    if request.valid:
        of_files = split_on if source.is_of_files else None
        valid, _, more = read_labelled(request.valid, source, split_on=of_files, **options)
        notes += more
    elif request.valid_share:
        train, valid = hold_out_labelled(
            train,
            split_on=split_on,
            share=request.valid_share,
            seed=request.seed,
            whole=source.kind == "directory",
        )
    for note in notes:
        say(note)
    if not valid:
        say("nothing is held out for validation")
    labels = Labels.of(one.label for one in train)
    if len(labels.names) < 2:
        raise TextError(
            f"labels from {source}: there are fewer than two of them in the text "
            f"({', '.join(labels.names) or 'none'})."
        )
    number = {name: index for index, name in enumerate(labels.names)}
    if request.valid and (strange := {one.label for one in valid} - number.keys()):
        raise TextError(
            f"the label {min(strange)!r} occurs in the text to validate on, and not in training."
        )
    valid = [one for one in valid if one.label in number]
    train = _without_copies(request, train, say)
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
    counts = count(train)
    chosen = "" if request.split_on else " (chosen by the look of the text; --split-on changes it)"
    say(
        f"text: {counts.characters:,} characters in {counts.sequences:,} "
        f"{'sequence' if counts.sequences == 1 else 'sequences'}, one a {split_on}{chosen}; "
        f"{count(valid).characters:,} more held out"
    )
    if counts.characters < _FEW_CHARACTERS:
        say(
            f"that is very little text ({counts.characters:,} characters): a model learns little "
            f"more from it than the text itself. A useful one takes {_FEW_CHARACTERS:,} and more"
        )
    if request.valid and (note := overlap(train, valid, split_on).note()):
        say(note)
