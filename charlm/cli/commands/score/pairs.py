"""Targets scored given their sources: of the command line, or of a table of pairs."""

import contextlib
import functools
from typing import TYPE_CHECKING

from charlm.bulk.mapped import in_processes
from charlm.cli import options
from charlm.cli.commands.score.asked import Asked
from charlm.cli.input.beginning import piped
from charlm.cli.input.buckets import sort_texts
from charlm.cli.input.filter import lines_of
from charlm.cli.input.pairs import (
    PairFilter,
    PairRows,
    alignment_page,
    check_attention,
    source_of,
)
from charlm.cli.input.records import batches_and_pauses
from charlm.cli.input.text_file import Broken, TextFile
from charlm.cli.output.meter import through
from charlm.cli.output.pair_scores import PairWriter
from charlm.cli.output.score_table import say_verdict
from charlm.errors import UsageError
from charlm.fields.pairs import PairWanted
from charlm.fields.scores import rank

if TYPE_CHECKING:
    from charlm.models.translator import Translator
    from charlm.text.pairs import PairPlaces


def score_targets(
    loaded: "Translator", source: str, features: str | None, targets: list[str], asked: Asked
) -> None:
    """Score targets of one source, and rank them."""
    if not targets:
        raise UsageError('give a target: charlm score --source "salad" "S AE L AH D"')
    printed = asked.printed
    wanted = PairWanted(printed.unit, printed.per_token, printed.attention, printed.prefix)
    job = PairFilter(loaded, wanted, asked.bounds)
    with contextlib.ExitStack() as stack:
        writer = _writer(loaded, wanted, asked, stack)
        of = source_of(loaded, source, features)
        kept = job.kept([(of, target) for target in targets])
        places = rank([score.total_log_prob for score in kept]) if len(kept) > 1 else None
        for index, score in enumerate(kept):
            writer.write(score, places[index] if places else None)
        if places and not (printed.is_more or printed.attention):
            say_verdict(kept, is_open=False)
    job.unseen.say()


def score_table(loaded: "Translator", places: "PairPlaces", asked: Asked) -> None:
    """Score each pair of a table."""
    printed, records = asked.printed, asked.records
    shows = printed.json or printed.tsv or printed.attention or printed.html is not None
    drops = asked.bounds.are_set or asked.buckets.are_set
    wanted = PairWanted(
        printed.unit,
        printed.per_token,
        printed.attention,
        printed.prefix,
        in_rows=printed.per_token and not (shows or places.is_field),
        none=drops and not (shows or printed.per_token),
    )
    job = PairFilter(loaded, wanted, asked.bounds)
    with contextlib.ExitStack() as stack:
        writer = _writer(loaded, wanted, asked, stack)
        named = asked.file or piped("a source and a target, or a table of pairs with --file")
        file = TextFile(named, options.Cut(), asked.decoding, in_records=True)
        form = PairRows(places, wanted.names(), csv=records.csv or file.is_csv)
        broken = Broken(records.on_error)
        mapped = stack.enter_context(in_processes(asked.jobs))
        if asked.buckets.are_set:
            sort_texts(
                job, file, form, asked.buckets, loaded, on_error=records.on_error, mapped=mapped
            )
            return
        write = functools.partial(job.write, form=form, writer=writer if shows else None)
        portions = batches_and_pauses(file.records(form, broken))
        through(file.name, job.scored(portions, form, mapped), write, lines_of)
        job.say_counts(broken)
    job.unseen.say()


def _writer(
    loaded: "Translator", wanted: PairWanted, asked: Asked, stack: contextlib.ExitStack
) -> PairWriter:
    printed, page = asked.printed, None
    if printed.attention or printed.html is not None:
        check_attention(loaded)
    if printed.html is not None:
        page = stack.enter_context(alignment_page(printed.html, loaded))
    return PairWriter(wanted, loaded.parts, json=printed.json, tsv=printed.tsv, page=page)
