"""The labels of a text by the names of their figures."""

import math
from collections.abc import Sequence
from typing import Any


def label_fields(found: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """The likeliest label, and of several all of them; each comes with log P (nats)."""
    pairs = [(label, math.exp(log_prob)) for label, log_prob in found]
    predicted, probability = pairs[0]
    several = [{"label": label, "probability": p} for label, p in pairs]
    only = {"predicted": predicted, "probability": probability}
    return only if len(pairs) == 1 else {**only, "predictions": several}
