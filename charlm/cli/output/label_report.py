"""How many texts whose labels are known a model gets right: a table, JSON or TSV."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.cli.input.beginning import labelled_of
from charlm.cli.input.classifier import Classifier, classifier_of, say_cut
from charlm.cli.output.formats import cell
from charlm.cli.output.meter import Meter
from charlm.cli.output.terminal import cut, number, out, out_json, say, say_loading, width
from charlm.display.safe_text import safe_text
from charlm.errors import TextError

if TYPE_CHECKING:
    from charlm.inference.classify import Report
    from charlm.text.labelled import Labelled, LabelSource

WIDEST = 24  # columns of a label
_PORTION = 4096  # texts that are classified at a time
_MATRIX = 8  # labels up to which a confusion table fits on a terminal
_CONFUSIONS = 15  # that are listed instead


def judge(
    model: str | None,
    root: Path,
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
    from charlm.inference.classify import report

    classifier, split_on_in_files = classifier_of(model, root, alone=alone)
    split_on = split_on_in_files if source.is_of_files else None
    if source.kind == "file":
        split_on = split_on or "line"
    found, _ = labelled_of(files, source, split_on, encoding, errors)
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
        yield f"log-loss        {loss:>10.4f}  nats per text"
    yield ""
    names = {label: cut(safe_text(label), WIDEST) for label in figures.labels}
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
