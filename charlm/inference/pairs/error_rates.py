"""How far what is written is from what should have been: error rates by edit distance."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class ErrorRates(NamedTuple):
    """How far hypotheses are from their references.

    whole is the share of sources whose hypothesis equals none of their references (of words: the
    word error rate). symbols is the sum of edit distances, each to the reference that is nearest,
    over the sum of the lengths of those references (the symbol or phoneme error rate).
    """

    whole: float
    symbols: float
    number: int


def error_rates(
    hypotheses: Sequence[Sequence[Any] | str], references: Sequence[Sequence[Sequence[Any] | str]]
) -> ErrorRates:
    """The rates of hypotheses, each with one reference or more: texts, or lists of symbols."""
    wrong, distance, length = 0, 0, 0
    for hypothesis, several in zip(hypotheses, references, strict=True):
        wrong += all(hypothesis != reference for reference in several)
        found = [(edit_distance(hypothesis, one) / max(1, len(one)), one) for one in several]
        nearest = min(found, key=lambda pair: pair[0])[1]
        distance += edit_distance(hypothesis, nearest)
        length += len(nearest)
    number = len(hypotheses)
    return ErrorRates(wrong / max(1, number), distance / max(1, length), number)


def edit_distance(one: Sequence[Any] | str, other: Sequence[Any] | str) -> int:
    """How many symbols are to be put in, left out or exchanged (Levenshtein 1966)."""
    if one == other:
        return 0
    row = list(range(len(other) + 1))
    for at, symbol in enumerate(one, 1):
        before, row[0] = row[0], at
        for place, wanted in enumerate(other, 1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (symbol != wanted)),
            )
    return row[-1]
