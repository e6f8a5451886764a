"""charlm score."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from charlm.cli import nbest
from charlm.cli.figures import Wanted, Writer, rank, say_verdict
from charlm.cli.form import JsonOption, TsvOption, UnitOption, check_form
from charlm.cli.meter import Meter
from charlm.cli.model import ModelOption, load_model
from charlm.cli.records import Columns, Form, JsonLines, PlainLines, Record, batches, read
from charlm.cli.terminal import out_line, say
from charlm.errors import TextError, UsageError

if TYPE_CHECKING:
    from charlm.api import LanguageModel
    from charlm.scoring import TextScore

_ON_ERROR = ("stop", "keep", "drop")


class Bounds(NamedTuple):
    """What a text must be like to be kept: in a range of perplexity and of bits per character."""

    min_perplexity: float | None
    max_perplexity: float | None
    min_bits: float | None
    max_bits: float | None
    invert: bool

    @property
    def are_set(self) -> bool:
        """Whether anything is to be dropped."""
        return any(bound is not None for bound in self[:4])

    def keep(self, score: "TextScore") -> bool:
        """Whether a text is. A figure that it has not, an empty text's bits, bars nothing."""
        pairs = (
            (score.perplexity, self.min_perplexity, self.max_perplexity),
            (score.bits_per_character, self.min_bits, self.max_bits),
        )
        inside = all(
            value is None or ((low is None or value >= low) and (high is None or value <= high))
            for value, low, high in pairs
        )
        return inside is not self.invert


def score_cli(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="The texts. Two or more are also ranked.", show_default=False),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Score each line of a file; - is stdin.")
    ] = None,
    model: ModelOption = None,
    context: Annotated[
        str, typer.Option(help="What stands before each text; it is not scored.")
    ] = "",
    unit: UnitOption = "nats",
    per_token: Annotated[bool, typer.Option("--per-token", help="A line for each token.")] = False,
    words: Annotated[
        bool, typer.Option("--words", help="A line for each word, its ending made sure of.")
    ] = False,
    closed: Annotated[
        bool, typer.Option("--closed", help="<UNK> as one symbol, its spelling left out.")
    ] = False,
    json: JsonOption = False,
    tsv: TsvOption = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Lines are JSON objects; results go in as fields.")
    ] = False,
    field: Annotated[str, typer.Option(help="The field that is the text, with --jsonl.")] = "text",
    column: Annotated[
        str | None,
        typer.Option(help="Lines are columns between tabs: the text's number or name."),
    ] = None,
    header: Annotated[
        bool, typer.Option("--header", help="The first line names the columns.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="In front of the names of results.")] = "",
    min_perplexity: Annotated[
        float | None, typer.Option(help="Keep texts of so much per token or more.")
    ] = None,
    max_perplexity: Annotated[float | None, typer.Option(help="Or of so much or less.")] = None,
    min_bits: Annotated[
        float | None, typer.Option(help="Keep texts of so many bits per character or more.")
    ] = None,
    max_bits: Annotated[float | None, typer.Option(help="Or of so many or less.")] = None,
    invert: Annotated[
        bool, typer.Option("--invert", "-v", help="Keep the others instead.")
    ] = False,
    on_error: Annotated[
        str, typer.Option(help="What becomes of broken lines: stop, keep or drop.")
    ] = "stop",
    n_best: Annotated[
        bool, typer.Option("--nbest", help="Lines are id, text, score: rank those of an id.")
    ] = False,
    weight: Annotated[float, typer.Option(help="Of log P in the total, with --nbest.")] = 1.0,
    encoding: Annotated[str, typer.Option(help="Of the file.")] = "utf-8",
    errors: Annotated[
        str, typer.Option(help="What to do with bytes that are no text: strict or replace.")
    ] = "strict",
) -> None:
    """The probability of texts, the end of each included.

    \b
    charlm score "The apple and pear salad"
    charlm score "recognise speech" "wreck a nice beach"
    charlm score --per-token "The apple and pair salad"
    charlm score --context "The apple and" " pear salad" " pair salad"
    charlm score --file sentences.txt --tsv
    charlm score --file sentences.txt --max-perplexity 50
    charlm score --jsonl --field text --file records.jsonl
    charlm score --column 2 --file table.tsv
    charlm score --nbest --weight 0.5 --file hypotheses.tsv
    """
    check_form(unit, json=json, tsv=tsv)
    if texts and file is not None:
        raise UsageError("give texts or --file, not both.")
    if on_error not in _ON_ERROR:
        raise UsageError(f"--on-error must be stop, keep or drop, got {on_error!r}.")
    records = jsonl or column is not None or n_best
    if jsonl and column is not None:
        raise UsageError("give --jsonl or --column, not both.")
    if n_best and column is not None:
        raise UsageError("--nbest takes the columns id, text, score: leave out --column.")
    if records and texts:
        raise UsageError("--jsonl, --column and --nbest are for files: give --file, or a pipe.")
    if records and (json or (tsv and jsonl)):
        raise UsageError("results go into the records: leave out --json and --tsv.")
    if (per_token or words) and records and not jsonl:
        raise UsageError("--per-token and --words do not fit in columns: use --jsonl.")
    if per_token and words and not (json or jsonl):
        raise UsageError("give --per-token or --words, or both with --json.")
    bounds = Bounds(min_perplexity, max_perplexity, min_bits, max_bits, invert)
    if invert and not bounds.are_set:
        raise UsageError("give --invert a bound to turn round: --max-perplexity, for example.")
    if bounds.are_set and n_best:
        raise UsageError("--nbest ranks; it does not drop: leave out the bounds.")
    if not texts and file is None:
        if sys.stdin.isatty():
            raise UsageError('give a text to score: charlm score "The apple and pear salad"')
        file = "-"
    loaded = load_model(model)
    wanted = Wanted(unit, per_token, words, prefix)
    job = _Job(loaded, wanted, context, closed, on_error)
    writer = Writer(wanted, json=json, tsv=tsv)
    if texts:
        scores = job.score(list(texts))
        kept = [score for score in scores if not bounds.are_set or bounds.keep(score)]
        places = rank([score.total_log_prob for score in kept]) if len(kept) > 1 else None
        for index, score in enumerate(kept):
            writer.write(score, places[index] if places else None)
        if places and not (json or tsv or per_token or words):
            say_verdict(kept, is_open=job.is_open)
        return
    file = file or "-"
    form: Form
    names = wanted.names()
    if n_best:
        names += [prefix + name for name in nbest.NAMES]
        form = nbest.form_of(field if jsonl else None, names)
    elif jsonl:
        form = JsonLines(field, names)
    elif column is not None:
        form = Columns(column, names, header=header)
    else:
        form = PlainLines()
    from charlm.streams import stream_lines

    with Meter(file) as meter:
        read_in = read(stream_lines(file, encoding=encoding, errors=errors), form)
        sound = job.sound(read_in)
        if isinstance(form, nbest.Hypotheses):
            for group in nbest.groups(sound, form):
                job.write_ranked(group, form, weight)
                meter.update(len(group), group[-1].end)
        else:
            plain = isinstance(form, PlainLines)
            shows = json or tsv or per_token or words or not bounds.are_set
            for batch in batches(sound):
                job.write(batch, form, bounds, writer if plain and shows else None)
                meter.update(len(batch), batch[-1].end)
    job.say_counts(bounds)


class _Job:
    """The lines of a file on their way through the model."""

    def __init__(
        self, loaded: "LanguageModel", wanted: Wanted, context: str, closed: bool, on_error: str
    ) -> None:
        self._loaded, self._wanted = loaded, wanted
        self._context, self._closed = context, closed
        self._on_error = on_error
        self._texts = self._kept = self._broken = 0

    @property
    def is_open(self) -> bool:
        """Whether what is unknown is spelled, so that any two texts can be compared."""
        return not self._closed and self._loaded.unknown is not None

    def score(self, texts: list[str]) -> "list[TextScore]":
        """The scores of texts."""
        return self._loaded.score_all(
            texts,
            context=self._context,
            per_token=self._wanted.per_token,
            words=self._wanted.words,
            closed=self._closed,
        )

    def sound(self, records: "Iterator[Record | None]") -> "Iterator[Record | None]":
        """The records without the broken ones that are to be dropped.

        Raises TextError at the first if that is what was asked for, when those before it have
        been dealt with.
        """
        for record in records:
            if record is not None and record.problem is not None:
                if self._on_error == "stop":
                    yield None  # what was read before it
                    raise TextError(record.problem)
                self._broken += 1
                say(record.problem)
                if self._on_error == "drop":
                    continue
            yield record

    def write(self, batch: list[Record], form: Form, bounds: Bounds, writer: Writer | None) -> None:
        """Score a portion of records and write those that are to be kept."""
        scores = iter(self.score([r.text for r in batch if r.text is not None]))
        for record in batch:
            if record.text is None:
                if writer is not None and record.problem is not None:
                    writer.write_broken(record.line, record.problem)
                else:
                    out_line(form.written(record, {}))
                continue
            score = next(scores)
            self._texts += 1
            if bounds.are_set and not bounds.keep(score):
                continue
            self._kept += 1
            if writer is not None:
                writer.write(score)
            else:
                out_line(form.written(record, self._wanted.results(score)))
        sys.stdout.flush()

    def write_ranked(self, group: list[Record], form: nbest.Hypotheses, weight: float) -> None:
        """Score a group of hypotheses and write them best first."""
        if group[0].text is None:
            out_line(form.written(group[0], {}))
            return
        scores = self.score([record.text or "" for record in group])
        for record, _, results in nbest.ranked(group, scores, form, self._wanted, weight):
            out_line(form.written(record, results))
        sys.stdout.flush()

    def say_counts(self, bounds: Bounds) -> None:
        """What was dropped and what was broken, if there was any."""
        sys.stdout.flush()
        if bounds.are_set:
            say(f"kept {self._kept:,} of {self._texts:,} texts")
        if self._broken:
            verb = {"keep": "kept as they were", "drop": "dropped"}[self._on_error]
            say(f"broken lines, {verb}: {self._broken:,}")
