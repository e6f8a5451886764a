"""The figures of a pair in the form that was asked for."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from charlm.cli.input.records import as_cell
from charlm.cli.output.formats import cell
from charlm.cli.output.score_table import short, sums_names, sums_of
from charlm.cli.output.terminal import out, out_json
from charlm.cli.output.translations import map_of, named
from charlm.display.safe_text import safe_text, visible
from charlm.metrics import UNITS

if TYPE_CHECKING:
    from charlm.display.alignment_page import AlignmentPage
    from charlm.inference.pairs.score import PairScore


class PairWanted(NamedTuple):
    """What is asked for: the unit of log-probabilities, tokens and where the decoder looked or not.

    Where results go in_rows of a table, each token of a target has one. Of a filter alone there are
    none: what is kept goes out as it came.
    """

    unit: str
    per_token: bool = False
    attention: bool = False
    prefix: str = ""
    in_rows: bool = False
    none: bool = False

    def names(self) -> list[str]:
        """The names of the results, in order."""
        if self.none:
            return []
        if self.in_rows:
            return self.row_names()
        names = sums_names(self.unit) + ["source_tokens", "per_token"] * self.per_token
        return [self.prefix + name for name in names]

    def results(self, score: "PairScore") -> dict[str, Any]:
        """The results of a pair by their names."""
        if self.none:
            return {}
        values = sums_of(score, self.unit)
        if self.per_token:
            tokens = [
                {**row, "attention": list(token.attention)}
                for row, token in zip(self.token_rows(score), score.tokens, strict=True)
            ]
            values += [list(score.source_tokens), tokens]
        return dict(zip(self.names(), values, strict=True))

    def row_names(self) -> list[str]:
        """The names in a row of a token: which pair, which of its tokens, and figures."""
        names = ["pair_number", "token_number", *self._token_names()]
        return [self.prefix + name for name in names]

    def rows(self, score: "PairScore", number: int) -> Iterator[dict[str, Any]]:
        """A row for each token of the target of a pair, which is the number-th."""
        names = self.row_names()
        for place, row in enumerate(self.token_rows(score), start=1):
            yield dict(zip(names, (number, place, *row.values()), strict=True))

    def _token_names(self) -> list[str]:
        return ["token", f"log_prob_{self.unit}", "surprisal_bits", f"running_total_{self.unit}"]

    def token_rows(self, score: "PairScore") -> Iterator[dict[str, Any]]:
        """A row for each token of a target."""
        nats, running = UNITS[self.unit], 0.0
        for one in score.tokens:
            running += one.log_prob
            values = one.token, one.log_prob / nats + 0.0, one.surprisal, running / nats + 0.0
            yield dict(zip(self._token_names(), values, strict=True))


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
