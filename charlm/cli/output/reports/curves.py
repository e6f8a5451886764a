"""Curves of trainings, for a person."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.cli.output.plot import plot
from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text
from charlm.inspection.views.curves import COLUMNS, figure, last_figures

if TYPE_CHECKING:
    from charlm.inspection.curves import Curves


def report(found: "Sequence[Curves]", what: str, against: str, colours: int = 0) -> Iterator[str]:
    """A plot and the last figures of each run, in lines of at most 80 columns."""
    drawn = figure(found, what, against)
    yield from plot(drawn, colours) or [f"no {drawn.y.name} was noted"]
    yield ""
    for name, *figures in (COLUMNS, *map(last_figures, found)):
        steps, seconds, training, validation, best, at = figures
        yield (
            f"{cut(safe_text(name), 22):<22} {steps:>8} {seconds:>9} {training:>9} "
            f"{validation:>10} {best:>8} {at:>8}"
        )
