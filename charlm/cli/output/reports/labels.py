"""Labels of texts, and how many a model gets right where they are known: tables, JSON or TSV."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.input.beginning import labelled_of
from charlm.cli.input.classifier import classifier_of, say_cut
from charlm.cli.input.records import Form, JsonLines, Record, as_cell
from charlm.cli.options import Decoding, LabelledModel
from charlm.cli.output.formats import cell
from charlm.cli.output.meter import Meter
from charlm.cli.output.terminal import cut, number, out, out_json, out_line, say, say_loading
from charlm.display.columns import width
from charlm.display.safe_text import safe_text
from charlm.errors import TextError
from charlm.fields.labels import label_fields

if TYPE_CHECKING:
    from charlm.inference.classify import Report
    from charlm.models.posterior import Classifier
    from charlm.text.labelled import Labelled, LabelSource

_WIDEST = 24  # columns of a label
_PORTION = 4096  # texts that are classified at a time
_MATRIX = 8  # labels up to which a confusion table fits on a terminal
_CONFUSIONS = 15  # that are listed instead


def judge(
    asked: LabelledModel,
    files: list[str],
    source: "LabelSource",
    decoding: Decoding,
    *,
    json: bool,
    tsv: bool,
) -> None:
    """Classify texts whose labels are known, and tell the figures."""
    from charlm.inference.classify import report

    classifier, split_on_in_files = classifier_of(asked)
    split_on = split_on_in_files if source.is_of_files else None
    if source.kind == "file":
        split_on = split_on or "line"
    found, _ = labelled_of(files, source, split_on, decoding)
    if not found:
        raise TextError("there is no text in the files.")
    unknown = {one.label for one in found} - set(classifier.names)
    if unknown:
        names = ", ".join(sorted(unknown)[:10])
        say(f"labels that the model does not know, and so cannot get right: {names}")
    say_loading()
    predicted, loss = _predicted(classifier, found, files)
    say_cut(sum(classifier.is_cut(one.text) for one in found), len(found))
    figures = report([one.label for one in found], predicted)
    if json:
        out_json({"log_loss_nats": loss, **figures.to_json()})
    elif tsv:
        _write_tsv(figures)
    else:
        for line in table(figures, loss):
            out(f"{line.rstrip()}\n")


def _predicted(
    classifier: "Classifier", found: "Sequence[Labelled]", files: list[str]
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
        yield f"log-loss        {loss:>10.4f}  nats per text"
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


class Writer:
    """Classifies texts and writes the likeliest labels of each, one portion after another."""

    def __init__(
        self, classifier: "Classifier", top: int, prefix: str, *, json: bool, tsv: bool
    ) -> None:
        self._classifier, self._top, self._prefix = classifier, top, prefix
        self._json, self._tsv = json, tsv
        widest = max(width(safe_text(name)) for name in classifier.names)
        self._width = max(len("label"), min(_WIDEST, widest))
        self._first = True
        self._texts = self._cut = 0

    def say_cut(self) -> None:
        """Say how many of the texts were longer than what is read of them."""
        sys.stdout.flush()
        say_cut(self._cut, self._texts)

    def names(self, *, listed: bool) -> list[str]:
        """The names of the results: ``listed`` where they may be lists, else one per column."""
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

    def write_records(self, batch: list[Record]) -> None:
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
            else:
                out(f"{'-':>8}  {'-':<{self._width}}  {safe_text(record.line)}\n")

    def write_into(self, batch: list[Record], form: Form) -> None:
        """Write records with the results in them."""
        listed = isinstance(form, JsonLines)
        found = self._found([record.text for record in batch if record.text is not None])
        for record in batch:
            results = self._results(next(found), listed=listed) if record.text is not None else {}
            out_line(form.written(record, results), record.ending)

    def _found(self, texts: Sequence[str]) -> Iterator[list[tuple[str, float]]]:
        """Of each text the likeliest labels, the first first, with log P."""
        from charlm.models.posterior import likeliest

        self._texts += len(texts)
        self._cut += sum(map(self._classifier.is_cut, texts))
        return likeliest(self._classifier, texts, self._top)

    def _results(self, found: list[tuple[str, float]], *, listed: bool) -> dict[str, Any]:
        if listed:
            return {self._prefix + name: value for name, value in label_fields(found).items()}
        values = [value for label, log_prob in found for value in (label, math.exp(log_prob))]
        return dict(zip(self.names(listed=False), values, strict=False))

    def _rows(self, text: str, found: list[tuple[str, float]]) -> None:
        if self._first:
            out(f"{'P (%)':>8}  {'label':<{self._width}}  text\n")
        for place, (label, log_prob) in enumerate(found):
            shown = cut(safe_text(label), self._width)
            shown += " " * (self._width - width(shown))
            end = f"  {safe_text(text)}" if place == 0 else ""
            out(f"{100 * math.exp(log_prob):8.3f}  {f'{shown}{end}'.rstrip()}\n")
