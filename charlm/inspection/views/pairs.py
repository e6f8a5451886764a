"""Accuracies on minimal pairs, to be seen."""

from typing import TYPE_CHECKING

from charlm.display.drawing.blocks import paragraph, table
from charlm.display.drawing.intervals import Share, drawn
from charlm.display.drawing.svg import Drawing
from charlm.display.drawing.view import View

if TYPE_CHECKING:
    from charlm.inspection.pairs import Judged, PairsResult

_MEANT = "Lines are 95 % intervals (Wilson). Half is what a coin has."


def most_wrong(found: "PairsResult", number: int) -> "list[Judged]":
    """The pairs that the model was most wrong on."""
    wrong = (judged for judged in found.judged if judged.nats < 0)
    return sorted(wrong, key=lambda judged: judged.nats)[:number]


def view(found: "PairsResult", show: int = 10) -> View:
    """A picture of all categories, its figures, and what was most wrong."""
    shares = [
        Share(one.category, one.model, one.accuracy, *one.interval) for one in found.accuracies
    ]
    rows = [
        (
            one.category,
            one.model,
            f"{one.pairs:,}",
            f"{one.accuracy:.1%}",
            "{:.1%} to {:.1%}".format(*one.interval),
        )
        for one in found.accuracies
    ]
    blocks: list[Drawing | str] = [
        drawn(shares, "How often the good text is the likelier one"),
        paragraph(_MEANT),
        table(("category", "model", "pairs", "accuracy", "95 % interval"), rows, (0, 1)),
    ]
    if wrong := most_wrong(found, show):
        told = [(f"{nats:.2f}", pair.good, bad) for pair, nats, bad in wrong]
        blocks.append(paragraph("Most wrong:"))
        blocks.append(table(("nats", "good", "bad"), told, (1, 2)))
    return View("How often the good text of two is the likelier one", blocks)
