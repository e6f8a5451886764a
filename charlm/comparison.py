"""Which of two models predicts a text better, and whether the difference is more than chance.

The text is cut into units, and the units are drawn anew, with replacement, thousands of times:
how much the difference then varies tells how much it would on another text of the kind (Efron
1979; paired, as Koehn 2004 does for translations: both models are always measured on the same
units).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm import corpus, metrics
from charlm.errors import UsageError
from charlm.scoring import TextScore

RESAMPLES = 10_000
LEVEL = 0.95
_BLOCK = 1000  # characters of a unit where a sequence is a whole file
_AT_ONCE = 2**24  # counts that are drawn together
_ORDER = ("line", "paragraph", "file")  # a sequence of each holds whole ones of those before


class Model(NamedTuple):
    """What gives texts their scores, with offsets per token if asked, and what a sequence is."""

    score: Callable[[Sequence[str], bool], list[TextScore]]
    split_on: str


class Reading(NamedTuple):
    """What one model makes of a document: nats (U,) of each unit, and its tokens."""

    nats: NDArray[np.float64]
    num_tokens: int  # without <EOS>
    num_oov: int


class Unit(NamedTuple):
    """A part of a document, and what two models make of it: nats, spellings and ends included."""

    text: str
    nats: tuple[float, float]

    @property
    def bits_more(self) -> float:
        """How many bits the second model needs more than the first."""
        return (self.nats[1] - self.nats[0]) / metrics.NATS_PER_BIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same units. Differences are those of the second less the first.

    low and high bound the difference in bits per character with a probability of 95 %; None where
    there are too few units to tell. share is how often, among the resampled texts, the second was
    the better one.
    """

    units: tuple[Unit, ...]
    oov_rates: tuple[float | None, float | None]
    low: float | None
    high: float | None
    share: float | None

    @property
    def characters(self) -> int:
        """Of all units: what both models' bits are shared over."""
        return sum(len(unit.text) for unit in self.units)

    @property
    def bits_per_character(self) -> tuple[float, float]:
        """Of each model."""
        one, other = (sum(unit.nats[i] for unit in self.units) for i in range(2))
        scale = metrics.NATS_PER_BIT * self.characters
        return one / scale, other / scale

    @property
    def difference(self) -> float:
        """In bits per character: below 0 the second model is the better one."""
        one, other = self.bits_per_character
        return other - one

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def most_different(self, number: int) -> list[Unit]:
        """The units that the two models disagree on most, in bits."""
        return sorted(self.units, key=lambda unit: -abs(unit.bits_more))[:number]


def units_of(text: str, split_on: str) -> Iterator[tuple[int, int]]:
    """The ranges of the units of a document: its sequences, or of a whole file blocks of lines."""
    if split_on != "file":
        at = 0
        for sequence in corpus.split_sequences(text, split_on):
            begin = text.index(sequence, at)
            at = begin + len(sequence)
            yield begin, at
        return
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin + _BLOCK) + 1
        end = end if end else len(text)
        yield begin, end
        begin = end


def bootstrap(
    differences: NDArray[np.float64],
    characters: NDArray[np.int64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Differences (R,) a character of R texts of as many units, drawn from those given (U,).

    Raises UsageError if there is nothing to draw from.
    """
    number = len(differences)
    if not number or resamples < 1:
        raise UsageError("there is nothing to draw from: no unit, or no resample asked for.")
    rng = np.random.default_rng(seed)
    share = np.full(number, 1 / number)
    found = []
    portion = max(1, _AT_ONCE // number)
    for begun in range(0, resamples, portion):
        size = min(portion, resamples - begun)
        counts = rng.multinomial(number, share, size=size)  # (R', U)
        found.append((counts @ differences) / np.maximum(counts @ characters, 1))
    return np.concatenate(found)


def read(model: Model, text: str, units: Sequence[tuple[int, int]]) -> Reading:
    """What a model makes of a document whose units have these ranges.

    Its sequences are in the units whole, or it reads the document as one and each token counts
    where it ends, the end of the document in the last unit.
    """
    begins = np.array([begin for begin, _ in units])
    whole = model.split_on == "file"
    ranges = [(0, len(text))] if whole else list(units_of(text, model.split_on))
    scores = model.score([text[begin:end] for begin, end in ranges], whole)
    if whole:
        tokens = scores[0].tokens or ()
        places = [max(0, token.end - 1) for token in tokens]
        nats = [-token.log_prob for token in tokens]
    else:
        places = [begin for begin, _ in ranges]
        nats = [-score.total_log_prob for score in scores]
    at = np.searchsorted(begins, places, side="right") - 1
    sums = np.zeros(len(units))
    np.add.at(sums, at, nats)
    return Reading(
        sums,
        sum(score.num_tokens - 1 for score in scores),
        sum(score.num_oov for score in scores),
    )


def compare(
    models: tuple[Model, Model],
    documents: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """The second model against the first on the texts of files; lines are to end at LF.

    A unit is a sequence of the model whose sequences are the longer ones; where those are files,
    it is a block of lines. Raises UsageError if there is no text.
    """
    split_on = max((model.split_on for model in models), key=_ORDER.index)
    units: list[Unit] = []
    tokens, oov = [0, 0], [0, 0]
    for text in documents:
        ranges = list(units_of(text, split_on))
        if not ranges:
            continue
        readings = [read(model, text, ranges) for model in models]
        columns = zip(*(reading.nats.tolist() for reading in readings), strict=True)
        units += [
            Unit(text[begin:end], nats) for (begin, end), nats in zip(ranges, columns, strict=True)
        ]
        for i, reading in enumerate(readings):
            tokens[i] += reading.num_tokens
            oov[i] += reading.num_oov
    if not units:
        raise UsageError("there is no text to compare the models on.")
    low = high = share = None
    if len(units) > 1:
        more = np.array([unit.bits_more for unit in units])
        lengths = np.array([len(unit.text) for unit in units])
        drawn = bootstrap(more, lengths, resamples=resamples, seed=seed)
        tail = (1 - LEVEL) / 2
        low, high = (float(bound) for bound in np.quantile(drawn, (tail, 1 - tail)))
        share = float((drawn < 0).mean())
    rates = [one / of if of else None for one, of in zip(oov, tokens, strict=True)]
    return Comparison(
        units=tuple(units), oov_rates=(rates[0], rates[1]), low=low, high=high, share=share
    )
