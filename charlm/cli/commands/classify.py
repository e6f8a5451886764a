"""charlm classify."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import options
from charlm.cli.input.beginning import texts_of
from charlm.cli.input.classifier import Classifier, classifier_of, say_cut
from charlm.cli.input.filter import Filter
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.records import (
    Form,
    JsonLines,
    as_cell,
    batches,
    check_plain,
    form_of,
    noticed,
    read,
    say_lines_are_texts,
)
from charlm.cli.output.formats import cell
from charlm.cli.output.label_report import WIDEST, judge
from charlm.cli.output.meter import Meter
from charlm.cli.output.score_table import Wanted
from charlm.cli.output.terminal import cut, out, out_json, out_line, say_loading, width
from charlm.config import RUNS
from charlm.display.safe_text import safe_text
from charlm.errors import UsageError
from charlm.text.tables import is_csv

if TYPE_CHECKING:
    from charlm.cli.input.records import Record
    from charlm.text.streaming import Line

_TOP = 3  # labels of a text that is given on the command line
RULES: Rules = (
    *options.TEXT_OR_FILE,
    *options.CUT,
    Apart(("--split-on", "--null"), ("--jsonl", "--column"), "there a text is a part of a line"),
    Apart("--on-error", ("--split-on paragraph", "--split-on file"), "that is about broken lines"),
    Apart("TEXTS", ("--jsonl", "--column", "--on-error"), "that is about the lines of a file"),
    OneOf("--json", "--tsv"),
    OneOf("--jsonl", "--column"),
    Needs("--csv", "--column"),
    Needs("--field", "--jsonl"),
    Needs("--header", ("--column", "--labelled column:*")),
    Needs("--prefix", ("--json", "--tsv", "--jsonl", "--column")),
    Apart(("--json", "--tsv"), ("--jsonl", "--column"), "results go into the lines as they came"),
    Needs("--text-column", "--labelled column:*"),
    Needs("--text-field", "--labelled field:*"),
    Needs("--file --file", "--labelled"),
    Apart(
        "--labelled",
        ("TEXTS", "--jsonl", "--column", "--top", "--prefix", "--on-error", "--split-on", "--null"),
        "it gives figures of whole files",
    ),
)


def classify_cli(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to classify.", show_default=False)
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Classify each line of this file; - is standard input.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    split_on: options.SplitOn = None,
    null: options.Null = False,
    labelled: options.Labelled = None,
    text_column: options.TextColumn = None,
    text_field: options.TextField = None,
    jsonl: options.Jsonl = False,
    field: options.Field = "text",
    column: options.Column = None,
    csv: options.Csv = False,
    header: options.Header = False,
    on_error: options.OnError = "stop",
    encoding: options.Encoding = "utf-8",
    errors: options.Errors = "strict",
    model: options.Model = None,
    root: options.Runs = RUNS,
    alone: options.Alone = False,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Number of labels to print per text.  [default: {_TOP}; 1 for lines]",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    json: options.Json = False,
    tsv: options.Tsv = False,
    prefix: options.Prefix = "",
) -> None:
    """Predict the label of each text.

    A language model trained with labels answers by Bayes' rule from the probability of the text
    given each label, calibrated on held-out text. With --labelled the labels are known, and the
    accuracy is measured.

    \b
    charlm classify --model names "Kovalenko" "Takahashi"
    charlm classify --model names --file sentences.txt --tsv
    charlm classify --model names --jsonl --file records.jsonl
    charlm classify --model names --labelled file --file names/
    """
    records = jsonl or column is not None
    parting = "null" if null else split_on
    if not texts and not file:
        if sys.stdin.isatty():
            raise UsageError('give a text to classify: charlm classify "Kovalenko"')
        file = ["-"]
    if file and labelled is None and not records and parting is None:
        check_plain(file[0])
    if labelled is not None:
        from charlm.text.labelled import LabelSource

        source = LabelSource.parse(
            labelled, text_column=text_column, text_field=text_field, header=header
        )
        judge(model, root, alone, file or [], source, encoding, errors, json=json, tsv=tsv)
        return
    classifier, of_training = classifier_of(model, root, alone=alone)
    number_of = min(top or (_TOP if texts else 1), len(classifier.names))
    writer = Writer(classifier, number_of, prefix, json=json, tsv=tsv)
    if texts:
        writer.write(list(texts))
        writer.say_cut()
        return
    if parting is None and not records:
        say_lines_are_texts(of_training or "line")
    assert file
    form = form_of(
        writer.names(listed=jsonl),
        jsonl=jsonl,
        field=field,
        column=column,
        header=header,
        csv=csv or is_csv(file[0]),
    )
    own = None if records else writer
    job = Filter(None, Wanted("nats"), context="", closed=True, on_error=on_error, shaded=False)
    lines = texts_of(file[0], parting or "line", encoding, errors)
    if parting is None and not records:
        lines = noticed(lines)
    _lines(file[0], lines, job, form, writer, own)


def _lines(
    file: str,
    lines: "Iterator[Line | None]",
    job: Filter,
    form: Form,
    writer: "Writer",
    own: "Writer | None",
) -> None:
    """Classify the lines of a file; without a writer of their own they go out as they came."""
    from charlm.cli.input.filter import Bounds

    say_loading()
    with Meter(file) as meter:
        records = job.sound(read(lines, form))
        for batch in batches(records):
            if own is not None:
                own.write_records(batch)
            else:
                writer.write_into(batch, form)
            sys.stdout.flush()
            meter.update(len(batch), batch[-1].end)
    writer.say_cut()
    job.say_counts(Bounds(None, None, None, None, False))


class Writer:
    """Classifies texts and writes the likeliest labels of each, one portion after another."""

    def __init__(
        self, classifier: Classifier, top: int, prefix: str, *, json: bool, tsv: bool
    ) -> None:
        self._classifier, self._top, self._prefix = classifier, top, prefix
        self._json, self._tsv = json, tsv
        widest = max(width(safe_text(name)) for name in classifier.names)
        self._width = max(len("label"), min(WIDEST, widest))
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
            else:
                out(f"{'-':>8}  {'-':<{self._width}}  {safe_text(record.line)}\n")

    def write_into(self, batch: "list[Record]", form: Form) -> None:
        """Write records with the results in them."""
        listed = isinstance(form, JsonLines)
        found = self._found([record.text for record in batch if record.text is not None])
        for record in batch:
            results = self._results(next(found), listed=listed) if record.text is not None else {}
            out_line(form.written(record, results), record.ending)

    def _found(self, texts: Sequence[str]) -> Iterator[list[tuple[str, float]]]:
        """Of each text the likeliest labels, the first first, with log P."""
        if not texts:
            return
        self._texts += len(texts)
        self._cut += sum(map(self._classifier.is_cut, texts))
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
