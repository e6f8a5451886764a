"""How much context a model uses, for a person."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli.output.plot import plot
from charlm.inspection.views.context import figure

if TYPE_CHECKING:
    from charlm.inspection.context import ContextUse


def report(found: "ContextUse", colours: int = 0) -> Iterator[str]:
    """A plot and a table, in lines of at most 80 columns."""
    yield from plot(figure(found), colours)
    yield ""
    yield f"{'n':>6}" + "".join(f" {one.model:>18}" for one in found.models)
    for at, n in enumerate(found.lengths):
        cells = (f"{one.rise[at]:+.3f} ± {one.error[at]:.3f}" for one in found.models)
        yield f"{n:>6}" + "".join(f" {cell:>18}" for cell in cells)
    yield f"{'whole':>6}" + "".join(f" {one.whole:>18.3f}" for one in found.models)
    yield ""
    yield (
        f"{found.positions:,} positions; ± is the standard error of a rise; the last line is the "
        "loss"
    )
    yield "with all of the context. <UNK> counts as one symbol."
