"""How much of the text held out also stands in the text trained on, and what to say of it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from charlm.text.corpus import split_sequences


class Overlap(NamedTuple):
    """So many of the ``held`` pieces held out also stand in training; a piece is a ``unit``."""

    shared: int
    held: int
    unit: str

    def note(self) -> str | None:
        """What there is to say of it, if anything."""
        if not self.shared:
            return None
        some = "all" if self.shared == self.held else f"{self.shared:,} of"
        return (
            f"{some} {self.held:,} held-out {self.unit}s also stand in training: the figures of "
            "what is held out look better than they are"
        )


def overlap(train: Iterable[str], held: Sequence[str], unit: str) -> Overlap:
    """How many of the sequences held out are also trained on, copies counted.

    unit is what a sequence is. Of files, which are seldom equal as a whole, it is the lines that
    are compared.
    """
    if unit == "file":
        lines = {line for text in train for line in split_sequences(text, "line")}
        return overlap(lines, [x for text in held for x in split_sequences(text, "line")], "line")
    there = set(train)
    return Overlap(sum(text in there for text in held), len(held), unit)
