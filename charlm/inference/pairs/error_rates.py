"""How far what is written is from what should have been: error rates by edit distance."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class ErrorRates(NamedTuple):
    """How far hypotheses are from their references.

    Of ``number`` sources, ``wrong`` have a hypothesis that equals none of their references.
    ``edits`` is the sum of edit distances, each to the reference that is nearest (the one with the
    fewest edits over its length), and ``length`` the sum of the lengths of those references.
    """

    wrong: int
    number: int
    edits: int
    length: int

    @property
    def whole(self) -> float:
        """wrong / number: of words, the word error rate. 0 of none."""
        return self.wrong / max(1, self.number)

    @property
    def symbols(self) -> float:
        """edits / length: the symbol or phoneme error rate; above 1 where too much is written."""
        return self.edits / max(1, self.length)

    @property
    def accuracy(self) -> float | None:
        """The share of sources written right; None of none."""
        return 1 - self.whole if self.number else None


def error_rates(
    hypotheses: Sequence[Sequence[Any] | str], references: Sequence[Sequence[Sequence[Any] | str]]
) -> ErrorRates:
    """The rates of hypotheses, each with one reference or more: texts, or lists of symbols."""
    wrong, edits, length = 0, 0, 0
    for hypothesis, several in zip(hypotheses, references, strict=True):
        wrong += all(hypothesis != reference for reference in several)
        found = [(edit_distance(hypothesis, one), len(one)) for one in several]
        fewest, size = min(found, key=lambda pair: pair[0] / max(1, pair[1]))
        edits += fewest
        length += size
    return ErrorRates(wrong, len(hypotheses), edits, length)


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
