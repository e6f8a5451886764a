"""Joint n-grams beside a network that writes targets for sources, mixed as whole targets:

    P(t | s) = w P_ngram(t | s) + (1 - w) P_network(t | s)

which adds up to 1 over all targets as both do. The share w is the one by which pairs that were held
out are likeliest: the mean of log P is concave in w, so its slope tells on which side w lies.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.counts.joint import JointNGram
from charlm.errors import CheckpointError

Values = NDArray[np.float64]
_SHARE = 0.3  # where nothing is held out
_ROUNDS = 60


@dataclasses.dataclass(frozen=True)
class PairPartner:
    """Joint n-grams, and their share in the mixture, 0 to 1."""

    joint: JointNGram
    share: float = _SHARE

    def with_share(self, share: float) -> Self:
        """The same with another share."""
        return dataclasses.replace(self, share=share)

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
        low, high = 0.0, 1.0
        for _ in range(_ROUNDS):
            share = (low + high) / 2
            slope = ((one - other) / (share * one + (1 - share) * other)).sum()
            low, high = (share, high) if slope > 0 else (low, share)
        return self.with_share((low + high) / 2)

    def to_json(self) -> dict[str, Any]:
        """All but the counts."""
        return {"order": self.joint.counts.order, "share": self.share}

    @classmethod
    def from_json(
        cls,
        values: object,
        arrays: Mapping[str, NDArray[Any]],
        source_vocab_size: int,
        vocab_size: int,
    ) -> Self:
        """What this and ``joint.to_arrays`` wrote. Raises CheckpointError for anything else."""
        if not isinstance(values, dict) or set(values) != {"order", "share"}:
            raise CheckpointError("partner.json does not describe joint n-grams.")
        joint = JointNGram.from_arrays(arrays, source_vocab_size, vocab_size)
        share = values["share"]
        if values["order"] != joint.counts.order or not isinstance(share, int | float):
            raise CheckpointError("partner.json is not of the joint n-grams beside it.")
        if not 0 <= share <= 1:
            raise CheckpointError("partner.json has a share that cannot be.")
        return cls(joint, float(share))
