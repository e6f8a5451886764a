"""charlm score."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli import options
from charlm.cli.input.beginning import texts_of
from charlm.cli.input.filter import Bounds, Filter, Shows
from charlm.cli.input.model import load_any, together, token_model
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Ordered, Rules
from charlm.cli.input.records import (
    Form,
    batches,
    check_plain,
    form_of,
    noticed,
    read,
    say_lines_are_texts,
)
from charlm.cli.output import nbest
from charlm.cli.output.meter import Meter
from charlm.cli.output.score_table import (
    HeatWriter,
    PageWriter,
    Wanted,
    Writer,
    rank,
    say_pseudo_verdict,
    say_verdict,
)
from charlm.cli.output.terminal import say
from charlm.config import RUNS
from charlm.errors import UsageError
from charlm.text.tables import is_csv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charlm.display.html_page import Page
    from charlm.models.base import TextModel
    from charlm.text.streaming import Line

_LINES = ("--jsonl", "--column", "--csv", "--nbest")
_BOUNDS = ("--min-perplexity", "--max-perplexity", "--min-bits", "--max-bits")
RULES: Rules = (
    *options.MIXING,
    *options.TEXT_OR_FILE,
    *options.CUT,
    Apart(("--split-on", "--null"), _LINES, "there a text is a part of a line"),
    Apart("--on-error", ("--split-on paragraph", "--split-on file"), "that is about broken lines"),
    Apart("TEXTS", (*_LINES, "--on-error"), "that is about the lines of a file"),
    OneOf("--json", "--tsv"),
    OneOf("--jsonl", "--column"),
    OneOf("--jsonl", "--csv"),
    OneOf("--column", "--nbest"),
    Needs("--field", "--jsonl"),
    Needs(("--header", "--csv"), ("--column", "--nbest")),
    Needs("--prefix", ("--json", "--tsv", *_LINES)),
    Needs(("--weight", "--best"), "--nbest"),
    Needs("--invert", _BOUNDS),
    Apart("--nbest", _BOUNDS, "it ranks hypotheses and drops none"),
    Apart(("--json", "--tsv"), ("--jsonl", "--column"), "results go into the lines as they came"),
    Apart(("--heatmap", "--html"), ("--json", "--tsv", "--per-token", *_LINES), "it is for people"),
    Apart("--unit", "--heatmap", "its colours are of bits", unless="--html"),
    Apart("--per-token", "--words", "a row is a token or a word", unless=("--json", "--jsonl")),
    Apart(
        ("--per-token", "--words"),
        "--nbest",
        "a row is a hypothesis",
        unless=("--json", "--jsonl"),
    ),
    Ordered("--min-perplexity", "--max-perplexity"),
    Ordered("--min-bits", "--max-bits"),
)

_FILTER, _NBEST = "Filter", "N-best lists"


def score_cli(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts to score; two or more are also ranked.", show_default=False),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Score each line of this file; - is standard input.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    split_on: options.SplitOn = None,
    null: options.Null = False,
    context: Annotated[
        str,
        typer.Option(
            help="Text in front of each text; it is not scored.", rich_help_panel=options.INPUT
        ),
    ] = "",
    jsonl: options.Jsonl = False,
    field: options.Field = "text",
    column: options.Column = None,
    csv: options.Csv = False,
    header: options.Header = False,
    on_error: options.OnError = "stop",
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
    per_token: Annotated[
        bool,
        typer.Option("--per-token", help="Per-token surprisal.", rich_help_panel=options.OUTPUT),
    ] = False,
    words: Annotated[
        bool,
        typer.Option(
            "--words",
            help="Per-word surprisal, corrected for word boundaries.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    heatmap: Annotated[
        bool,
        typer.Option(
            "--heatmap",
            help="Print the text coloured by surprisal.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write the coloured texts to this HTML page.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    json: options.Json = False,
    tsv: options.Tsv = False,
    prefix: options.Prefix = "",
    min_perplexity: Annotated[
        float | None,
        typer.Option(
            help="Keep texts with at least this perplexity per token.", rich_help_panel=_FILTER
        ),
    ] = None,
    max_perplexity: Annotated[
        float | None,
        typer.Option(
            help="Keep texts with at most this perplexity per token.", rich_help_panel=_FILTER
        ),
    ] = None,
    min_bits: Annotated[
        float | None,
        typer.Option(
            help="Keep texts with at least this many bits per character.", rich_help_panel=_FILTER
        ),
    ] = None,
    max_bits: Annotated[
        float | None,
        typer.Option(
            help="Keep texts with at most this many bits per character.", rich_help_panel=_FILTER
        ),
    ] = None,
    invert: Annotated[
        bool,
        typer.Option("--invert", "-v", help="Keep the other texts.", rich_help_panel=_FILTER),
    ] = False,
    n_best: Annotated[
        bool,
        typer.Option(
            "--nbest",
            help="Read lines of id, text and score; rank the texts of each id.",
            rich_help_panel=_NBEST,
        ),
    ] = False,
    best: Annotated[
        bool,
        typer.Option("--best", help="Print the best line of each id only.", rich_help_panel=_NBEST),
    ] = False,
    weight: Annotated[
        float, typer.Option(help="Weight of log P in the total.", rich_help_panel=_NBEST)
    ] = 1.0,
) -> None:
    """Score texts: their probability, the end of each included.

    \b
    charlm score "The apple and pear salad"
    charlm score "recognise speech" "wreck a nice beach"
    charlm score --per-token "The apple and pair salad"
    charlm score --context "The apple and" " pear salad" " pair salad"
    charlm score --heatmap --words "The apple and pair salad"
    charlm score --html page.html --file sentences.txt
    charlm score --file sentences.txt --tsv
    charlm sample --n 200 -0 | charlm score -0
    charlm score --file sentences.txt --max-perplexity 50
    charlm score --jsonl --field text --file records.jsonl
    charlm score --column 2 --file table.tsv
    charlm score --words --column sentence --file stimuli.csv
    charlm score --nbest --weight 0.5 --file hypotheses.tsv
    """
    if abs(weight) > 1e6:
        raise UsageError(f"--weight must be from -1e6 to 1e6, got {weight:g}.")
    bounds = Bounds(min_perplexity, max_perplexity, min_bits, max_bits, invert)
    in_rows = column is not None and (per_token or words)
    wanted = Wanted(unit, per_token, words, prefix, in_rows=in_rows)
    records = jsonl or column is not None or n_best
    parting = "null" if null else split_on
    if file is not None and not records and parting is None:
        check_plain(file)
    if not texts and file is None:
        if sys.stdin.isatty():
            raise UsageError('give a text to score: charlm score "The apple and pear salad"')
        file = "-"
    from charlm.models.base import TextDistribution
    from charlm.models.cloze_model import ClozeModel

    loaded = load_any(model, root, weights, tune, alone=alone, label=label)
    if said := together(loaded.tokenizer.ignores):
        say(said)
    if isinstance(loaded, ClozeModel):
        wanted = wanted._replace(pseudo=True)
        _say_pseudo(wanted, shaded=heatmap or html is not None)
    shaded = heatmap or html is not None
    if isinstance(loaded, TextDistribution) and (per_token or words or shaded or closed):
        token_model(loaded)
    job = Filter(loaded, wanted, context=context, closed=closed, on_error=on_error, shaded=shaded)
    with contextlib.ExitStack() as stack:
        writer: Shows
        if heatmap:
            level = "word" if words else loaded.tokenizer.level
            writer = HeatWriter(level, pseudo=wanted.pseudo)
        else:
            writer = Writer(wanted._replace(words=words and not html), json=json, tsv=tsv)
        if html is not None:
            writer = PageWriter(writer, stack.enter_context(_page(html, loaded, wanted)))
        if texts:
            plain = not (json or tsv or per_token or words)
            _score_arguments(texts, job, bounds, writer, verdict=plain)
            return
        if parting is None and not records:
            say_lines_are_texts(loaded.checkpoint.split_on)
        csv = csv or is_csv(file or "-")
        if n_best:
            names = [*wanted.names(), *(prefix + name for name in nbest.NAMES)]
            written_as = "json" if json else "tsv" if tsv else None
            form: Form = nbest.form_of(
                field if jsonl else None, names, header=header, csv=csv, written_as=written_as
            )
        else:
            form = form_of(
                wanted.names(), jsonl=jsonl, field=field, column=column, header=header, csv=csv
            )
        shows = json or tsv or per_token or words or shaded or not bounds.are_set
        own = writer if shows and not records else None
        file = file or "-"
        lines = texts_of(file, parting or "line", encoding, errors)
        if parting is None and not records:
            lines = noticed(lines)
        _score_lines(file, lines, job, form, bounds, own, weight, best=best)


def _say_pseudo(wanted: Wanted, *, shaded: bool) -> None:
    """Say what figures from both sides are."""
    what = "shade" if shaded else "PLL"
    say(f"{what}: each token given those before and after it; not a probability of the text")
    if wanted.words:
        say("a word is the sum of its tokens, each given the word's others, too")


def _page(path: Path, loaded: "TextModel", wanted: Wanted) -> "Page":
    from charlm.display.html_page import Page

    name = f"{loaded.name} (step {loaded.checkpoint.step:,})"
    level = "word" if wanted.words else loaded.tokenizer.level
    return Page(path, model=name, level=level, unit=wanted.unit, pseudo=wanted.pseudo)


def _score_arguments(
    texts: list[str], job: Filter, bounds: Bounds, writer: Shows, *, verdict: bool
) -> None:
    """Score the texts of the command line, and rank them."""
    scores = job.score(texts)
    kept = [score for score in scores if not bounds.are_set or bounds.keep(score)]
    places = rank([score.total_log_prob for score in kept]) if len(kept) > 1 else None
    for index, score in enumerate(kept):
        writer.write(score, places[index] if places else None)
    if places and verdict:
        if job.is_pseudo:
            say_pseudo_verdict(kept)
        else:
            say_verdict(kept, is_open=job.is_open)


def _score_lines(
    file: str,
    lines: "Iterator[Line | None]",
    job: Filter,
    form: Form,
    bounds: Bounds,
    writer: Shows | None,
    weight: float,
    *,
    best: bool,
) -> None:
    """Score the lines of a file; without a writer they go out as they came, the results in them."""
    with Meter(file) as meter:
        records = job.sound(read(lines, form))
        if isinstance(form, nbest.Hypotheses):
            for group in nbest.groups(records, form):
                job.write_ranked(group, form, weight, best=best)
                meter.update(len(group), group[-1].end)
        else:
            for batch in batches(records):
                job.write(batch, form, bounds, writer)
                meter.update(len(batch), batch[-1].end)
    job.say_counts(bounds)
