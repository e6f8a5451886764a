"""The figures of a pair in the form that was asked for."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.input.records import as_cell
from charlm.cli.output.formats import cell
from charlm.cli.output.score_table import short
from charlm.cli.output.terminal import out, out_json
from charlm.cli.output.translations import map_of
from charlm.display.safe_text import safe_text, visible
from charlm.fields.pairs import PairWanted, named
from charlm.metrics import UNITS

if TYPE_CHECKING:
    from charlm.display.alignment_page import AlignmentPage
    from charlm.inference.pairs.score import PairScore


class PairWriter:
    """Writes the scores of pairs, one after another, and on a page if there is one."""

    def __init__(
        self,
        wanted: PairWanted,
        parts: Callable[[str], Sequence[str]],
        *,
        json: bool,
        tsv: bool,
        page: "AlignmentPage | None" = None,
    ) -> None:
        self._parts = parts  # of a source: its text, and its features if it can have any
        self._wanted, self._json, self._tsv, self._page = wanted, json, tsv, page
        self._number = 0

    def write(self, score: "PairScore", place: int | None = None) -> None:
        """Write a score; ``place`` is its rank among several targets of a source."""
        self._number += 1
        if self._page is not None:
            self._page.add(score)
        ranked = {} if place is None else {"rank": place}
        if self._json:
            both = {**named(self._parts(score.source)), "target": score.target}
            out_json({**both, **self._wanted.results(score), **ranked})
        elif self._tsv and not self._wanted.per_token:
            both = {**named(self._parts(score.source)), "target": score.target}
            self._row({**self._wanted.results(score), **ranked}, both)
        elif self._tsv:
            for row in self._wanted.rows(score, self._number):
                if self._number == row[self._wanted.row_names()[1]] == 1:
                    out("\t".join(row) + "\n")
                out("\t".join(map(as_cell, row.values())) + "\n")
        elif self._wanted.per_token:
            self._tokens(score)
        else:
            self._line(score, place)
        if self._wanted.attention:
            out("".join(f"{line}\n" for line in map_of(score)))

    def write_broken(self, line: str, problem: str) -> bool:
        """A line in the place of one that is no pair; False where there is no such place."""
        self._number += 1
        if self._json:
            out_json({"line": safe_text(line), "problem": problem})
        elif self._tsv and not self._wanted.per_token:
            self._row(dict.fromkeys(self._wanted.names()), {"source": line, "target": ""})
        else:
            return False
        return True

    def _row(self, results: dict[str, Any], both: dict[str, str]) -> None:
        if self._number == 1:
            out("\t".join([*results, *both]) + "\n")
        out("\t".join([*map(as_cell, results.values()), *map(cell, both.values())]) + "\n")

    def _tokens(self, score: "PairScore") -> None:
        unit = self._wanted.unit
        out(f"{'' if self._number == 1 else chr(10)}{self._both(score)}\n")
        logs, sums = f"log P ({unit})", f"sum ({unit})"
        out(f"{logs:>14} {'surprisal (bits)':>17} {sums:>14}  token\n")
        for token, log_prob, bits, running in map(dict.values, self._wanted.token_rows(score)):
            out(f"{log_prob:14.4f} {bits:17.3f} {running:14.4f}  {visible(token)}\n")

    def _line(self, score: "PairScore", place: int | None) -> None:
        unit = self._wanted.unit
        if self._number == 1:
            out(
                f"{'rank ' if place else ''}{f'log P ({unit})':>14} {'P':>10} {'ppl/token':>10} "
                f"{'tokens':>7} {'OOV':>4}  pair\n"
            )
        out(
            f"{f'{place:>4} ' if place else ''}{score.total_log_prob / UNITS[unit]:14.4f} "
            f"{score.probability:>10} {short(score.perplexity):>10} {score.num_tokens:7d} "
            f"{score.num_oov:4d}  {self._both(score)}\n"
        )

    def _both(self, score: "PairScore") -> str:
        return safe_text(f"{' '.join(self._parts(score.source))} → {score.target}")
