"""charlm classify."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from charlm.cli import options
from charlm.cli.figures import Wanted
from charlm.cli.filter import ON_ERROR, Filter
from charlm.cli.form import cell
from charlm.cli.meter import Meter
from charlm.cli.model import load_models
from charlm.cli.records import Columns, Form, JsonLines, PlainLines, as_cell, batches, read
from charlm.cli.terminal import (
    cut,
    number,
    out,
    out_json,
    out_line,
    safe_text,
    say,
    say_loading,
    width,
)
from charlm.config import SPLITS
from charlm.errors import TextError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charlm.api import LanguageModel
    from charlm.classifying import Report
    from charlm.cli.records import Record
    from charlm.head_api import Classifier as TrainedClassifier
    from charlm.labels import Labelled, LabelSource

_TOP = 3  # labels of a text that is given on the command line
_PORTION = 4096  # texts of labelled files that are classified at a time
_WIDEST = 24  # columns of a label
_MATRIX = 8  # labels up to which a confusion table fits on a terminal
_CONFUSIONS = 15  # that are listed instead


class Classifier(Protocol):
    """What tells the labels of texts."""

    names: tuple[str, ...]

    def log_posteriors(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        """log P(label given text) (N, L), in nats, of the labels ``names``."""


class Trained:
    """A network that was trained to classify and for nothing else."""

    def __init__(self, loaded: "TrainedClassifier") -> None:
        self.names = loaded.names
        self._loaded = loaded

    def log_posteriors(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        """log P(label given text) (N, L)."""
        return self._loaded.log_posteriors(texts)


class ByBayes:
    """A conditional language model, turned round by Bayes' rule."""

    def __init__(self, loaded: "LanguageModel") -> None:
        if loaded.labels is None:
            raise UsageError(
                f"{loaded.checkpoint.path.parent.name} knows no labels to classify by: train a "
                "model with --label-from."
            )
        if loaded.labels.temperature is None:
            say("not calibrated: nothing was held out, or its training has not come to its end")
        self.names = loaded.labels.names
        self._loaded = loaded

    def log_posteriors(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        """log P(label given text) (N, L)."""
        return self._loaded.classify(texts)


def classifier_of(model: str | None, *, alone: bool) -> tuple[Classifier, str]:
    """What classifies with a model, and what its sequences are in files.

    The newest finished run is taken where none is named, be it a classifier or a language model.
    Raises UsageError if it knows no labels.
    """
    from charlm import runs

    path = runs.find_any(model)
    if runs.kind_of(path) == "classifier":
        from charlm.head_api import load_classifier

        found = load_classifier(path.parent.name if model is None else model)
        if model is None:
            say(f"model: {path.parent.name} (step {found.checkpoint.step:,})")
        text = found.checkpoint.info.get("text")
        split_on = text.get("split_on") if isinstance(text, dict) else None
        return Trained(found), split_on if split_on in SPLITS else "line"
    loaded = load_models(None if model is None else [model], alone=alone)
    return ByBayes(loaded), loaded.checkpoint.split_on


def classify_cli(
    texts: Annotated[
        list[str] | None, typer.Argument(help="The texts.", show_default=False)
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="Classify each line of a file; - is stdin."),
    ] = None,
    model: options.Model = None,
    alone: options.Alone = False,
    top: Annotated[
        int | None,
        typer.Option(min=1, help=f"Labels of each text.  [default: {_TOP}, of lines 1]"),
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option(
            help="The files say the labels: file, column:N or field:NAME. Tell how many are right."
        ),
    ] = None,
    text_column: options.TextColumn = None,
    text_field: options.TextField = None,
    json: options.Json = False,
    tsv: options.Tsv = False,
    jsonl: options.Jsonl = False,
    field: options.Field = "text",
    column: options.Column = None,
    header: options.Header = False,
    prefix: options.Prefix = "",
    on_error: options.OnError = "stop",
    encoding: options.FilesEncoding = "utf-8",
    errors: options.Errors = "strict",
) -> None:
    """Which label texts have, by a model that was trained with labels.

    By Bayes' rule from the probability of a text given each label, as sure as the text held out in
    training showed that it may be. With --labelled the labels are known, and the figures are
    those of the model.

    \b
    charlm classify --model names "Kovalenko" "Takahashi"
    charlm classify --model names --file sentences.txt --tsv
    charlm classify --model names --jsonl --file records.jsonl
    charlm classify --model names --labelled file --file names/
    """
    if json and tsv:
        raise UsageError("give --json or --tsv, not both.")
    if texts and file:
        raise UsageError("give texts or --file, not both.")
    if on_error not in ON_ERROR:
        raise UsageError(f"--on-error must be stop, keep or drop, got {on_error!r}.")
    records = jsonl or column is not None
    if jsonl and column is not None:
        raise UsageError("give --jsonl or --column, not both.")
    if records and (texts or json or (tsv and jsonl)):
        raise UsageError(
            "--jsonl and --column are for files, and results go into their lines: leave out texts, "
            "--json and --tsv."
        )
    if labelled is None and (text_column or text_field):
        raise UsageError("--text-column and --text-field go with --labelled.")
    if labelled is not None and (texts or records or top):
        raise UsageError("--labelled gives figures of files: leave out texts and other forms.")
    if labelled is None and len(file or ()) > 1:
        raise UsageError("give one --file; several are for --labelled.")
    if not texts and not file:
        if sys.stdin.isatty():
            raise UsageError('give a text to classify: charlm classify "Kovalenko"')
        file = ["-"]
    if labelled is not None:
        from charlm.labels import LabelSource

        source = LabelSource.parse(labelled, text_column=text_column, text_field=text_field)
        _judge(model, alone, file or [], source, encoding, errors, json=json, tsv=tsv)
        return
    classifier, _ = classifier_of(model, alone=alone)
    number_of = min(top or (_TOP if texts else 1), len(classifier.names))
    writer = Writer(classifier, number_of, prefix, json=json, tsv=tsv)
    if texts:
        writer.write(list(texts))
        return
    names = writer.names(listed=jsonl)
    form: Form = PlainLines()
    if jsonl:
        form = JsonLines(field, names)
    elif column is not None:
        form = Columns(column, names, header=header)
    own = None if records else writer
    assert file
    job = Filter(None, Wanted("nats"), context="", closed=True, on_error=on_error, shaded=False)
    _lines(file[0], job, form, writer, own, encoding, errors)


def _lines(
    file: str,
    job: Filter,
    form: Form,
    writer: "Writer",
    own: "Writer | None",
    encoding: str,
    errors: str,
) -> None:
    """Classify the lines of a file; without a writer of their own they go out as they came."""
    from charlm.cli.filter import Bounds
    from charlm.streams import stream_lines

    say_loading()
    with Meter(file) as meter:
        records = job.sound(read(stream_lines(file, encoding=encoding, errors=errors), form))
        for batch in batches(records):
            if own is not None:
                own.write_records(batch)
            else:
                writer.write_into(batch, form)
            sys.stdout.flush()
            meter.update(len(batch), batch[-1].end)
    job.say_counts(Bounds(None, None, None, None, False))


class Writer:
    """Classifies texts and writes the likeliest labels of each, one portion after another."""

    def __init__(
        self, classifier: Classifier, top: int, prefix: str, *, json: bool, tsv: bool
    ) -> None:
        self._classifier, self._top, self._prefix = classifier, top, prefix
        self._json, self._tsv = json, tsv
        widest = max(width(safe_text(name)) for name in classifier.names)
        self._width = max(len("label"), min(_WIDEST, widest))
        self._first = True

    def names(self, *, listed: bool) -> list[str]:
        """The names of the results: ``listed`` where they may be lists, else one a column."""
        if listed:
            names = ["predicted", "probability", *(["predictions"] if self._top > 1 else [])]
        else:
            ends = ["", *(f"_{place}" for place in range(2, self._top + 1))]
            names = [f"{name}{end}" for end in ends for name in ("predicted", "probability")]
        return [self._prefix + name for name in names]

    def write(self, texts: list[str]) -> None:
        """Write texts with their labels."""
        for text, found in zip(texts, self._found(texts), strict=True):
            if self._json:
                out_json({"text": text, **self._results(found, listed=True)})
            elif self._tsv:
                if self._first:
                    out("\t".join([*self.names(listed=False), "text"]) + "\n")
                values = self._results(found, listed=False).values()
                out("\t".join([*map(as_cell, values), cell(text)]) + "\n")
            else:
                self._rows(text, found)
            self._first = False

    def write_records(self, batch: "list[Record]") -> None:
        """Write lines that are texts; one that could not be read keeps its place."""
        texts = [record.text for record in batch if record.text is not None]
        if len(texts) == len(batch):
            self.write(texts)
            return
        for record in batch:
            if record.text is not None:
                self.write([record.text])
            elif self._json:
                out_json({"text": safe_text(record.line), "problem": record.problem})
            elif self._tsv:
                out("\t" * len(self.names(listed=False)) + cell(record.line) + "\n")

    def write_into(self, batch: "list[Record]", form: Form) -> None:
        """Write records with the results in them."""
        listed = isinstance(form, JsonLines)
        found = self._found([record.text for record in batch if record.text is not None])
        for record in batch:
            results = self._results(next(found), listed=listed) if record.text is not None else {}
            out_line(form.written(record, results))

    def _found(self, texts: Sequence[str]) -> Iterator[list[tuple[str, float]]]:
        """Of each text the likeliest labels, the first first, with log P."""
        if not texts:
            return
        log_posteriors = self._classifier.log_posteriors(texts)
        order = (-log_posteriors).argsort(axis=1, kind="stable")[:, : self._top]
        for row, places in zip(log_posteriors.tolist(), order.tolist(), strict=True):
            yield [(self._classifier.names[place], row[place]) for place in places]

    def _results(self, found: list[tuple[str, float]], *, listed: bool) -> dict[str, Any]:
        pairs = [(label, math.exp(log_prob)) for label, log_prob in found]
        if not listed:
            values: list[Any] = [value for pair in pairs for value in pair]
        else:
            values = list(pairs[0])
            values.append([{"label": label, "probability": p} for label, p in pairs])
        return dict(zip(self.names(listed=listed), values, strict=False))

    def _rows(self, text: str, found: list[tuple[str, float]]) -> None:
        if self._first:
            out(f"{'P (%)':>8}  {'label':<{self._width}}  text\n")
        for place, (label, log_prob) in enumerate(found):
            shown = cut(safe_text(label), self._width)
            shown += " " * (self._width - width(shown))
            end = f"  {safe_text(text)}" if place == 0 else ""
            out(f"{100 * math.exp(log_prob):8.3f}  {f'{shown}{end}'.rstrip()}\n")


def _judge(
    model: str | None,
    alone: bool,
    files: list[str],
    source: "LabelSource",
    encoding: str,
    errors: str,
    *,
    json: bool,
    tsv: bool,
) -> None:
    """Classify texts whose labels are known, and tell the figures."""
    from charlm.classifying import report
    from charlm.labels import read_labelled

    classifier, split_on_in_files = classifier_of(model, alone=alone)
    split_on = split_on_in_files if source.kind == "file" else None
    found, _, notes = read_labelled(
        files, source, split_on=split_on, encoding=encoding, errors=errors
    )
    for note in notes:
        say(note)
    if not found:
        raise TextError("there is no text in the files.")
    unknown = {one.label for one in found} - set(classifier.names)
    if unknown:
        names = ", ".join(sorted(unknown)[:10])
        say(f"labels that the model does not know, and so cannot get right: {names}")
    say_loading()
    predicted, loss = _predicted(classifier, found, files)
    figures = report([one.label for one in found], predicted)
    if json:
        out_json({"log_loss_nats": loss, **figures.to_json()})
    elif tsv:
        _write_tsv(figures)
    else:
        for line in table(figures, loss):
            out(f"{line.rstrip()}\n")


def _predicted(
    classifier: Classifier, found: "Sequence[Labelled]", files: list[str]
) -> tuple[list[str], float | None]:
    """The likeliest label of each text, and the mean -log P of the true one where all are known."""
    index = {name: place for place, name in enumerate(classifier.names)}
    predicted: list[str] = []
    nats = 0.0
    with Meter(*files, noun="texts", silent=True) as meter:
        for first in range(0, len(found), _PORTION):
            part = found[first : first + _PORTION]
            log_posteriors = classifier.log_posteriors([one.text for one in part])
            places = log_posteriors.argmax(axis=1).tolist()
            predicted += [classifier.names[place] for place in places]
            for row, one in zip(log_posteriors, part, strict=True):
                nats -= float(row[index[one.label]]) if one.label in index else -math.inf
            meter.update(len(part), 0)
    return predicted, nats / len(found) if math.isfinite(nats) else None


def _write_tsv(figures: "Report") -> None:
    out("label\ttexts\tpredicted\tprecision\trecall\tf1\n")
    for label, one in figures.of_labels.items():
        shares = map(number, (one.precision, one.recall, one.f1))
        out("\t".join((cell(label), str(one.texts), str(one.predicted), *shares)) + "\n")


def table(figures: "Report", loss: float | None) -> Iterator[str]:
    """The figures for a person, in lines of at most 80 columns."""
    yield f"texts           {figures.texts:>10,}"
    yield f"accuracy        {_percent(figures.accuracy):>10}  of all texts"
    yield f"macro accuracy  {_percent(figures.macro_accuracy):>10}  mean recall of the labels"
    yield f"macro F1        {_percent(figures.macro_f1):>10}"
    if loss is not None:
        yield f"log-loss        {loss:>10.4f}  nats a text"
    yield ""
    names = {label: cut(safe_text(label), _WIDEST) for label in figures.labels}
    room = max(len("label"), *map(width, names.values()))
    padded = {label: name + " " * (room - width(name)) for label, name in names.items()}
    heads = f"{'texts':>8} {'predicted':>10} {'precision':>10} {'recall':>8} {'F1':>8}"
    yield f"{'label':<{room}} {heads}"
    for label, one in figures.of_labels.items():
        yield (
            f"{padded[label]} {one.texts:>8,} {one.predicted:>10,} {_percent(one.precision):>10} "
            f"{_percent(one.recall):>8} {_percent(one.f1):>8}"
        )
    yield ""
    if len(figures.labels) <= _MATRIX:
        yield "label in rows, what it was taken for in columns"
        short = (f"{cut(names[label], 6):>7}" for label in figures.labels)
        yield " " * room + "".join(short)
        for label, row in zip(figures.labels, figures.confusion.tolist(), strict=True):
            yield padded[label] + "".join(f"{count:>7}" for count in row)
        return
    confusions = figures.confusions()
    if confusions:
        yield "taken for another most often (--json has the whole table)"
    for label, other, count in confusions[:_CONFUSIONS]:
        yield f"{count:>8,}  {padded[label]}  for {names[other]}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
