"""charlm evaluate."""

import functools
import itertools
import operator
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charlm.cli import options
from charlm.cli.input.beginning import labelled_of, sequences_of
from charlm.cli.input.model import evaluator, language_model, load_any, together
from charlm.cli.input.option_rules import Apart, Needs, Rules
from charlm.cli.output.meter import Meter
from charlm.cli.output.metrics_block import fields, finite, kenlm, learned, table
from charlm.cli.output.pseudo_names import pseudo_named
from charlm.cli.output.terminal import cut, out, out_json, say, say_loading
from charlm.config import RUNS
from charlm.display.safe_text import safe_text
from charlm.errors import CharlmError, TextError, UsageError

if TYPE_CHECKING:
    from charlm.inference.evaluate import Summary
    from charlm.models.base import TextDistribution, TextModel
    from charlm.models.cloze_model import ClozeModel
    from charlm.models.language_model import LanguageModel
    from charlm.models.selfcheck import Check
    from charlm.text.labelled import Labelled
    from charlm.text.streaming import Piece

_COLUMNS = 80
RULES: Rules = (
    *options.MIXING,
    Needs(("--split-on", "--encoding", "--errors"), "FILES"),
    Needs("--rate", "--dynamic"),
    Needs(("--text-column", "--header"), "--labelled column:*"),
    Needs("--text-field", "--labelled field:*"),
    Apart("--json", ("--format table", "--format kenlm"), "those are two forms"),
    Apart(
        "--check",
        ("--closed", "--dynamic", "--format kenlm", "--unit", "--labelled"),
        "it looks at all of the model, and prints no figures of texts",
    ),
    Apart("--dynamic", ("--format kenlm", "--labelled"), "there is no place for two figures"),
    Apart("--unit", "--format kenlm", "KenLM's four lines are in log10"),
    Apart("--labelled", "--label", "each sequence has its own label"),
    Apart(
        "--split-on", ("--labelled column:*", "--labelled field:*"), "each line is a sequence there"
    ),
)
_NO_LABELS = "a mixture of models knows no labels: give one model with --labelled."
_NOT_DYNAMIC = "a mixture cannot learn as it reads: leave out --dynamic, or give a model."


def evaluate_cli(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text files, directories of them, .gz files, or - for standard input.",
            show_default=False,
        ),
    ] = None,
    dynamic: Annotated[
        bool,
        typer.Option("--dynamic", help="Also evaluate the model as it learns from what it reads."),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(help="Step size of --dynamic.  [default: 0.15 for characters, else 0.4]"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check that the model's probabilities sum to 1.")
    ] = False,
    split_on: options.SplitAsTrained = None,
    labelled: options.Labelled = None,
    text_column: options.TextColumn = None,
    text_field: options.TextField = None,
    header: options.Header = False,
    encoding: options.Encoding = "utf-8",
    errors: options.Errors = "strict",
    model: options.Models = None,
    root: options.Runs = RUNS,
    weights: options.Weights = None,
    tune: options.Tune = None,
    alone: options.Alone = False,
    label: options.Label = None,
    closed: options.Closed = False,
    unit: options.Unit = "nats",
    json: options.JsonObject = False,
    form: Annotated[
        Literal["table", "json", "kenlm"],
        typer.Option(
            "--format",
            help="Format of the figures; kenlm prints the four lines of KenLM's query.",
            case_sensitive=False,
            rich_help_panel=options.OUTPUT,
        ),
    ] = "table",
) -> None:
    """Measure how well a model predicts a text.

    Prints perplexities, bits per character, and the share of unknown tokens. Several files give
    one block of figures over all of them. --check tests the model's own arithmetic, on the files
    or on a text that it draws.

    \b
    charlm evaluate sentences.txt
    charlm evaluate poems/ news.gz --json
    charlm evaluate sentences.txt --dynamic
    zcat news.gz | charlm evaluate - --format kenlm --closed
    charlm evaluate --model names --labelled file names/
    charlm evaluate --check
    """
    form = "json" if json else form
    if not files and not check:
        raise UsageError("give a file to evaluate on: charlm evaluate FILE")
    from charlm.models.cloze_model import ClozeModel

    loaded = load_any(model, root, weights, tune, alone=alone, label=label)
    split: str = split_on or loaded.checkpoint.split_on
    if isinstance(loaded, ClozeModel) and (check or dynamic or form == "kenlm"):
        raise UsageError(
            "this model reads both sides of each token: --dynamic, --check and KenLM's lines are "
            "about probabilities of texts read from left to right. Leave them out."
        )
    if check and not isinstance(loaded, ClozeModel):
        _check(loaded, files or [], split, encoding, errors, as_json=form == "json")
        return
    files = files or []
    if labelled is not None:
        from charlm.text.labelled import LabelSource

        source = LabelSource.parse(
            labelled, text_column=text_column, text_field=text_field, header=header
        )
        of_files = split if source.is_of_files else None
        found, split = labelled_of(files, source, of_files, encoding, errors)
        say_loading()
        of_labels = language_model(loaded, _NO_LABELS)
        _write(loaded, files, split, form, unit, rate, _of_labels(of_labels, found, closed))
        return
    pieces = sequences_of(files, split, encoding, errors)
    if dynamic:
        from charlm.engines.dynamic import RATES

        rate = RATES[loaded.tokenizer.level] if rate is None else rate
        if language_model(loaded, _NOT_DYNAMIC).labels is not None:
            raise UsageError("a model with labels cannot learn as it reads: leave out --dynamic.")
    summary, learning = _summaries(loaded, files, pieces, closed, rate)
    _write(loaded, files, split, form, unit, rate, summary, learning)


def _write(
    loaded: "TextModel",
    files: list[str],
    split_on: str,
    form: str,
    unit: str,
    rate: float | None,
    summary: "Summary",
    learning: "Summary | None" = None,
) -> None:
    """The figures in the form that was asked for."""
    from charlm.models.cloze_model import ClozeModel

    pseudo = isinstance(loaded, ClozeModel)
    if form == "kenlm":
        out("".join(f"{line}\n" for line in kenlm(summary)))
    elif form == "json":
        about = {
            "files": files,
            "split_on": split_on,
            "model": str(loaded.checkpoint.path),
            "ignores": list(loaded.tokenizer.ignores),
        }
        figures = {**about, **fields(summary, unit)}
        figures = pseudo_named(figures) if pseudo else figures
        if learning is not None:
            figures["dynamic"] = {"step_size": rate, **fields(learning, unit)}
        out_json(figures)
    else:
        names = safe_text(", ".join("standard input" if file == "-" else file for file in files))
        out(f"{cut(names, _COLUMNS - 30)}, one sequence a {split_on}\n")
        if pseudo:
            out("each token given all others, before and after it: pseudo-figures\n")
        if said := together(loaded.tokenizer.ignores):
            out(f"{textwrap.fill(said, _COLUMNS - 1)}\n")
        out("\n")
        for line in table(summary, unit, pseudo=pseudo):
            out(f"{line.rstrip()}\n")
        if learning is not None:
            out(f"\nlearning from what it has read, step size {rate:g}\n\n")
            for line in learned(learning, unit):
                out(f"{line.rstrip()}\n")


def _of_labels(loaded: "LanguageModel", found: "Sequence[Labelled]", closed: bool) -> "Summary":
    """The figures of sequences, each given its own label."""
    texts: dict[str, list[str]] = {}
    for one in found:
        texts.setdefault(one.label, []).append(one.text)
    if not texts:
        raise TextError("there is no text in the files.")
    parts = [loaded.with_label(one).evaluate(texts[one], closed=closed) for one in sorted(texts)]
    return functools.reduce(operator.add, parts)


def _summaries(
    loaded: "TextDistribution | ClozeModel",
    files: list[str],
    pieces: "Iterable[Piece]",
    closed: bool,
    rate: float | None,
) -> "tuple[Summary, Summary | None]":
    """The figures of all files, with a look at those so far while they are read.

    With a rate also those of a model that learns from them, read in the same pass.
    """
    from charlm.models.cloze_model import ClozeModel

    end = 0

    def watched() -> "Iterator[Piece]":
        nonlocal end
        for piece in pieces:
            end = piece.end
            yield piece

    before = 0
    meter = Meter(*files, noun="characters", silent=True)
    if meter.size is None or not loaded.is_small(meter.size) or rate is not None:
        say_loading()
    summaries: Iterator[tuple[Summary, Summary | None]]
    if isinstance(loaded, ClozeModel):
        found_pseudo = loaded.pseudo_evaluate_pieces(watched(), closed=closed)
        summaries = ((one.sums, None) for one in found_pseudo)
    elif rate is None:
        plain = evaluator(loaded, closed=closed)(watched())
        summaries = zip(plain, itertools.repeat(None), strict=False)
    else:  # both take the same pieces before they tell their figures, so few are kept
        one, other = itertools.tee(watched())
        plain = evaluator(loaded, closed=closed)(one)
        learner = language_model(loaded, _NOT_DYNAMIC)
        learning = learner.evaluate_pieces(other, closed=closed, rate=rate)
        summaries = zip(plain, learning, strict=True)
    with meter:
        for found in summaries:
            summary = found[0]
            bits = summary.bits_per_character
            name = "pseudo-bits/char" if isinstance(loaded, ClozeModel) else "bits/char"
            note = "" if bits is None else f"{bits:.3f} {name}"
            meter.update(summary.characters - before, end, note)
            before = summary.characters
    return found


def _check(
    loaded: "TextDistribution",
    files: list[str],
    split_on: str,
    encoding: str,
    errors: str,
    *,
    as_json: bool,
) -> None:
    """Print what each check found. Raises CharlmError if one fails."""
    from charlm.models.selfcheck import check_model, drawn_texts, some_texts

    if files:
        texts = some_texts(sequences_of(files, split_on, encoding, errors))
    else:
        texts = drawn_texts(loaded)
    found = []
    for result in check_model(loaded, texts):
        found.append(result)
        if not as_json:
            out(_check_line(result))
    failed = [result for result in found if not result.passed]
    if as_json:
        out_json(
            {
                "passed": not failed,
                "ignores": list(loaded.tokenizer.ignores),
                "checks": [
                    {
                        "check": result.name,
                        "passed": result.passed,
                        "number": result.number,
                        "worst": finite(result.worst),
                        "bound": result.bound,
                    }
                    for result in found
                ],
            }
        )
    if failed:
        raise CharlmError(
            f"{len(failed)} of {len(found)} checks failed: do not trust the figures of this model."
        )
    say(f"all {len(found)} checks passed")
    if said := together(loaded.tokenizer.ignores):
        say(said)


def _check_line(result: "Check") -> str:
    verdict = "ok    " if result.passed else "FAILED"
    return (
        f"{verdict} {result.name}\n"
        f"         worst {result.worst:.1e}, bound {result.bound:.0e}, at {result.number:,} "
        f"{result.places}\n"
    )
