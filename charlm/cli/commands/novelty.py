"""charlm novelty."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from charlm.cli import options
from charlm.cli.input.beginning import documents_of, texts_of
from charlm.cli.input.declared import Options, option
from charlm.cli.input.model import load_model
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.records import JsonLines, PlainLines, read
from charlm.cli.output.reports import novelty
from charlm.cli.output.terminal import out, out_json, say
from charlm.config import Split
from charlm.errors import CharlmError, TextError, UsageError

if TYPE_CHECKING:
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


class Input(Options, heading=options.INPUT):
    """The samples, and what they are compared with."""

    against: list[str] | None = option(
        "Compare with this file instead of the training text; may be repeated.", metavar="FILE"
    )
    split_on: Split | None = options.SPLIT_AS_TRAINED
    jsonl: bool = option(
        "Read JSON objects, one per line, as charlm sample --json writes them.", False
    )
    field: str = options.FIELD
    null: bool = options.NULL
    prompt: str = option("Text that each sample begins with; it is not counted.", "")

    @property
    def are_apart(self) -> bool:
        """Whether each sample ends where the file says so."""
        return self.jsonl or self.null


def novelty_cli(
    *,
    files: list[str] = typer.Argument(
        help="Files of samples, or - for standard input.", metavar="SAMPLES"
    ),
    ngrams: str = option("Orders of the character n-grams.", "3,5,10,20"),
    word_ngrams: str = option("Orders of the word n-grams.", "1,2,3,4"),
    show: int = option("Number of samples to show, longest copies first.", 5, least=0),
    fail_above: float | None = option(
        "Exit with 1 if more than this share stands in the training text."
    ),
    given: Input,
    decoding: options.Decoding,
    asked: options.Model,
    per_sample: bool = option(
        "Print one JSON object per sample, in order.", False, heading=options.OUTPUT
    ),
    json: bool = options.JSON_OBJECT,
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
    if "-" in files and "-" in (given.against or ()):
        raise UsageError("standard input can be the samples or what they are compared with.")
    sizes = {
        "characters": _sizes(ngrams, "--ngrams"),
        "words": _sizes(word_ngrams, "--word-ngrams"),
    }
    from charlm.novelty.measure import measure, samples_of
    from charlm.novelty.reference import Reference, samples_in
    from charlm.text.corpus import choose_split, split_of

    loaded = load_model(asked) if asked.model is not None or not given.against else None
    normalise = loaded.tokenizer.normalise if loaded is not None else str
    texts: list[str] = []
    documents: list[Document] = []
    if given.are_apart:
        texts += _texts_of(files, given, decoding)
    else:
        documents += documents_of(files, decoding)
    split: str | None = given.split_on
    why = "as the model's sequences are"
    if split is None and loaded is not None:
        split = loaded.checkpoint.split_on
    elif split is None:
        split = split_of(texts) if given.are_apart else choose_split(one.text for one in documents)
        why = "by the look of the samples"
    texts += samples_in(documents, split)
    if given.split_on is None and (given.against or not given.are_apart):
        _say_cut(len(texts), split, why, are_apart=given.are_apart)
    if given.against:
        reference = Reference.of_files(documents_of(given.against, decoding), split, normalise)
    else:
        assert loaded is not None
        reference = Reference(loaded.index, loaded.checkpoint.known)
    samples = samples_of(texts, normalise, given.prompt)
    found = measure(reference.index, samples, known=reference.known, **sizes)
    origins = reference.origins
    if per_sample:
        for number, sample in enumerate(found.samples, start=1):
            out_json({"sample": number, **novelty.sample_fields(sample, origins)})
    elif json:
        out_json({"files": files, **novelty.fields(found, show, origins)})
    else:
        for line in novelty.report(found, show, origins):
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


def _texts_of(files: list[str], given: Input, decoding: options.Decoding) -> Iterator[str]:
    """The samples in lines, or before NULs. Raises TextError at a broken one."""
    form = JsonLines(given.field, ()) if given.jsonl else PlainLines()
    for file in files:
        for record in read(texts_of(file, "null" if given.null else "line", decoding), form):
            if record is None:
                continue
            if record.problem is not None:
                raise TextError(record.problem)
            if record.text is not None:
                yield record.text


def _say_cut(number: int, split_on: str, why: str, *, are_apart: bool) -> None:
    """Say what a sample was taken to be, or what it is compared with."""
    what = "compared with sequences" if are_apart else f"samples: {number:,}"
    end = "" if are_apart or split_on == "line" else "; -0 reads what charlm sample -0 wrote"
    say(f"{what}, one per {split_on} ({why}; --split-on changes it{end})")
