"""How much a language model is to count when the hypotheses of a recognizer are ranked anew.

A hypothesis has a score s of its own and log P of the model; the one of the largest s + w log P is
taken. As w grows, the one that is taken changes at a few points, for each total is a line in w: so
the word errors of all groups are a step function of w, and its minimum is found exactly, without a
grid (Och 2003, "Minimum Error Rate Training in Statistical Machine Translation", section 5).
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from charlm.errors import UsageError
from charlm.inference.pairs.error_rates import edit_distance


class Hypothesis(NamedTuple):
    """What another system made of it, log P in the unit of the weight, and its word errors."""

    score: float
    log_prob: float
    errors: int


class Tuned(NamedTuple):
    """The weight of fewest errors, and how many there are with it."""

    weight: float
    errors: int


def word_errors(text: str, reference: str) -> int:
    """Words that have to be put in, taken out or replaced (Levenshtein 1966)."""
    return edit_distance(text.split(), reference.split())


def errors_at(groups: Iterable[Sequence[Hypothesis]], weight: float) -> int:
    """The errors of those that are taken, the first of equals."""
    return sum(
        max(group, key=lambda one: one.score + weight * one.log_prob).errors for group in groups
    )


def tuned(groups: Sequence[Sequence[Hypothesis]]) -> Tuned:
    """The weight of fewest errors, 0 or more: the middle of the widest interval of such weights.

    Widths are those of the logarithm of 1 + w; behind the last change it is no better for being
    endless. Raises UsageError if there is no group.
    """
    if not groups:
        raise UsageError("no id of the hypotheses has a reference.")
    errors, changes = 0, Counter[float]()
    for group in groups:
        at, one = 0.0, max(group, key=lambda other: (other.score, other.log_prob))
        errors += one.errors
        while (found := _overtaking(group, one)) is not None:
            at = max(at, found[0])
            changes[at] += found[1].errors - one.errors
            one = found[1]
    edges = [0.0, *sorted(changes)]
    choices = []
    for low, high in itertools.pairwise([*edges, 0.0]):
        errors += changes[low]
        width = math.log1p(high) - math.log1p(low)
        middle = (low + high) / 2 if high > low else low + 1
        choices.append((errors, -max(width, 0.0), middle))
    fewest, _, weight = min(choices)
    return Tuned(weight, fewest)


def _overtaking(group: Sequence[Hypothesis], one: Hypothesis) -> tuple[float, Hypothesis] | None:
    """From which weight on another is taken than one, the first to overtake it; None if none is."""
    crossings = [
        ((one.score - other.score) / (other.log_prob - one.log_prob), -other.log_prob, at)
        for at, other in enumerate(group)
        if other.log_prob > one.log_prob
    ]
    if not crossings:
        return None
    where, _, at = min(crossings)
    return where, group[at]
