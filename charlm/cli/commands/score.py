"""charlm score."""

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from charlm.bulk.mapped import in_processes
from charlm.cli import options
from charlm.cli.input.beginning import dash_is_piped, piped
from charlm.cli.input.buckets import Buckets, limit_of_best, sort_texts
from charlm.cli.input.declared import Options, option
from charlm.cli.input.filter import Bounds, Shows, TextFilter, lines_of
from charlm.cli.input.model import (
    load_any,
    named_translator,
    together,
    token_model,
    translator,
)
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Ordered, Rules
from charlm.cli.input.pairs import (
    PairFilter,
    PairRows,
    alignment_page,
    check_attention,
    only_of_texts,
    source_of,
)
from charlm.cli.input.records import batches_and_pauses, form_of
from charlm.cli.input.text_file import Broken, TextFile, say_lines_are_texts
from charlm.cli.output import nbest
from charlm.cli.output.meter import through
from charlm.cli.output.pair_scores import PairWriter
from charlm.cli.output.reports.tuned_weight import tuned_weight
from charlm.cli.output.score_table import (
    HeatWriter,
    PageWriter,
    Writer,
    say_pseudo_verdict,
    say_verdict,
)
from charlm.cli.output.terminal import say
from charlm.errors import UsageError
from charlm.fields.pairs import PairWanted
from charlm.fields.scores import Wanted, rank
from charlm.metrics import Unit

if TYPE_CHECKING:
    from charlm.display.html_page import Page
    from charlm.models.base import TextModel
    from charlm.models.translator import Translator
    from charlm.novelty.frequency import WordFrequency
    from charlm.text.pairs import PairPlaces

_LINES = ("--jsonl", "--column", "--csv", "--nbest")
_BUCKETS = ("--bucket", "--bounds")
_BOUNDS = ("--min-perplexity", "--max-perplexity", "--min-bits", "--max-bits", "--keep-best")
RULES: Rules = (
    *options.MIXING,
    options.PARTNERS,
    *options.TEXT_OR_FILE,
    *options.CUT,
    Apart(("--split-on", "--null"), _LINES, "there a text is a part of a line"),
    Apart("--on-error", ("--split-on paragraph", "--split-on file"), "that is about broken lines"),
    Apart("TEXTS", (*_LINES, *options.SIDES, "--on-error"), "that is about the lines of a file"),
    Apart("TEXTS", "--jobs", "that is about the lines of a file"),
    Apart("--jobs", "--adapt file", "each text is learned from before the next is scored"),
    Needs("--features", "--source"),
    Apart("--source", ("--file", *options.SIDES), "a file holds the sources of its pairs"),
    Apart(options.SIDES, ("--jsonl", "--column", "--nbest"), "there a line holds a text, no pair"),
    OneOf("--json", "--tsv"),
    OneOf("--jsonl", "--column"),
    OneOf("--jsonl", "--csv"),
    OneOf("--column", "--nbest"),
    Needs("--field", "--jsonl"),
    Needs(("--header", "--csv"), ("--column", "--nbest", *options.COLUMNS)),
    Needs("--prefix", ("--json", "--tsv", *_LINES, *options.SIDES)),
    Needs(("--weight", "--best", "--kaldi", "--tune-weight"), "--nbest"),
    OneOf("--weight", "--tune-weight"),
    Apart("--kaldi", ("--jsonl", "--csv", "--header"), "its lines have a form of their own"),
    Needs("--region-column", "--column"),
    Apart("--region-column", "--per-token", "a row is a region"),
    Needs("--invert", _BOUNDS),
    Needs("--bucket-to", _BUCKETS),
    Apart(_BUCKETS, ("TEXTS", "--source"), "that is about the texts of a file"),
    Apart(_BUCKETS, (*_BOUNDS, "--nbest"), "each text goes into a file as it came"),
    Apart(
        _BUCKETS,
        ("--json", "--tsv", "--per-token", "--words", "--heatmap", "--html", "--attention"),
        "each text goes into a file as it came",
    ),
    Apart("--nbest", _BOUNDS, "it ranks hypotheses and drops none"),
    Apart(("--json", "--tsv"), ("--jsonl", "--column"), "results go into the lines as they came"),
    Apart(
        ("--heatmap", "--html", "--attention"),
        ("--json", "--tsv", "--per-token", *_LINES),
        "it is for people",
    ),
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
    Apart("--keep-best", _BOUNDS[:-1], "it is a bound by itself"),
    Apart(
        ("--keep-best", "--histogram"),
        ("TEXTS", "--source", *options.SIDES),
        "that is about the texts of a file",
    ),
    Apart("--histogram", (*_BUCKETS, "--nbest"), "it is of a filter"),
)


class Printed(Options, heading=options.OUTPUT):
    """The form of scores."""

    unit: Unit = options.UNIT
    per_token: bool = option("Per-token surprisal.", False)
    words: bool = option("Per-word surprisal, corrected for word boundaries.", False)
    region_column: str | None = option(
        "Per-region surprisal: column of the text with | between its regions."
    )
    heatmap: bool = option("Print the text coloured by surprisal.", False)
    attention: bool = option("Show where a translator looked at each token.", False)
    html: Path | None = option("Write the coloured texts, or alignments, to this HTML page.")
    json: bool = options.JSON
    tsv: bool = options.TSV
    prefix: str = options.PREFIX

    @property
    def is_shaded(self) -> bool:
        """Whether texts are coloured."""
        return self.heatmap or self.html is not None

    @property
    def is_more(self) -> bool:
        """Whether more than a line for each text is written."""
        return self.json or self.tsv or self.per_token or self.words


class NBest(Options, heading="N-best lists"):
    """How hypotheses are ranked."""

    n_best: bool = option(
        "Read lines of id, text and score; rank the texts of each id.", False, "--nbest"
    )
    best: bool = option("Print the best line of each id only.", False)
    kaldi: bool = option("Lines are Kaldi's: utt-1, a space, the text.", False)
    weight: float = option("Weight of log P in the total.", 1.0)
    tune_weight: str | None = option(
        "Fit that weight to the word errors against this file: id, space or tab, text.",
        metavar="FILE",
    )


def score_cli(
    *,
    texts: list[str] | None = typer.Argument(
        None,
        help="Texts to score, or targets of --source; two or more are also ranked.",
        show_default=False,
    ),
    file: str | None = options.file("Score each line of this file; - is standard input."),
    cut: options.Cut,
    of: str | None = option(
        "Source of the targets, for a translator.", None, "--source", heading=options.INPUT
    ),
    features: str | None = options.FEATURES,
    sides: options.Sides,
    context: str = option(
        "Text in front of each text; it is not scored.", "", heading=options.INPUT
    ),
    records: options.Records,
    decoding: options.Decoding,
    models: options.Judged,
    closed: bool = options.CLOSED,
    printed: Printed,
    bounds: Bounds,
    buckets: Buckets,
    ranking: NBest,
    jobs: int | None = options.JOBS,
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
    charlm score --file sentences.txt --keep-best 30% --histogram
    charlm score --file sentences.txt --bucket 3
    charlm score --jsonl --field text --file records.jsonl
    charlm score --column 2 --file table.tsv
    charlm score --words --column sentence --file stimuli.csv
    charlm score --column sentence --region-column regions --file stimuli.csv
    charlm score --nbest --weight 0.5 --file hypotheses.tsv
    charlm score --nbest --tune-weight references.txt --file hypotheses.tsv
    charlm score --model numbers --source 42 "forty-two" "twenty-four"
    charlm score --model numbers --file pairs.tsv
    """
    if abs(ranking.weight) > 1e6:
        raise UsageError(f"--weight must be from -1e6 to 1e6, got {ranking.weight:g}.")
    printed.words |= printed.region_column is not None
    texts, file = dash_is_piped(texts, file)
    if found := named_translator(models, of_pairs=of is not None or sides.are_asked):
        only_of_texts(
            context=context,
            split_on=cut.split_on,
            null=cut.null,
            jsonl=records.jsonl,
            column=records.column,
            words=printed.words,
            heatmap=printed.heatmap,
            nbest=ranking.n_best,
            weights=models.weights,
            tune=models.tune,
            label=models.label,
            adapt=models.adapt != "off",
            closed=closed,
        )
        places = sides.places(header=records.header)
        asked = _Pairs(
            of, features, texts, file, places, records, decoding, printed, bounds, buckets, jobs
        )
        _score_pairs(translator(found), asked)
        return
    if printed.attention:
        raise UsageError("--attention is where a translator looked: give a source with --source.")
    in_records = records.jsonl or records.column is not None or ranking.n_best
    source = None
    if not texts:
        named = file or piped('a text to score: charlm score "The apple and pear salad"')
        source = TextFile(named, cut, decoding, in_records)
        source.check_name()
    from charlm.models.cloze_model import ClozeModel

    loaded = load_any(models)
    if said := together(loaded.tokenizer.ignores):
        say(said)
    is_pseudo = isinstance(loaded, ClozeModel)
    wanted = Wanted(
        printed.unit,
        printed.per_token,
        printed.words,
        printed.prefix,
        pseudo=is_pseudo,
        in_rows=records.column is not None and (printed.per_token or printed.words),
        regions=printed.region_column is not None,
    )
    if wanted.is_long:
        wanted = wanted._replace(frequency=_frequency(loaded))
    shaded = printed.is_shaded
    if is_pseudo:
        _say_pseudo(wanted, shaded=shaded)
    elif wanted.per_token or wanted.words or shaded or closed:
        token_model(loaded)
    job = TextFilter(loaded, wanted, bounds, context=context, closed=closed, shaded=shaded)
    with contextlib.ExitStack() as stack:
        writer: Shows
        if printed.heatmap:
            writer = HeatWriter(_level(loaded, wanted), pseudo=is_pseudo)
        else:
            plain = wanted._replace(words=wanted.words and not printed.html)
            writer = Writer(plain, json=printed.json, tsv=printed.tsv)
        if printed.html is not None:
            writer = PageWriter(writer, stack.enter_context(_page(printed.html, loaded, wanted)))
        if source is None:
            _score_arguments(texts or [], job, writer, wanted, verdict=not printed.is_more)
            return
        if source.is_plain:
            say_lines_are_texts(loaded.checkpoint.split_on)
        mapped = stack.enter_context(in_processes(jobs))
        csv, broken = records.csv or source.is_csv, Broken(records.on_error)
        if buckets.are_set:
            form = form_of(wanted.names(), records, csv=csv)
            more: dict[str, Any] = {"on_error": records.on_error, "mapped": mapped}
            sort_texts(job, source, form, buckets, loaded, **more)
            return
        if ranking.n_best:
            form_of_nbest = functools.partial(
                nbest.form_of,
                records.field if records.jsonl else None,
                [*wanted.names(), *(wanted.prefix + name for name in nbest.NAMES)],
                header=records.header,
                csv=csv,
                kaldi=ranking.kaldi,
                written_as="json" if printed.json else "tsv" if printed.tsv else None,
            )
            hypotheses, weight = form_of_nbest(), ranking.weight
            if ranking.tune_weight is not None:
                again = form_of_nbest()
                lines = source.read_twice(again)
                weight = tuned_weight(job, lines, again, ranking.tune_weight, wanted, mapped)
            groups = nbest.groups(source.records(hypotheses, broken), hypotheses)
            write_ranked = functools.partial(
                job.write_ranked, form=hypotheses, weight=weight, best=ranking.best
            )
            through(source.name, job.scored(groups, hypotheses, mapped), write_ranked, lines_of)
        else:
            form = form_of(wanted.names(), records, csv=csv, regions=printed.region_column)
            if (share := bounds.share) is not None:
                other = form_of(wanted.names(), records, csv=csv, regions=printed.region_column)
                bounds.limit = limit_of_best(share, job, source, other, records.on_error, mapped)
            shows = printed.is_more or shaded or not bounds.are_set
            own = writer if shows and not in_records else None
            write = functools.partial(job.write, form=form, writer=own)
            portions = batches_and_pauses(source.records(form, broken))
            through(source.name, job.scored(portions, form, mapped), write, lines_of)
        job.say_counts(broken)


class _Pairs(NamedTuple):
    """Targets of one source, or a file of pairs, and how they are read and written."""

    source: str | None
    features: str | None
    targets: list[str] | None
    file: str | None
    places: "PairPlaces"
    records: options.Records
    decoding: options.Decoding
    printed: Printed
    bounds: Bounds
    buckets: Buckets
    jobs: int | None


def _score_pairs(loaded: "Translator", asked: _Pairs) -> None:
    """Score targets given their sources."""
    printed, records = asked.printed, asked.records
    if printed.attention or printed.html is not None:
        check_attention(loaded)
    shows = printed.json or printed.tsv or printed.attention or printed.html is not None
    from_file = asked.source is None
    wanted = PairWanted(
        printed.unit,
        printed.per_token,
        printed.attention,
        printed.prefix,
        in_rows=from_file and printed.per_token and not (shows or asked.places.is_field),
        none=from_file
        and (asked.bounds.are_set or asked.buckets.are_set)
        and not (shows or printed.per_token),
    )
    job = PairFilter(loaded, wanted, asked.bounds)
    with contextlib.ExitStack() as stack:
        page = None
        if printed.html is not None:
            page = stack.enter_context(alignment_page(printed.html, loaded))
        writer = PairWriter(wanted, loaded.parts, json=printed.json, tsv=printed.tsv, page=page)
        if asked.source is not None:
            if not asked.targets:
                raise UsageError('give a target: charlm score --source "salad" "S AE L AH D"')
            of = source_of(loaded, asked.source, asked.features)
            kept = job.kept([(of, target) for target in asked.targets])
            places = rank([score.total_log_prob for score in kept]) if len(kept) > 1 else None
            for index, score in enumerate(kept):
                writer.write(score, places[index] if places else None)
            if places and not (printed.is_more or printed.attention):
                say_verdict(kept, is_open=False)
        elif asked.targets:
            raise UsageError(
                "a translator scores a target given its source: name that with --source, or give "
                "a table of pairs with --file."
            )
        else:
            file = TextFile(
                asked.file or piped("a source and a target, or a table of pairs with --file"),
                options.Cut(),
                asked.decoding,
                in_records=True,
            )
            form = PairRows(asked.places, wanted.names(), csv=records.csv or file.is_csv)
            broken = Broken(records.on_error)
            mapped = stack.enter_context(in_processes(asked.jobs))
            if asked.buckets.are_set:
                more: dict[str, Any] = {"on_error": records.on_error, "mapped": mapped}
                sort_texts(job, file, form, asked.buckets, loaded, **more)
                return
            write = functools.partial(job.write, form=form, writer=writer if shows else None)
            portions = batches_and_pauses(file.records(form, broken))
            through(file.name, job.scored(portions, form, mapped), write, lines_of)
            job.say_counts(broken)
    job.unseen.say()


def _frequency(loaded: "TextModel") -> "WordFrequency":
    """How frequent words are in the training text; said where nobody knows."""
    from charlm.novelty.frequency import WordFrequency

    found = WordFrequency(loaded)
    if not found.is_known:
        say("the run keeps no training text, so log_frequency is empty")
    return found


def _say_pseudo(wanted: Wanted, *, shaded: bool) -> None:
    """Say what figures from both sides are."""
    what = "shade" if shaded else "PLL"
    say(f"{what}: each token given those before and after it; not a probability of the text")
    if wanted.words:
        say("a word is the sum of its tokens, each given the word's others, too")


def _level(loaded: "TextModel", wanted: Wanted) -> str:
    return "word" if wanted.words else loaded.tokenizer.level


def _page(path: Path, loaded: "TextModel", wanted: Wanted) -> "Page":
    from charlm.display.html_page import Page

    name = f"{loaded.name} (step {loaded.checkpoint.step:,})"
    level = _level(loaded, wanted)
    return Page(path, model=name, level=level, unit=wanted.unit, pseudo=wanted.pseudo)


def _score_arguments(
    texts: list[str], job: TextFilter, writer: Shows, wanted: Wanted, *, verdict: bool
) -> None:
    """Score the texts of the command line, and rank them."""
    kept = job.kept(texts)
    places = rank([score.total_log_prob for score in kept]) if len(kept) > 1 else None
    for index, score in enumerate(kept):
        writer.write(score, places[index] if places else None)
    if places and verdict:
        if wanted.pseudo:
            say_pseudo_verdict(kept)
        else:
            say_verdict(kept, is_open=job.is_open)
