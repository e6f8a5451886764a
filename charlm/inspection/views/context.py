"""How much context a model uses, to be seen."""

from typing import TYPE_CHECKING

from charlm.display.drawing.blocks import paragraph, table
from charlm.display.drawing.figure import Axis, Figure, Line
from charlm.display.drawing.lines import drawn
from charlm.display.drawing.view import View

if TYPE_CHECKING:
    from charlm.inspection.context import ContextUse

_SAID = {
    "cut": "cut away",
    "shuffle": "shuffled",
    "replace": "replaced by other text",
}
_MEANT = (
    "The last n tokens are left as they were. Where a line comes down to zero the model has no use "
    "for what lies further back. ± is the standard error of a rise; <UNK> counts as one symbol."
)


def figure(found: "ContextUse") -> Figure:
    """The rise of the loss by the number of tokens that are left."""
    lines = [
        Line(
            one.model,
            found.lengths,
            one.rise.tolist(),
            (one.rise - one.error).tolist(),
            (one.rise + one.error).tolist(),
        )
        for one in found.models
    ]
    told = f"rise of the loss (nats per token), what lies beyond n tokens {_SAID[found.beyond]}"
    return Figure(lines, Axis("n, tokens left", is_log=True), Axis(told))


def view(found: "ContextUse") -> View:
    """A picture and its figures."""
    rows = [
        (f"{n:,}", *(f"{one.rise[at]:+.3f} ± {one.error[at]:.3f}" for one in found.models))
        for at, n in enumerate(found.lengths)
    ]
    rows.append(("loss with all", *(f"{one.whole:.3f}" for one in found.models)))
    drawing = drawn(figure(found))
    return View(
        f"How much context is used, over {found.positions:,} positions",
        [
            *([] if drawing is None else [drawing]),
            paragraph(_MEANT),
            table(("n", *(one.model for one in found.models)), rows),
        ],
    )
