"""The figures of a text in the form that was asked for."""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.input.records import as_cell
from charlm.cli.output.formats import cell
from charlm.cli.output.terminal import out, out_json, say
from charlm.display.safe_text import safe_text, visible
from charlm.fields.scores import Wanted
from charlm.metrics import scientific, surprisal_bits

if TYPE_CHECKING:
    from charlm.display.html_page import Page
    from charlm.inference.pairs.score import PairScore
    from charlm.inference.score import TextScore


class Writer:
    """Writes the scores of texts, one portion after another."""

    def __init__(self, wanted: Wanted, *, json: bool, tsv: bool) -> None:
        self.wanted = wanted
        self.json, self.tsv = json, tsv
        self._first = True
        self._number = 0

    def write(self, score: "TextScore", place: int | None = None) -> None:
        """Write a score; ``place`` is its rank among several."""
        self._number += 1
        if self.json:
            ranked = {} if place is None else {"rank": place}
            out_json({"text": score.text, **self.wanted.results(score), **ranked})
        elif self.wanted.per_token or self.wanted.words:
            self._rows(score)
        elif self.tsv:
            ranked = {} if place is None else {"rank": place}
            self._row({**self.wanted.results(score), **ranked}, score.text)
        else:
            self._line(score, place)
        self._first = False

    def write_broken(self, line: str, problem: str) -> bool:
        """A line in the place of one that could not be read; False where there is no such place."""
        self._number += 1
        if self.json:
            out_json({"text": safe_text(line), "problem": problem})
        elif self.tsv and not (self.wanted.per_token or self.wanted.words):
            self._row(dict.fromkeys(self.wanted.names()), line)
        else:
            return False
        self._first = False
        return True

    def _row(self, results: dict[str, Any], text: str) -> None:
        if self._first:
            out("\t".join([*results, "text"]) + "\n")
        out("\t".join([*map(as_cell, results.values()), cell(text)]) + "\n")

    def _rows(self, score: "TextScore") -> None:
        """A block a text, or with --tsv one table with the text's number in front."""
        wanted = self.wanted
        if self.tsv:
            if self._first:
                out("\t".join(wanted.row_names()) + "\n")
            for row in wanted.rows(score, self._number):
                out("\t".join(map(as_cell, row.values())) + "\n")
            return
        rows = wanted.word_rows(score) if wanted.words else wanted.token_rows(score)
        logs = f"{'log P (' + wanted.unit + ')':>14} {'surprisal (bits)':>17}"
        sums = f"{'sum (' + wanted.unit + ')':>14}"
        if wanted.pseudo:
            logs = f"{'PLL (' + wanted.unit + ')':>14} {'pseudo-bits':>17}"
        head = (
            f"{logs} {sums}  word" if wanted.words else f"{logs} {'rank':>6} {'entropy':>8} {sums}"
        )
        head += "" if wanted.words else "  token"
        out(f"{'' if self._first else chr(10)}{safe_text(score.text)}\n{head}\n")
        for row in rows:
            log_prob, running = row[f"log_prob_{wanted.unit}"], row[f"running_total_{wanted.unit}"]
            out(f"{log_prob:14.4f} {row['surprisal_bits']:17.3f} ")
            if wanted.words:
                out(f"{running:14.4f}  {safe_text(row['word'])}\n")
            else:
                out(f"{row['rank']:6d} {row['entropy_bits']:8.3f} {running:14.4f}")
                out(f"  {visible(row['token'])}\n")

    def _line(self, score: "TextScore", place: int | None) -> None:
        if self.wanted.pseudo:
            self._pseudo_line(score, place)
            return
        if self._first:
            out(
                f"{'rank ' if place else ''}{'log P (' + self.wanted.unit + ')':>14} {'P':>10} "
                f"{'ppl/token':>10} {'bits/char':>10} {'tokens':>7} {'OOV':>4}  text\n"
            )
        bits = score.bits_per_character
        out(
            f"{f'{place:>4} ' if place else ''}{score.total_log_prob / self.wanted.nats:14.4f} "
            f"{score.probability:>10} {short(score.perplexity):>10} "
            f"{short(bits):>10} {score.num_tokens:7d} {score.num_oov:4d}  "
            f"{safe_text(score.text)}\n"
        )

    def _pseudo_line(self, score: "TextScore", place: int | None) -> None:
        if self._first:
            out(
                f"{'rank ' if place else ''}{'PLL (' + self.wanted.unit + ')':>14} "
                f"{'pseudo-ppl':>10} {'pseudo-bits/char':>16} {'tokens':>7} {'OOV':>4}  text\n"
            )
        out(
            f"{f'{place:>4} ' if place else ''}{score.total_log_prob / self.wanted.nats:14.4f} "
            f"{short(score.perplexity):>10} {short(score.bits_per_character):>16} "
            f"{score.num_tokens:7d} {score.num_oov:4d}  {safe_text(score.text)}\n"
        )


class HeatWriter:
    """Writes texts coloured by the surprisal of their tokens, or of their words."""

    def __init__(self, level: str, *, pseudo: bool = False) -> None:
        from charlm.cli.output.heatmap import HeatMap
        from charlm.display.shading import Scale

        self._map = HeatMap.of_stdout(Scale.of(level), pseudo=pseudo)
        self._first = True

    def write(self, score: "TextScore", place: int | None = None) -> None:
        """Write a text, before the first one the legend."""
        del place
        bits = _bits(score)
        lines = list(self._map.lines(score.text, score.words or score.tokens or (), bits))
        head = [*self._map.legend(), ""] if self._first else [""]
        sys.stdout.write("".join(f"{line}\n" for line in (*head, *lines)))  # is safe already
        self._first = False

    def write_broken(self, line: str, problem: str) -> bool:
        """There is nothing to colour."""
        del line, problem
        return False


class PageWriter:
    """Adds what another writer writes to a page as well."""

    def __init__(self, writer: "Writer | HeatWriter", page: "Page") -> None:
        self._writer, self._page = writer, page

    def write(self, score: "TextScore", place: int | None = None) -> None:
        """Write a score on both."""
        self._page.add(score.text, score.words or score.tokens or (), _bits(score))
        self._writer.write(score, place)

    def write_broken(self, line: str, problem: str) -> bool:
        """Such a line is not on the page."""
        return self._writer.write_broken(line, problem)


def say_verdict(scores: "Sequence[TextScore | PairScore]", *, is_open: bool) -> None:
    """Which of several texts is the likeliest, and by how much."""
    sys.stdout.flush()  # before what goes to stderr
    best, second = sorted(scores, key=lambda s: -s.total_log_prob)[:2]
    if best.num_oov != second.num_oov and not is_open:
        say("mind the OOV column: what is unknown counts as <UNK>, which can be anything")
    difference = best.total_log_prob - second.total_log_prob
    if difference == 0:
        say(f"likeliest: {_quoted(best)} and {_quoted(second)}, equally likely")
    else:
        say(f"likeliest: {_quoted(best)}, {_times(difference)} times as likely as the next")


def say_pseudo_verdict(scores: "Sequence[TextScore]") -> None:
    """Which of several texts has the highest pseudo-log-likelihood, and by how much."""
    sys.stdout.flush()  # before what goes to stderr
    best, second = sorted(scores, key=lambda s: -s.total_log_prob)[:2]
    difference = best.total_log_prob - second.total_log_prob
    if difference == 0:
        say(f"highest PLL: {_quoted(best)} and {_quoted(second)}, equal")
    else:
        say(f"highest PLL: {_quoted(best)}, {difference:.3f} nats above the next")


def short(value: float | None) -> str:
    """A figure for a person to read."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10_000 else f"{value:.2e}"


def _bits(score: "TextScore") -> float:
    """The surprisal of a whole text."""
    return surprisal_bits(score.total_log_prob)


def _quoted(score: "TextScore | PairScore") -> str:
    return f'"{safe_text(score.text)}"'


def _times(nats: float) -> str:
    """exp(nats) for a person to read."""
    return scientific(nats) if nats > math.log(1e6) else f"{float(f'{math.exp(nats):.3g}'):,g}"
