"""The figures of a text by their names."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from charlm.fields import long_form
from charlm.fields.pseudo_names import pseudo_name, pseudo_named
from charlm.metrics import UNITS, finite

if TYPE_CHECKING:
    from charlm.fields.long_form import Frequency, Range
    from charlm.inference.pairs.score import PairScore
    from charlm.inference.score import TextScore

# Each with the type of its values.
_SUMS: dict[str, type] = {
    "total_log_prob": float,
    "probability": str,
    "tokens": int,
    "oov_tokens": int,
    "characters": int,
    "perplexity_per_token": float,
    "bits_per_character": float,
}


class Wanted(NamedTuple):
    """What is asked for: the unit of log-probabilities, and more than the sums or not.

    pseudo figures are those of a bidirectional model, and go by names of their own. Where results
    go in_rows of a table, each token or word has one, or each of the regions that a table names;
    frequency tells how frequent a word is.
    """

    unit: str
    per_token: bool = False
    words: bool = False
    prefix: str = ""
    pseudo: bool = False
    in_rows: bool = False
    frequency: "Frequency | None" = None
    regions: bool = False

    @property
    def is_long(self) -> bool:
        """Whether the rows of words have what stands beside a surprisal (long_form.py)."""
        return self.in_rows and self.words and not self.pseudo

    @property
    def nats(self) -> float:
        """The unit in nats."""
        return UNITS[self.unit]

    def names(self) -> list[str]:
        """The names of the results, in order."""
        if self.in_rows:
            return self.row_names()
        names = sums_names(self.unit)
        names += ["per_token"] * self.per_token + ["per_word"] * self.words
        if self.pseudo:
            names = [pseudo_name(name) for name in names if name != "probability"]
        return [self.prefix + name for name in names]

    def results(self, score: "TextScore") -> dict[str, Any]:
        """The results of a text by their names."""
        values = sums_of(score, self.unit)
        if self.pseudo:
            del values[1]  # no probability
        if self.per_token:
            rows = self.token_rows(score)
            values.append([pseudo_named(row) for row in rows] if self.pseudo else list(rows))
        if self.words:
            rows = self.word_rows(score)
            named = (pseudo_named(row, of_word=True) for row in rows) if self.pseudo else rows
            values.append(list(named))
        return dict(zip(self.names(), values, strict=True))

    def row_names(self) -> list[str]:
        """The names in a row of a token or word: which text, which of its tokens, and figures."""
        names = self._word_names() if self.words else self._token_names()
        if self.is_long:
            names = long_form.names(self.unit, regions=self.regions)
        if self.pseudo:
            names = [pseudo_name(name, of_word=self.words) for name in names]
        names = ["text_number", f"{names[0]}_number", *names]
        return [self.prefix + name for name in names]

    def rows(
        self, score: "TextScore", number: int, regions: "Sequence[Range] | None" = None
    ) -> Iterator[dict[str, Any]]:
        """A row for each word, region or token of a text, which is the number-th."""
        names = self.row_names()
        if self.is_long:
            frequency = self.frequency or (lambda _: None)
            long = long_form.rows(score, self.unit, frequency, regions)
            for place, values in enumerate(long, start=1):
                yield dict(zip(names, (number, place, *values), strict=True))
            return
        found = self.word_rows(score) if self.words else self.token_rows(score)
        for place, row in enumerate(found, start=1):
            yield dict(zip(names, (number, place, *row.values()), strict=True))

    def _token_names(self) -> list[str]:
        names = ["token", "start", "end", f"log_prob_{self.unit}", "surprisal_bits", "rank"]
        return [*names, "entropy_bits", f"running_total_{self.unit}"]

    def _word_names(self) -> list[str]:
        names = ["word", "start", "end", "tokens", f"log_prob_{self.unit}", "surprisal_bits"]
        return [*names, f"running_total_{self.unit}"]

    def token_rows(self, score: "TextScore") -> Iterator[dict[str, Any]]:
        """A row for each token."""
        running = 0.0
        for token in score.tokens or ():
            running += token.log_prob
            values = (
                *(token.piece, token.start, token.end, token.log_prob / self.nats + 0.0),
                *(token.surprisal, token.rank, token.entropy, running / self.nats + 0.0),
            )
            yield dict(zip(self._token_names(), values, strict=True))

    def word_rows(self, score: "TextScore") -> Iterator[dict[str, Any]]:
        """A row for each word, the last of them the end of the text."""
        running = 0.0
        words = score.words or ()
        for index, word in enumerate(words, start=1):
            running += word.log_prob
            text = word.text if index < len(words) else "<EOS>"
            values = (
                *(text, word.start, word.end, word.num_tokens, word.log_prob / self.nats + 0.0),
                *(word.surprisal, running / self.nats + 0.0),
            )
            yield dict(zip(self._word_names(), values, strict=True))


def sums_names(unit: str) -> list[str]:
    """The names of the figures of a whole text, or of a whole target."""
    return [f"{name}_{unit}" if name == "total_log_prob" else name for name in _SUMS]


def sums_of(score: "TextScore | PairScore", unit: str) -> list[Any]:
    """Those figures."""
    return [
        score.total_log_prob / UNITS[unit],
        score.probability,
        score.num_tokens,
        score.num_oov,
        len(score.text),
        finite(score.perplexity),
        score.bits_per_character,
    ]


def sums_types(unit: str, *, pseudo: bool = False) -> dict[str, type]:
    """The names with the types of their values; a figure may be None, too.

    ``pseudo`` figures have names of their own, and are no probabilities.
    """
    found = dict(zip(sums_names(unit), _SUMS.values(), strict=True))
    if not pseudo:
        return found
    return {pseudo_name(name): kind for name, kind in found.items() if name != "probability"}


def rank(log_probs: Sequence[float]) -> list[int]:
    """The place of each, 1 for the likeliest; equals share a place."""
    places: dict[float, int] = {}
    for place, value in enumerate(sorted(log_probs, reverse=True), start=1):
        places.setdefault(value, place)
    return [places[value] for value in log_probs]
