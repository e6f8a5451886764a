"""Joint n-grams beside a network that writes targets for sources, mixed as whole targets:

    P(t | s) = w P_ngram(t | s) + (1 - w) P_network(t | s)

which adds up to 1 over all targets as both do. The share w is the one by which pairs that were held
out are likeliest. Which of several targets is the best is another question, for a network may be
sure of itself beyond reason: they are ranked by

    P_network(t | s) ** (1 - v) P(t | s) ** v

The weight v is the one by which, this made a distribution over what was found for sources that were
held out, the targets that they have are likeliest. Both likelihoods are concave in what is fitted,
so their slopes tell on which side it lies.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.counts.joint import JointNGram
from charlm.errors import CheckpointError

Values = NDArray[np.float64]
_SHARE, _WEIGHT = 0.3, 0.5  # where nothing is held out
_LARGEST_ODDS = 500.0  # in nats
_ROUNDS = 60


@dataclasses.dataclass(frozen=True)
class PairPartner:
    """Joint n-grams, their share in the mixture and the weight of that in ranking, 0 to 1."""

    joint: JointNGram
    share: float = _SHARE
    weight: float = _WEIGHT

    def with_share(self, share: float) -> Self:
        """The same with another share."""
        return dataclasses.replace(self, share=share)

    def only(self) -> Self:
        """The same with no share for the network."""
        return dataclasses.replace(self, share=1.0, weight=1.0)

    def combine(self, network: Values, joint: Values) -> Values:
        """log P (N,) of pairs from what each says of them (N,)."""
        with np.errstate(divide="ignore"):
            logs = np.log(np.array([1 - self.share, self.share]))
        mixed: Values = np.logaddexp(network + logs[0], joint + logs[1])
        return mixed

    def fitted(self, network: Values, joint: Values) -> Self:
        """With the share that suits pairs best of which both have said log P (N,)."""
        largest = np.maximum(network, joint)
        known = np.isfinite(largest)
        if not known.any():
            return self
        one, other = (np.exp(each[known] - largest[known]) for each in (joint, network))
        share = _top(
            lambda share: float(((one - other) / (share * one + (1 - share) * other)).sum())
        )
        return self.with_share(share)

    def rank(self, network: Values, mixed: Values) -> Values:
        """What targets (N,) are ranked by, from log P of the network and of the mixture (N,)."""
        if self.weight == 1:
            return mixed
        return (1 - self.weight) * network + self.weight * mixed

    def weighted(
        self,
        rows: NDArray[np.int64],
        network: Values,
        mixed: Values,
        is_right: NDArray[np.bool_],
    ) -> Self:
        """With the weight that suits targets (N,) best: rows tell of which source each is.

        What nothing right was found for is left out; if that is all, the weight stays.
        """
        known = np.isin(rows, rows[is_right])
        if not known.any():
            return self
        _, rows = np.unique(rows[known], return_inverse=True)
        network, gain, is_right = network[known], (mixed - network)[known], is_right[known]

        def slope(weight: float) -> float:
            scores = network + weight * gain
            largest = np.full(rows.max() + 1, -np.inf)
            np.maximum.at(largest, rows[is_right], scores[is_right])
            odds = np.exp(np.minimum(scores - largest[rows], _LARGEST_ODDS))
            means = [
                np.bincount(rows[part], (odds * gain)[part]) / np.bincount(rows[part], odds[part])
                for part in (is_right, np.ones_like(is_right))
            ]
            return float((means[0] - means[1]).sum())

        return dataclasses.replace(self, weight=_top(slope))

    def to_json(self) -> dict[str, Any]:
        """All but the counts."""
        return {
            "order": self.joint.counts.order,
            "share": self.share,
            "weight": self.weight,
        }

    @classmethod
    def from_json(
        cls,
        values: object,
        arrays: Mapping[str, NDArray[Any]],
        source_vocab_size: int,
        vocab_size: int,
    ) -> Self:
        """What this and ``joint.to_arrays`` wrote. Raises CheckpointError for anything else."""
        if not isinstance(values, dict) or set(values) != {"order", "share", "weight"}:
            raise CheckpointError("partner.json does not describe joint n-grams.")
        joint = JointNGram.from_arrays(arrays, source_vocab_size, vocab_size)
        if values["order"] != joint.counts.order:
            raise CheckpointError("partner.json is not of the joint n-grams beside it.")
        for name in ("share", "weight"):
            if not (isinstance(values[name], int | float) and 0 <= values[name] <= 1):
                raise CheckpointError(f"partner.json: {name} cannot be {values[name]!r:.40}.")
        return cls(joint, float(values["share"]), float(values["weight"]))


def _top(slope: Callable[[float], float]) -> float:
    """Where from 0 to 1 a concave function is largest, from its slope."""
    low, high = 0.0, 1.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return (low + high) / 2
