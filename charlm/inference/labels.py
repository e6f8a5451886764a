"""Labels: the kinds of text that a conditional model knows, and how frequent each was."""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CheckpointError, UsageError
from charlm.inference.classify import LEAST_TEMPERATURE, MOST_TEMPERATURE
from charlm.text.labelled import MOST_CHARACTERS

_SAID = 20  # labels that an error lists
_MOST = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a conditional model, and how many training sequences have each.

    ``temperature`` is what log P(label, text) is divided by before it is normalised, None until it
    has been fitted to the text held out (classify.py).
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    temperature: float | None = None

    @classmethod
    def of(cls, labels: Iterable[str]) -> Self:
        """Those of the training sequences, in alphabetical order."""
        counts = collections.Counter(labels)
        names = tuple(sorted(counts))
        return cls(names=names, counts=tuple(counts[name] for name in names))

    @property
    def log_prior(self) -> NDArray[np.float64]:
        """log P(label) (L,): one is added to the count of each (Laplace)."""
        counts = np.array(self.counts, dtype=np.float64) + 1
        return np.asarray(np.log(counts / counts.sum()))

    def index(self, name: str) -> int:
        """The number of a label. Raises UsageError naming those there are."""
        if name not in self.names:
            more = len(self.names) - _SAID
            known = ", ".join(self.names[:_SAID]) + (f" and {more:,} more" if more > 0 else "")
            raise UsageError(f"the model knows no label {name!r}. It knows {known}.")
        return self.names.index(name)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """What ``to_json`` wrote. Raises CheckpointError for anything else."""
        if not isinstance(values, dict) or values.keys() != {"names", "counts", "temperature"}:
            raise CheckpointError("it does not hold the labels of a model.")
        names, counts, temperature = values["names"], values["counts"], values["temperature"]
        if (
            not isinstance(names, list)
            or not isinstance(counts, list)
            or not 0 < len(names) == len(counts) <= _MOST
            or not all(type(name) is str and 0 < len(name) <= MOST_CHARACTERS for name in names)
            or len(set(names)) < len(names)
            or not all(type(count) is int and 0 <= count < 2**53 for count in counts)
        ):
            raise CheckpointError("its names or counts cannot be those of labels.")
        if temperature is not None and not (
            type(temperature) in (int, float)
            and LEAST_TEMPERATURE <= temperature <= MOST_TEMPERATURE
        ):
            raise CheckpointError(f"its temperature cannot be {temperature!r:.40}.")
        return cls(names=tuple(names), counts=tuple(counts), temperature=temperature)
