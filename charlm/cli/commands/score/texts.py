"""Texts scored: of the command line or a file, which is sorted into files, ranked or in order."""

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.bulk.mapped import in_processes
from charlm.cli import options
from charlm.cli.commands.score.asked import Asked, NBest
from charlm.cli.input.beginning import piped
from charlm.cli.input.buckets import limit_of_best, sort_texts
from charlm.cli.input.filter import Shows, TextFilter, lines_of
from charlm.cli.input.model import load_any, together, token_model
from charlm.cli.input.records import batches_and_pauses, form_of
from charlm.cli.input.text_file import Broken, TextFile, say_lines_are_texts
from charlm.cli.output import nbest
from charlm.cli.output.meter import through
from charlm.cli.output.reports.tuned_weight import tuned_weight
from charlm.cli.output.score_table import (
    HeatWriter,
    PageWriter,
    Writer,
    say_pseudo_verdict,
    say_verdict,
)
from charlm.cli.output.terminal import say
from charlm.fields.scores import Wanted, rank

if TYPE_CHECKING:
    from charlm.display.html_page import Page
    from charlm.models.base import TextModel
    from charlm.novelty.frequency import WordFrequency
    from charlm.text.portions import Mapped


class TextScorer:
    """A model of texts, and what is wanted of it."""

    def __init__(self, models: options.Judged, asked: Asked, *, context: str, closed: bool) -> None:
        from charlm.models.cloze_model import ClozeModel

        self._asked = asked
        printed, column = asked.printed, asked.records.column
        self.model = loaded = load_any(models)
        if said := together(loaded.tokenizer.ignores):
            say(said)
        wanted = Wanted(
            printed.unit,
            printed.per_token,
            printed.words,
            printed.prefix,
            pseudo=isinstance(loaded, ClozeModel),
            in_rows=column is not None and (printed.per_token or printed.words),
            regions=printed.region_column is not None,
        )
        if wanted.is_long:
            wanted = wanted._replace(frequency=_frequency(loaded))
        shaded = printed.is_shaded
        if wanted.pseudo:
            _say_pseudo(wanted, shaded=shaded)
        elif wanted.per_token or wanted.words or shaded or closed:
            token_model(loaded)
        self._wanted = wanted
        self.job = TextFilter(
            loaded, wanted, asked.bounds, context=context, closed=closed, shaded=shaded
        )

    def score_arguments(self, texts: list[str]) -> None:
        """Score the texts of the command line, and rank them."""
        with contextlib.ExitStack() as stack:
            writer, kept = self._writer(stack), self.job.kept(texts)
            places = rank([score.total_log_prob for score in kept]) if len(kept) > 1 else None
            for index, score in enumerate(kept):
                writer.write(score, places[index] if places else None)
            if not places or self._asked.printed.is_more:
                return
            if self._wanted.pseudo:
                say_pseudo_verdict(kept)
            else:
                say_verdict(kept, is_open=self.job.is_open)

    def score_file(self, file: TextFile, ranking: NBest) -> None:
        """Score the texts of a file."""
        if file.is_plain:
            say_lines_are_texts(self.model.checkpoint.split_on)
        broken = Broken(self._asked.records.on_error)
        with contextlib.ExitStack() as stack:
            writer = self._writer(stack)
            mapped = stack.enter_context(in_processes(self._asked.jobs))
            if self._asked.buckets.are_set:
                self._sort(file, mapped)
                return
            if ranking.n_best:
                self._rank(file, ranking, broken, mapped)
            else:
                self._write_in_order(file, writer, broken, mapped)
            self.job.say_counts(broken)

    def _sort(self, file: TextFile, mapped: "Mapped") -> None:
        records = self._asked.records
        form = form_of(self._wanted.names(), records, csv=records.csv or file.is_csv)
        buckets, on_error = self._asked.buckets, records.on_error
        sort_texts(self.job, file, form, buckets, self.model, on_error=on_error, mapped=mapped)

    def _rank(self, file: TextFile, ranking: NBest, broken: Broken, mapped: "Mapped") -> None:
        """The hypotheses of each id, best first."""
        records, printed, wanted = self._asked.records, self._asked.printed, self._wanted
        new_form = functools.partial(
            nbest.form_of,
            records.field if records.jsonl else None,
            [*wanted.names(), *(wanted.prefix + name for name in nbest.NAMES)],
            header=records.header,
            csv=records.csv or file.is_csv,
            kaldi=ranking.kaldi,
            written_as="json" if printed.json else "tsv" if printed.tsv else None,
        )
        form, weight = new_form(), ranking.weight
        if ranking.tune_weight is not None:
            again = new_form()
            lines = file.read_twice(again)
            weight = tuned_weight(self.job, lines, again, ranking.tune_weight, wanted, mapped)
        groups = nbest.groups(file.records(form, broken), form)
        write = functools.partial(
            self.job.write_ranked, form=form, weight=weight, best=ranking.best
        )
        through(file.name, self.job.scored(groups, form, mapped), write, lines_of)

    def _write_in_order(
        self, file: TextFile, writer: Shows, broken: Broken, mapped: "Mapped"
    ) -> None:
        records, printed, bounds = self._asked.records, self._asked.printed, self._asked.bounds
        new_form = functools.partial(
            form_of,
            self._wanted.names(),
            records,
            csv=records.csv or file.is_csv,
            regions=printed.region_column,
        )
        form = new_form()
        if (share := bounds.share) is not None:
            bounds.limit = limit_of_best(
                share, self.job, file, new_form(), records.on_error, mapped
            )
        in_lines = records.jsonl or records.column is not None
        shows = printed.is_more or printed.is_shaded or not bounds.are_set
        own = writer if shows and not in_lines else None
        write = functools.partial(self.job.write, form=form, writer=own)
        portions = batches_and_pauses(file.records(form, broken))
        through(file.name, self.job.scored(portions, form, mapped), write, lines_of)

    def _writer(self, stack: contextlib.ExitStack) -> Shows:
        """What shows scores, in the terminal and, if one is asked for, in a page."""
        printed, wanted = self._asked.printed, self._wanted
        writer: Shows
        if printed.heatmap:
            writer = HeatWriter(_level(self.model, wanted), pseudo=wanted.pseudo)
        else:
            plain = wanted._replace(words=wanted.words and not printed.html)
            writer = Writer(plain, json=printed.json, tsv=printed.tsv)
        if printed.html is None:
            return writer
        return PageWriter(writer, stack.enter_context(_page(printed.html, self.model, wanted)))


def file_of_texts(
    named: str | None, cut: options.Cut, asked: Asked, *, in_records: bool
) -> TextFile:
    """The file that texts stand in, or what is piped, looked at before a model is loaded."""
    named = named or piped('a text to score: charlm score "The apple and pear salad"')
    file = TextFile(named, cut, asked.decoding, in_records)
    file.check_name()
    return file


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
