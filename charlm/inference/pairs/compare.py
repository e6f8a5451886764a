"""Which of two models of pairs is the better one, and whether that is more than chance.

Both are measured on the same sources: nats per token of the targets, and the share of sources for
which none of their targets is written. All pairs of a source are one unit. How much the difference
varies between units says how much it would on other pairs of the kind (inference/interval.py).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from charlm.errors import UsageError
from charlm.inference.interval import RESAMPLES, blocks, interval, together
from charlm.inference.pairs.evaluate import by_source
from charlm.inference.pairs.score import PairScore

_ROUNDING = 1e-6  # nats per token, or a share: what the order of a sum can change


class Side(NamedTuple):
    """What one model makes of a source: nats and tokens of its targets, and what it writes."""

    nats: float
    num_tokens: int
    written: str
    is_right: bool


class SourceUnit(NamedTuple):
    """A source with its targets, and what two models make of it."""

    source: str
    targets: tuple[str, ...]
    sides: tuple[Side, Side]

    @property
    def nats_more(self) -> float:
        """How many nats the second model needs more than the first."""
        return self.sides[1].nats - self.sides[0].nats


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure of two models that is the better the lower it is.

    low and high bound the difference, of the second less the first, with a probability of 95 %;
    None where there are too few units to tell. They are taken over blocks of ``block_size``
    adjacent sources. share is how often, among resampled pairs, the second was the better one.
    """

    one: float
    other: float
    low: float | None
    high: float | None
    share: float | None
    block_size: int

    @property
    def difference(self) -> float:
        """Below 0 the second model is the better one."""
        return self.other - self.one

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

    def to_json(self, name: str) -> dict[str, Any]:
        """As JSON, of the figure of that name."""
        return {
            f"{name}_a": self.one,
            f"{name}_b": self.other,
            f"{name}_difference": self.difference,
            f"{name}_interval_low": self.low,
            f"{name}_interval_high": self.high,
            f"{name}_share_of_resamples_b_better": self.share,
            f"{name}_is_real": self.is_real,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairComparison:
    """Two models on the same sources: error rates, and nats per token of the targets.

    loss is None where the models cut targets into other tokens, so that it cannot be compared.
    """

    units: tuple[SourceUnit, ...]
    errors: Difference
    loss: Difference | None

    def most_different(self, number: int) -> list[SourceUnit]:
        """The sources that are right in one model alone, then those that differ most in nats."""

        def order(unit: SourceUnit) -> tuple[bool, float]:
            one, other = unit.sides
            return one.is_right == other.is_right, -abs(unit.nats_more)

        return sorted(self.units, key=order)[:number]

    def to_json(self, show: int) -> dict[str, Any]:
        """As JSON, with so many sources that differ most; the first model is a, the second b."""
        loss = {} if self.loss is None else self.loss.to_json("nats_per_target_token")
        return {
            "sources": len(self.units),
            **self.errors.to_json("error_rate"),
            **loss,
            "most_different": [
                {
                    "source": unit.source,
                    "targets": list(unit.targets),
                    "written_by_a": unit.sides[0].written,
                    "written_by_b": unit.sides[1].written,
                    "nats_more_in_b": unit.nats_more,
                }
                for unit in self.most_different(show)
            ],
        }


def sides_of(scores: Sequence[PairScore], written: Sequence[str]) -> list[Side]:
    """What a model makes of each different source, by the scores of all pairs.

    A target is right if one of its source's has the same words between its spaces.
    """
    pairs = by_source((score.source, score.target) for score in scores)
    nats, tokens = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 0)
    for score in scores:
        nats[score.source] -= score.total_log_prob
        tokens[score.source] += score.num_tokens
    return [
        Side(
            nats[source],
            tokens[source],
            text,
            any(text.split() == target.split() for target in targets),
        )
        for (source, targets), text in zip(pairs.items(), written, strict=True)
    ]


def compare_pairs(
    sources: Mapping[str, Sequence[str]],
    sides: tuple[Sequence[Side], Sequence[Side]],
    *,
    is_alike: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairComparison:
    """The second model against the first, given what each makes of sources with these targets.

    Where targets are not cut alike, there is no loss to compare. Raises UsageError if there is no
    source.
    """
    if not sources:
        raise UsageError("there is no pair to compare the models on.")
    units = [
        SourceUnit(source, tuple(targets), (one, other))
        for (source, targets), one, other in zip(sources.items(), *sides, strict=True)
    ]
    ones = np.ones(len(units))
    wrong = np.array([[not side.is_right for side in unit.sides] for unit in units], np.float64)
    nats = np.array([[side.nats for side in unit.sides] for unit in units])
    tokens = np.array([unit.sides[0].num_tokens for unit in units], np.float64)

    def difference(sums: Any, sizes: Any) -> Difference:
        more = sums[:, 1] - sums[:, 0]
        size = blocks(more, sizes)
        found = interval(
            together(more, size), together(sizes, size), resamples=resamples, seed=seed
        )
        one, other = (sums.sum(axis=0) / sizes.sum()).tolist()
        return Difference(
            one=one,
            other=other,
            low=None if found is None else found.low,
            high=None if found is None else found.high,
            share=None if found is None else found.share_below,
            block_size=size,
        )

    return PairComparison(
        units=tuple(units),
        errors=difference(wrong, ones),
        loss=difference(nats, tokens) if is_alike else None,
    )
