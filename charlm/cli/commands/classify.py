"""charlm classify."""

import functools

import typer

from charlm.cli import options
from charlm.cli.input.beginning import dash_is_piped, piped
from charlm.cli.input.classifier import classifier_of
from charlm.cli.input.declared import option
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.records import batches, form_of
from charlm.cli.input.text_file import Broken, TextFile, say_lines_are_texts
from charlm.cli.output.meter import through
from charlm.cli.output.reports.labels import Writer, judge
from charlm.cli.output.terminal import say_loading

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
    *,
    texts: list[str] | None = typer.Argument(None, help="Texts to classify.", show_default=False),
    file: list[str] | None = options.file("Classify each line of this file; - is standard input."),
    cut: options.Cut,
    known: options.Labelled,
    records: options.Records,
    decoding: options.Decoding,
    asked: options.LabelledModel,
    top: int | None = option(
        f"Number of labels to print per text.  [default: {_TOP}; 1 for lines]",
        heading=options.OUTPUT,
        least=1,
    ),
    json: bool = options.JSON,
    tsv: bool = options.TSV,
    prefix: str = options.PREFIX,
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
    in_records = records.jsonl or records.column is not None
    source = None
    texts, dash = dash_is_piped(texts, None)
    if not texts:
        file = file or [dash or piped('a text to classify: charlm classify "Kovalenko"')]
        source = TextFile(file[0], cut, decoding, in_records)
    if (labels := known.source(header=records.header)) is not None:
        judge(asked, file or [], labels, decoding, json=json, tsv=tsv)
        return
    if source is not None:
        source.check_name()
    classifier, of_training = classifier_of(asked)
    shown = min(top or (_TOP if texts else 1), len(classifier.names))
    writer = Writer(classifier, shown, prefix, json=json, tsv=tsv)
    if source is None:
        writer.write(texts or [])
        writer.say_cut()
        return
    if source.is_plain:
        say_lines_are_texts(of_training or "line")
    names = writer.names(listed=records.jsonl)
    form = form_of(names, records, csv=records.csv or source.is_csv)
    broken = Broken(records.on_error)
    say_loading()
    write = functools.partial(writer.write_into, form=form) if in_records else writer.write_records
    through(source.name, batches(source.records(form, broken)), write)
    writer.say_cut()
    broken.say()
