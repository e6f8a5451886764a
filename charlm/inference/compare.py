"""Which of two models predicts a text better, and whether the difference is more than chance.

Both are measured on the same units of the text (paired, as Koehn 2004 does for translations). How
much the difference varies between blocks of units that do not tell of each other says how much it
would on another text of the kind (interval.py).
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm import metrics
from charlm.errors import UsageError
from charlm.inference.interval import RESAMPLES, blocks, interval, together
from charlm.inference.score import TextScore
from charlm.text import corpus
from charlm.tokenizers.base import CASE, FORMS, SPACING, Tokenizer
from charlm.tokenizers.word_chunks import UNKNOWN_WORD

if TYPE_CHECKING:
    from charlm.models.base import TokenDistribution

_BLOCK = 1000  # characters of a unit at least, where it is a part of a sequence
_ROUNDING = 1e-6  # bits per character: what the order of a sum in single precision can change
_CURES = {
    CASE: "in lower case",
    SPACING: "with single spaces and without <unk>",
    **dict.fromkeys(FORMS.values(), "in its normal form (charlm info names it)"),
}
_SPACE = re.compile(r"\s")
_ORDER = ("line", "paragraph", "file")  # a sequence of each holds whole ones of those before


class Model(NamedTuple):
    """What gives texts their scores, with offsets per token if asked, and what a sequence is.

    The tokenizer tells what of a text is not in the scores; without one, all is.
    """

    score: Callable[[Sequence[str], bool], list[TextScore]]
    split_on: str
    tokenizer: Tokenizer | None = None
    name: str = "a model"

    @property
    def ignores(self) -> tuple[str, ...]:
        """In what texts can differ that have the same probability together."""
        return self.tokenizer.ignores if self.tokenizer is not None else ()

    def is_of(self, text: str) -> bool:
        """Whether a text is written as the model reads it, so that its probability can be taken
        for that of this one among all texts that it does not tell apart.
        """
        return self.tokenizer is None or (
            self.tokenizer.normalise(text) == text and not self.names_unknown(text)
        )

    def names_unknown(self, text: str) -> bool:
        """Whether the text says of a word no more than that it is unknown."""
        return self.tokenizer is not None and UNKNOWN_WORD in self.tokenizer.unknown(text)

    def has_vocabulary_of(self, other: "Model") -> bool:
        """Whether both cut every text into the same tokens."""
        one, another = self.tokenizer, other.tokenizer
        if one is None or another is None:
            return one is another
        return one.to_files() == another.to_files()


def model_of(lm: "TokenDistribution", name: str, *, closed: bool = False) -> Model:
    """A language model as one to compare. Raises UsageError if it has no bits to be compared."""
    if lm.unknown is None and not closed:
        raise UsageError(
            f"{name} cannot spell what it does not know, so its bits are not those of the text. "
            "Train it anew."
        )
    return Model(
        lambda texts, per_token: lm.score_all(texts, per_token=per_token, closed=closed),
        lm.checkpoint.split_on,
        lm.tokenizer,
        name,
    )


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
    there are too few units to tell. They are taken over blocks of ``block_size`` adjacent units.
    share is how often, among the resampled texts, the second was the better one.
    """

    units: tuple[Unit, ...]
    oov_rates: tuple[float | None, float | None]
    low: float | None
    high: float | None
    share: float | None
    block_size: int = 1

    @property
    def num_blocks(self) -> int:
        """How many blocks of units there are; the last may be a smaller one."""
        return math.ceil(len(self.units) / self.block_size)

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
    def is_none(self) -> bool:
        """Whether there is no difference, but for rounding."""
        return abs(self.difference) < _ROUNDING

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves out 0."""
        if self.low is None or self.high is None:
            return False
        return not self.is_none and not self.low <= 0 <= self.high

    def most_different(self, number: int) -> list[Unit]:
        """The units that the two models disagree on most, in bits."""
        return sorted(self.units, key=lambda unit: -abs(unit.bits_more))[:number]

    def to_json(self, show: int) -> dict[str, Any]:
        """As JSON, with so many units that differ most; the first model is a, the second b."""
        one, other = self.bits_per_character
        return {
            "characters": self.characters,
            "units": len(self.units),
            "blocks": self.num_blocks,
            "bits_per_character_a": one,
            "bits_per_character_b": other,
            "oov_rate_a": self.oov_rates[0],
            "oov_rate_b": self.oov_rates[1],
            "difference_bits_per_character": self.difference,
            "interval_low": self.low,
            "interval_high": self.high,
            "share_of_resamples_b_better": self.share,
            "is_real": self.is_real,
            "most_different": [
                {"text": unit.text, "bits_more_in_b": unit.bits_more}
                for unit in self.most_different(show)
            ],
        }


def units_of(text: str, split_on: str) -> Iterator[tuple[int, int]]:
    """The ranges of the units of a document: its sequences, of long ones blocks of lines.

    A block has 1,000 characters or a few more; where no line ends in the next 1,000, it ends
    between two words, or anywhere.
    """
    for begin, end in sequences_of(text, split_on):
        while end - begin > 2 * _BLOCK:
            stop = _end_of_block(text, begin + _BLOCK)
            yield begin, stop
            begin = stop
        yield begin, end


def sequences_of(text: str, split_on: str) -> Iterator[tuple[int, int]]:
    """The ranges of the sequences of a document whose lines end at LF."""
    at = 0
    for sequence in corpus.split_sequences(text, split_on):
        begin = text.index(sequence, at)
        at = begin + len(sequence)
        yield begin, at


def _end_of_block(text: str, least: int) -> int:
    if end := text.find("\n", least, least + _BLOCK) + 1:
        return end
    space = _SPACE.search(text, least, least + _BLOCK)
    return least + _BLOCK if space is None else space.end()


def read(
    model: Model, text: str, units: Sequence[tuple[int, int]], *, to_end: bool = True
) -> Reading:
    """What a model makes of a document whose units have these ranges.

    A sequence is in one unit whole, or each of its tokens counts where it ends: the end of the
    sequence in its last unit. Unless ``to_end`` that of a document read as one is left out.
    """
    begins = np.array([begin for begin, _ in units])
    ranges = np.array(list(sequences_of(text, model.split_on)))
    first = np.searchsorted(begins, ranges[:, 0], side="right") - 1
    last = np.searchsorted(begins, ranges[:, 1] - 1, side="right") - 1
    in_parts = (first < last) | (not to_end and model.split_on == "file")
    sums = np.zeros(len(units))
    num_tokens = num_oov = 0
    for per_token in (False, True):
        chosen = np.flatnonzero(in_parts == per_token)
        scores = model.score([text[slice(*ranges[i])] for i in chosen], per_token)
        for i, score in zip(chosen.tolist(), scores, strict=True):
            num_tokens += score.num_tokens - 1
            num_oov += score.num_oov
            if not per_token:
                sums[first[i]] -= score.total_log_prob
                continue
            tokens = score.tokens or ()
            tokens = tokens if to_end or model.split_on != "file" else tokens[:-1]
            places = ranges[i, 0] + np.array([max(0, token.end - 1) for token in tokens])
            at = np.searchsorted(begins, places, side="right") - 1
            np.subtract.at(sums, at, [token.log_prob for token in tokens])
    return Reading(sums, num_tokens, num_oov)


def alike(models: tuple[Model, Model], documents: Sequence[str]) -> list[str]:
    """The documents as both models can be charged for the same of them.

    Where one reads whole files and the other does not, each ends as a sequence of the latter does.
    Raises UsageError where one model would pay for what the other is told or does not tell apart.
    """
    one, other = models
    texts = list(documents)
    if one.split_on != other.split_on:
        texts = [_cut_alike(models, text) for text in texts if text.strip()]
    same = one.ignores == other.ignores
    if not same and not all(model.is_of(text) for model in models for text in texts):
        some, others = (one, other) if set(one.ignores) - set(other.ignores) else (other, one)
        lost = " or ".join(what for what in some.ignores if what not in others.ignores)
        cures = " and ".join(_CURES[what] for what in dict.fromkeys(one.ignores + other.ignores))
        raise UsageError(
            f"{some.name} gives texts that differ in {lost} one probability together, and "
            f"{others.name} gives each its own, so their bits are not of the same thing. Give both "
            f"a text {cures}, or train both alike."
        )
    if same and not one.has_vocabulary_of(other):
        for text in texts:
            if one.names_unknown(text):
                raise UsageError(
                    "the text holds <unk>, which stands for other words in each model, since their "
                    "vocabularies differ. Take models of one vocabulary, or a text without <unk>."
                )
    return texts


def _cut_alike(models: tuple[Model, Model], text: str) -> str:
    """A document of which a model of whole files says no more than the other model does.

    That is so if all that stands between the sequences is what has to; at the end it stands, too,
    and pays for the end of the last sequence, so that the end of the file need not.
    """
    fewer, more = sorted(models, key=lambda model: _ORDER.index(model.split_on))
    if more.split_on != "file":
        raise UsageError(
            f"{more.name} says where paragraphs end and {fewer.name}, a model of lines, does not, "
            "so their bits are not of the same thing. Train both with the same `split_on`."
        )
    end = "\n" if fewer.split_on == "line" else "\n\n"
    found = "".join(sequence + end for sequence in corpus.split_sequences(text, fewer.split_on))
    if text.rstrip("\n") + end != found:
        what = "blank lines" if fewer.split_on == "line" else "more than one blank line in a row"
        raise UsageError(
            f"{more.name}, a model of whole files, pays for blank lines and {fewer.name}, a model "
            f"of {fewer.split_on}s, does not, so their bits are not of the same thing. Give both a "
            f"text without {what}, or train both with the same `split_on`."
        )
    return found


def compare(
    models: tuple[Model, Model],
    documents: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """The second model against the first on the texts of files; lines are to end at LF.

    A unit is a sequence of the model whose sequences are the longer ones, or a part of it of 1,000
    to 2,000 characters. Raises UsageError if there is no text, or if the models' bits are not
    of the same thing.
    """
    split_on = max((model.split_on for model in models), key=_ORDER.index)
    to_end = models[0].split_on == models[1].split_on
    units: list[Unit] = []
    tokens, oov = [0, 0], [0, 0]
    for text in alike(models, documents):
        if not (ranges := list(units_of(text, split_on))):
            continue
        readings = [read(model, text, ranges, to_end=to_end) for model in models]
        columns = zip(*(reading.nats.tolist() for reading in readings), strict=True)
        units += [
            Unit(text[begin:end], nats) for (begin, end), nats in zip(ranges, columns, strict=True)
        ]
        for i, reading in enumerate(readings):
            tokens[i] += reading.num_tokens
            oov[i] += reading.num_oov
    if not units:
        raise UsageError("there is no text to compare the models on.")
    more = np.array([unit.bits_more for unit in units])
    lengths = np.array([len(unit.text) for unit in units], dtype=np.float64)
    size = blocks(more, lengths)
    found = interval(together(more, size), together(lengths, size), resamples=resamples, seed=seed)
    rates = [one / of if of else None for one, of in zip(oov, tokens, strict=True)]
    return Comparison(
        units=tuple(units),
        oov_rates=(rates[0], rates[1]),
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        share=None if found is None else found.share_below,
        block_size=size,
    )
