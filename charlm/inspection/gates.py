"""What the gates do at each token of a text: how open they are, and how many are saturated."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.inspection.views import gates as views
from charlm.models.activations import Activations
from charlm.models.language_model import LanguageModel

LEFT, RIGHT = 0.1, 0.9  # below and above a unit's gate is saturated


class Gate(NamedTuple):
    """One gate along a text, over the units of each layer: its mean, and what is saturated.

    ``left`` and ``right`` are the shares of units whose gate is below LEFT and above RIGHT; each
    is (T, L), layers from the bottom.
    """

    name: str
    mean: NDArray[np.float64]
    left: NDArray[np.float64]
    right: NDArray[np.float64]


class GatesOfText(NamedTuple):
    """All gates of a model along a text, and what it held in mind (models/activations.py)."""

    activations: Activations
    gates: tuple[Gate, ...]

    def _repr_html_(self) -> str:
        return views.view([self]).html


def gates(lm: LanguageModel, text: str) -> GatesOfText:
    """The gates at each token. Raises UsageError for a cell that has none."""
    found = lm.activations(text)
    if not found.gates:
        raise UsageError(
            f"a plain RNN ({lm.shape.cell}) has no gates. Its states are there: see its units."
        )
    return GatesOfText(
        found,
        tuple(
            Gate(
                name,
                values.mean(axis=2, dtype=np.float64),
                (values < LEFT).mean(axis=2),
                (values > RIGHT).mean(axis=2),
            )
            for name, values in found.gates.items()
        ),
    )
