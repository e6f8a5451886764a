"""charlm novelty."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli import options
from charlm.cli.input.beginning import documents_of, texts_of
from charlm.cli.input.model import load_model
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.records import JsonLines, PlainLines, read
from charlm.cli.output import novelty_report
from charlm.cli.output.novelty_report import Origin
from charlm.cli.output.terminal import out, out_json, say
from charlm.config import RUNS
from charlm.errors import CharlmError, TextError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from charlm.cli.input.records import Form
    from charlm.novelty.text_index import Index
    from charlm.text.corpus import Document

RULES: Rules = (
    Needs("--field", "--jsonl"),
    OneOf("--json", "--per-sample"),
    Apart("--show", "--per-sample", "all samples are shown"),
    OneOf("--jsonl", "--null"),
    Apart(
        "--split-on",
        ("--jsonl", "--null"),
        "samples are apart already, whatever stands in them",
        unless="--against",
    ),
)


def novelty_cli(
    files: Annotated[
        list[str],
        typer.Argument(help="Files of samples, or - for standard input.", metavar="SAMPLES"),
    ],
    ngrams: Annotated[str, typer.Option(help="Orders of the character n-grams.")] = "3,5,10,20",
    word_ngrams: Annotated[str, typer.Option(help="Orders of the word n-grams.")] = "1,2,3,4",
    show: Annotated[
        int, typer.Option(min=0, help="Number of samples to show, longest copies first.")
    ] = 5,
    fail_above: Annotated[
        float | None,
        typer.Option(help="Exit with 1 if more than this share stands in the training text."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Compare with this file instead of the training text; may be repeated.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    split_on: options.SplitAsTrained = None,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help="Read JSON objects, one per line, as charlm sample --json writes them.",
            rich_help_panel=options.INPUT,
        ),
    ] = False,
    field: options.Field = "text",
    null: options.Null = False,
    prompt: Annotated[
        str,
        typer.Option(
            help="Text that each sample begins with; it is not counted.",
            rich_help_panel=options.INPUT,
        ),
    ] = "",
    encoding: options.Encoding = "utf-8",
    errors: options.Errors = "strict",
    model: options.Model = None,
    root: options.Runs = RUNS,
    per_sample: Annotated[
        bool,
        typer.Option(
            "--per-sample",
            help="Print one JSON object per sample, in order.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    json: options.JsonObject = False,
) -> None:
    """Measure how much of the samples is copied from training text.

    Prints how many samples stand in the training text, the longest copied span of each, and the
    share of n-grams that are new. The index of the training text is in the run's directory; with
    --against and without --model no model is needed.

    \b
    charlm sample --n 200 | charlm novelty -
    charlm sample --n 200 -0 | charlm novelty -0 -
    charlm novelty samples.txt --model poems --show 10
    charlm novelty samples.jsonl --jsonl --json
    charlm novelty samples.txt --against corpus.txt --fail-above 0.05
    """
    if fail_above is not None and not 0 <= fail_above <= 1:
        raise UsageError(f"--fail-above is a share from 0 to 1, got {fail_above:g}.")
    if "-" in files and "-" in (against or ()):
        raise UsageError("standard input can be the samples or what they are compared with.")
    are_apart = jsonl or null
    sizes = {
        "characters": _sizes(ngrams, "--ngrams"),
        "words": _sizes(word_ngrams, "--word-ngrams"),
    }
    from charlm.novelty.measure import measure, samples_of
    from charlm.text.corpus import choose_split, split_of

    loaded = load_model(model, root) if model is not None or not against else None
    normalise = loaded.tokenizer.normalise if loaded is not None else str
    texts: list[str] = []
    samples: list[Document] = []
    if are_apart:
        form = JsonLines(field, ()) if jsonl else PlainLines()
        texts = list(_texts_of(form, files, encoding, errors, null=null))
    else:
        samples = documents_of(files, encoding, errors)
    why = None
    split: str | None = split_on
    if split is None and loaded is not None:
        split, why = loaded.checkpoint.split_on, "as the model's sequences are"
    elif split is None:
        split = split_of(texts) if are_apart else choose_split(one.text for one in samples)
        why = "by the look of the samples"
    texts += _cut(samples, split)
    _say_cut(len(texts), split, why, are_apart=are_apart, against=bool(against))
    origins: list[Origin] = []
    if against:
        documents = documents_of(against, encoding, errors)
        index, known, origins = _index_of(documents, split, normalise)
    else:
        assert loaded is not None
        index, known = loaded.index, loaded.checkpoint.known
    found = measure(index, samples_of(texts, normalise, prompt), known=known, **sizes)
    if per_sample:
        for number, sample in enumerate(found.samples, start=1):
            out_json({"sample": number, **novelty_report.sample_fields(sample, origins)})
    elif json:
        out_json({"files": files, **novelty_report.fields(found, show, origins)})
    else:
        for line in novelty_report.report(found, show, origins):
            out(f"{line}\n")
    share = found.share_in_training
    if fail_above is not None and share is not None and share > fail_above:
        raise CharlmError(
            f"{share:.2%} of the samples stand in the training text; {fail_above:.2%} were allowed."
        )


def _sizes(text: str, option: str) -> list[int]:
    """The numbers of 3,5,10."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise UsageError(f"{option} is numbers from 1 on, such as 3,5,10, got {text!r}.")
    return sizes


def _index_of(
    documents: "list[Document]", split_on: str, normalise: "Callable[[str], str]"
) -> "tuple[Index, NDArray[np.uint64] | None, list[Origin]]":
    """The index of files, the hashes of their sequences, and which are whose."""
    from charlm.novelty.text_index import Index, source_of
    from charlm.text.corpus import sequence_hashes, split_sequences

    sequences: list[str] = []
    origins = []
    for document in documents:
        origins.append(Origin(document.name, len(sequences) + 1))
        sequences += map(normalise, split_sequences(document.text, split_on))
    if not sequences:
        raise TextError("there is no text to compare with: it is empty or blank.")
    known = sequence_hashes(sequences) if split_on != "file" else None
    return Index.build(source_of(sequences)), known, origins


def _texts_of(
    form: "Form", files: list[str], encoding: str, errors: str, *, null: bool
) -> Iterator[str]:
    """The texts in lines, which end at a NUL with ``null``. Raises TextError at a broken one."""
    for file in files:
        lines = texts_of(file, "null" if null else "line", encoding, errors)
        for record in read(lines, form):
            if record is None:
                continue
            if record.problem is not None:
                raise TextError(record.problem)
            if record.text is not None:
                yield record.text


def _say_cut(
    number: int, split_on: str, why: str | None, *, are_apart: bool, against: bool
) -> None:
    """Say what a sample was taken to be, or what it is compared with, if nobody asked for that."""
    if why is None or (are_apart and not against):
        return
    what = "compared with sequences" if are_apart else f"samples: {number:,}"
    end = "" if are_apart or split_on == "line" else "; -0 reads what charlm sample -0 wrote"
    say(f"{what}, one per {split_on} ({why}; --split-on changes it{end})")


def _cut(documents: "list[Document]", split_on: str) -> Iterator[str]:
    """The samples in texts: the sequences, but of lines the blank ones too, as they were drawn."""
    from charlm.text.corpus import split_sequences

    for document in documents:
        if split_on == "line" and document.text:
            yield from document.text.removesuffix("\n").split("\n")
        else:
            yield from split_sequences(document.text, split_on)
