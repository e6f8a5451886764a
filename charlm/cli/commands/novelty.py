"""charlm novelty."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from charlm.cli import options
from charlm.cli.input.beginning import documents_of, texts_of
from charlm.cli.input.model import load_model
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.records import JsonLines, PlainLines, read
from charlm.cli.output.terminal import cut, out, out_json, safe_text, say
from charlm.config import RUNS
from charlm.errors import CharlmError, TextError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from charlm.cli.input.records import Form
    from charlm.novelty.measure import NGrams, Novelty, SampleNovelty
    from charlm.novelty.text_index import Index
    from charlm.text.corpus import Document

_COLUMNS = 80
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
            out_json({"sample": number, **sample_fields(sample, origins)})
    elif json:
        out_json({"files": files, **fields(found, show, origins)})
    else:
        for line in report(found, show, origins):
            out(f"{line}\n")
    share = found.share_in_training
    if fail_above is not None and share is not None and share > fail_above:
        raise CharlmError(
            f"{share:.2%} of the samples stand in the training text; {fail_above:.2%} were allowed."
        )


class Origin(NamedTuple):
    """A file that samples are compared with, and the number, from 1, of its first sequence."""

    name: str
    first: int


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


def where(sample: "SampleNovelty", origins: "Sequence[Origin]") -> tuple[str | None, int | None]:
    """The file (None for a model's text) and the sequence, from 1, that a sample is copied from."""
    if sample.copy is None:
        return None, None
    number = sample.copy.sequence
    if not origins:
        return None, number
    origin = next(origin for origin in reversed(origins) if origin.first <= number)
    return origin.name, number - origin.first + 1


def sample_fields(sample: "SampleNovelty", origins: "Sequence[Origin]") -> dict[str, Any]:
    """What was found of a sample, as JSON."""
    copy, (file, sequence) = sample.copy, where(sample, origins)
    return {
        "text": sample.text,
        "characters": sample.characters,
        "words": sample.words,
        "in_training_text": sample.in_training_text,
        "copied_whole": sample.is_copied_whole,
        "longest_copy_characters": sample.copied,
        "longest_copy": None
        if copy is None
        else {
            "text": copy.span,
            "start": copy.start,
            **({} if file is None else {"file": file}),
            "training_sequence": sequence,
            "training_offset": copy.offset,
            "times_in_training_text": copy.times,
        },
        "character_ngrams": _ngram_fields(sample.character_ngrams, None),
        "word_ngrams": _ngram_fields(sample.word_ngrams, None),
    }


def fields(found: "Novelty", show: int, origins: "Sequence[Origin]") -> dict[str, Any]:
    """What was found of all samples, as JSON."""
    known, number = found.in_training_text, len(found.samples)
    return {
        "samples": number,
        "different_samples": found.different,
        "characters": found.characters,
        "words": found.words,
        "in_training_text": known,
        "share_in_training_text": _share(known, number),
        "copied_whole": found.copied_whole,
        "share_copied_whole": _share(found.copied_whole, number),
        "longest_copy_characters": max(found.copied, default=None),
        "median_longest_copy_characters": found.median_copied,
        "mean_longest_copy_characters": found.mean_copied,
        "character_ngrams": _ngram_fields(found.character_ngrams, found.held_out_characters),
        "word_ngrams": _ngram_fields(found.word_ngrams, found.held_out_words),
        "indexed_share_of_training_text": found.indexed,
        "most_copied": [sample_fields(one, origins) for one in found.most_copied(show)],
    }


def _ngram_fields(
    ngrams: "Mapping[int, NGrams]", held_out: "Mapping[int, float] | None"
) -> list[dict[str, Any]]:
    return [
        {
            "n": n,
            "ngrams": of.number,
            "unseen": of.unseen,
            "share_unseen": of.share,
            **({} if held_out is None else {"share_unseen_held_out_text": held_out.get(n)}),
        }
        for n, of in ngrams.items()
    ]


def report(found: "Novelty", show: int = 5, origins: "Sequence[Origin]" = ()) -> Iterator[str]:
    """What was found, for a person, in lines of at most 80 columns."""
    number, known, whole = len(found.samples), found.in_training_text, found.copied_whole
    yield _row("samples", f"{number:,}", f"{found.different:,} of them different")
    yield _row("characters", f"{found.characters:,}", f"{found.words:,} words")
    if not number:
        return
    if known is not None:
        yield _row("in the training text", f"{known:,}", f"{known / number:.2%} of the samples")
    yield _row("copied whole", f"{whole:,}", f"{whole / number:.2%}, parts of longer ones included")
    middle = f"characters; median {found.median_copied:g}, mean {found.mean_copied:.1f}"
    yield _row("longest copy", f"{max(found.copied):,}", middle)
    if found.indexed < 1:
        yield ""
        yield f"Only {found.indexed:.1%} of the training text is in the index: copies may be"
        yield "longer, and fewer n-grams new."
    yield ""
    held = bool(found.held_out_characters)
    yield f"{'n-grams':<22}{'number':>14}{'unseen':>10}" + ("   held-out text" if held else "")
    for noun, ngrams, of_held_out in (
        ("character", found.character_ngrams, found.held_out_characters),
        ("word", found.word_ngrams, found.held_out_words),
    ):
        for n, of in ngrams.items():
            name = f"  {n} {noun}{'s' if n > 1 else ''}"
            other = f"{_percent(of_held_out.get(n)):>16}" if held else ""
            yield f"{name:<22}{of.number:>14,}{_percent(of.share):>10}{other}"
    shown = [sample for sample in found.most_copied(show) if sample.copy is not None]
    if shown:
        yield ""
        yield f"{'copied':>8}{'of':>8}{'from sequence':>16}  the copy"
    for sample in shown:
        assert sample.copy is not None
        file, sequence = where(sample, origins)
        source = f"{sequence:,}"
        if file is not None and len(origins) > 1:
            source = f"{cut(safe_text(file.rpartition('/')[2]), 14 - len(source))}:{source}"
        text = cut(_shown(sample.copy.span), _COLUMNS - 34)
        yield f"{sample.copied:>8,}{sample.characters:>8,}{source:>16}  {text}"


def _shown(span: str) -> str:
    """A span in which ends of lines, and spaces at its own ends, can be seen."""
    inner = span.strip(" ")
    before = len(span) - len(span.lstrip(" "))
    after = len(span) - before - len(inner)
    return safe_text(f"{'␣' * before}{inner.replace(chr(10), '↵')}{'␣' * after}")


def _row(name: str, value: str, rest: str) -> str:
    return f"{name:<22}{value:>14}  {rest}"


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
