"""The figures of a pair, and targets that were written for a source, by their names."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from charlm.fields.scores import sums_names, sums_of
from charlm.metrics import UNITS

if TYPE_CHECKING:
    from charlm.inference.pairs.score import PairScore
    from charlm.models.translator import Translation


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


def target_fields(source: Sequence[str], found: "Sequence[Translation]") -> dict[str, Any]:
    """A source (with its features, if it can have any) and its targets as JSON."""
    return {
        **named(source),
        "targets": [
            {
                "text": one.text,
                "log_prob_nats": one.log_prob,
                "score": one.score,
                "ended": one.ended,
            }
            for one in found
        ],
    }


def named(source: Sequence[str]) -> dict[str, str]:
    """A source by its names, with its features, if it can have any."""
    return dict(zip(("source", "features"), source, strict=False))
