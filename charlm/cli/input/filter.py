"""Lines on their way through a model: scored, kept or dropped, and written as they came."""

import collections
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from charlm.bulk.scoring import Scoring
from charlm.cli.input.declared import Options, option
from charlm.cli.input.records import Columns, Form, Record
from charlm.cli.input.text_file import Broken
from charlm.cli.output import nbest
from charlm.cli.output.reports import histogram
from charlm.cli.output.terminal import out_line, say, say_lines
from charlm.errors import UsageError
from charlm.fields.scores import Wanted

if TYPE_CHECKING:
    from charlm.cli.output.bucket_files import BucketFiles
    from charlm.inference.pairs.score import PairScore
    from charlm.inference.score import TextScore
    from charlm.models.base import TextDistribution
    from charlm.models.cloze_model import ClozeModel
    from charlm.text.portions import Mapped


class Results(Protocol):
    """What is told of a score, of a text or of a pair (fields/scores.py, fields/pairs.py)."""

    @property
    def in_rows(self) -> bool:
        """Whether each token has a row."""

    def results(self, score: Any) -> dict[str, Any]:
        """The results by their names."""

    def rows(self, score: Any, number: int) -> Iterator[dict[str, Any]]:
        """A row for each token of the number-th."""


class Shows(Protocol):
    """What writes scores that do not go into records."""

    def write(self, score: Any, place: int | None = None) -> None:
        """Write a score; ``place`` is its rank among several."""

    def write_broken(self, line: str, problem: str) -> bool:
        """Write something in the place of a line that could not be read; False if nothing is."""


class Bounds(Options, heading="Filter"):
    """What a text must be like to be kept: in a range of perplexity and of bits per character."""

    min_perplexity: float | None = option("Keep texts with at least this perplexity per token.")
    max_perplexity: float | None = option("Keep texts with at most this perplexity per token.")
    min_bits: float | None = option("Keep texts with at least this many bits per character.")
    max_bits: float | None = option("Keep texts with at most this many bits per character.")
    keep_best: str | None = option(
        "Keep this share of the texts of a file, those of the lowest perplexity: 30%.",
        metavar="SHARE",
    )
    invert: bool = option("Keep the other texts.", False, "--invert", "-v")
    histogram: bool = option("Print a histogram of the perplexities on stderr.", False)
    limit = math.inf  # the perplexity of the worst that is kept of the best

    @property
    def are_set(self) -> bool:
        """Whether anything is to be dropped."""
        bounds = (self.min_perplexity, self.max_perplexity, self.min_bits, self.max_bits)
        return any(bound is not None for bound in (*bounds, self.keep_best))

    @property
    def share(self) -> float | None:
        """The share that is kept of the best, 0 to 1. Raises UsageError."""
        if self.keep_best is None:
            return None
        try:
            found = float(self.keep_best.removesuffix("%")) / 100
        except ValueError:
            found = 0.0
        if not (0 < found < 1 and self.keep_best.endswith("%")):
            raise UsageError(f"--keep-best is a share such as 30%, got {self.keep_best!r:.40}.")
        return found

    def keep(self, score: "TextScore | PairScore") -> bool:
        """Whether a text is. A figure that it has not, an empty text's bits, bars nothing."""
        if not self.are_set:
            return True
        pairs = (
            (score.perplexity, self.min_perplexity, self.max_perplexity),
            (score.bits_per_character, self.min_bits, self.max_bits),
        )
        inside = score.perplexity <= self.limit and all(
            value is None or ((low is None or value >= low) and (high is None or value <= high))
            for value, low, high in pairs
        )
        return inside is not self.invert


class Scored(NamedTuple):
    """Records, and the scores of those among them that hold a text or a pair."""

    records: list[Record]
    scores: Any


def lines_of(portion: Scored) -> list[Record]:
    """The records of a portion."""
    return portion.records


class Filter(ABC):
    """One model, what is asked of it, and what has come through so far."""

    noun = "texts"

    def __init__(self, wanted: Results, bounds: Bounds) -> None:
        self._results, self._bounds = wanted, bounds
        self._ending = "\n"  # of the line before
        self._texts = self._kept = self._left_out = self._ties = 0
        self._bins: collections.Counter[int] = collections.Counter()

    @property
    @abstractmethod
    def work(self) -> Callable[[Any], Sequence[Any]]:
        """What scores texts or pairs, here or in another process."""

    @abstractmethod
    def asked(self, records: list[Record], form: Form) -> list[Any]:
        """The texts or pairs of records that hold something to be scored."""

    def scored(
        self, portions: Iterable[list[Record] | None], form: Form, mapped: "Mapped"
    ) -> Iterator["Scored"]:
        """Portions of records with the scores of those that hold something to be scored.

        ``mapped`` has them done, in this process or in several (text/portions.py).
        """
        waiting: collections.deque[list[Record]] = collections.deque()

        def asked() -> Iterator[list[Any] | None]:
            for portion in portions:
                if portion is None:
                    yield None
                    continue
                waiting.append(portion)
                yield self.asked([record for record in portion if record.text is not None], form)

        for scores in mapped(self.work, asked()):
            yield Scored(waiting.popleft(), scores)

    def write(self, portion: "Scored", *, form: Form, writer: Shows | None) -> None:
        """Write those records of a portion that are to be kept.

        Without a writer they go out as they came, the results in them.
        """
        scores = iter(portion.scores)
        for record in portion.records:
            self._ending = record.ending or self._ending
            if record.text is None:
                if writer is not None:  # a header and an empty line have no place there
                    if record.problem is not None:
                        self._left_out += not writer.write_broken(record.line, record.problem)
                elif self._results.in_rows and not form.is_header(record):
                    self._left_out += record.problem is not None
                else:
                    out_line(form.written(record, {}), record.ending)
                continue
            score = next(scores)
            self._texts += 1
            self._bins[histogram.bin_of(score.perplexity)] += 1
            if not self._bounds.keep(score):
                continue
            self._kept += 1
            if writer is not None:
                writer.write(score)
            elif self._results.in_rows:
                found = self.rows(score, record, form)
                rows = [form.written(record, row) for row in found]
                for line in rows[:-1]:
                    out_line(line, record.ending or self._ending)
                out_line(rows[-1], record.ending)
            else:
                out_line(form.written(record, self._results.results(score)), record.ending)

    def rows(self, score: Any, record: Record, form: Form) -> Iterator[dict[str, Any]]:
        """A row for each token, word or region of the text of a record."""
        del record, form
        return self._results.rows(score, self._texts)

    def write_buckets(
        self,
        portion: "Scored",
        *,
        form: Form,
        files: "BucketFiles",
        bucket: Callable[[float], int],
    ) -> None:
        """Write the texts of a portion into the buckets of their perplexities, as they came.

        A header goes into each; a broken line, which has no perplexity, into none.
        """
        scores = iter(portion.scores)
        for record in portion.records:
            if record.text is None:
                if form.is_header(record):
                    files.write_all(form.written(record, {}), record.ending or "\n")
                self._left_out += record.problem is not None
                continue
            score = next(scores)
            line = form.written(record, self._results.results(score))
            files.write(bucket(score.perplexity), line, record.ending)

    def say_counts(self, broken: Broken) -> None:
        """What was dropped and what was broken, if there was any."""
        sys.stdout.flush()
        if self._bounds.histogram and self._bins:
            say_lines("\n".join(histogram.lines(self._bins)))
        if self._bounds.are_set:
            say(f"kept {self._kept:,} of {self._texts:,} {self.noun}")
        broken.say(self._left_out)
        if self._ties:
            say(f"ids of which several are the best, the first of each written: {self._ties:,}")


class TextFilter(Filter):
    """The same of a model of texts."""

    def __init__(
        self,
        loaded: "TextDistribution | ClozeModel",
        wanted: Wanted,
        bounds: Bounds,
        *,
        context: str,
        closed: bool,
        shaded: bool,
    ) -> None:
        super().__init__(wanted, bounds)
        self._wanted = wanted
        per_token = wanted.per_token or (shaded and not wanted.words)
        self._scoring = Scoring(loaded, context, per_token, wanted.words, closed)

    @property
    def is_open(self) -> bool:
        """Whether what is unknown is spelled, so that any two texts can be compared."""
        loaded = self._scoring.loaded
        return not self._scoring.closed and getattr(loaded, "unknown", loaded) is not None

    @property
    def work(self) -> "Callable[[Any], list[TextScore]]":
        """What scores texts."""
        return self._scoring

    def asked(self, records: list[Record], form: Form) -> list[str]:
        """The texts of records."""
        del form
        return [record.text or "" for record in records]

    def rows(self, score: Any, record: Record, form: Form) -> Iterator[dict[str, Any]]:
        """A row for each token, word or region of the text of a record."""
        regions = form.regions(record.line) if isinstance(form, Columns) else None
        return self._wanted.rows(score, self._texts, regions)

    def kept(self, texts: list[str]) -> "list[TextScore]":
        """The scores of those texts that are to be kept."""
        return [score for score in self.work(texts) if self._bounds.keep(score)]

    def write_ranked(
        self, portion: "Scored", *, form: nbest.Hypotheses, weight: float, best: bool
    ) -> None:
        """Write a group of hypotheses best first, or the best one alone."""
        group, scores = portion
        if group[0].text is None:
            for line in form.without_results(group[0]):
                out_line(line, group[0].ending)
            return
        ranked = list(nbest.ranked(group, scores, form, self._wanted, weight))
        for line in form.head():
            out_line(line, group[0].ending or "\n")
        wanted, places = (ranked[:1], group[-1:]) if best else (ranked, group)
        for (record, results, _), place in zip(wanted, places, strict=True):
            out_line(form.written(record, results), place.ending)  # the last row's may be none
        self._ties += best and len(ranked) > 1 and ranked[1][2] == 1
