"""Gradients by distance, to be seen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlm.display.drawing.blocks import folded, paragraph, table
from charlm.display.drawing.figure import Axis, Figure, Line
from charlm.display.drawing.lines import drawn
from charlm.display.drawing.view import View

if TYPE_CHECKING:
    from charlm.inspection.curves import Clipping
    from charlm.inspection.gradient import Gradients

NEAR = 10  # tokens whose share of the sum is told
SAID = (
    "The gradient of a weight is the sum of these terms over all distances. That sum does not "
    "vanish: its far terms do, so what lies near decides what is learned. Half-life: tokens in "
    "which the mean halves, by a straight line through its logarithm. Half within: the distance "
    "up to which half of the sum lies."
)
_LINES = "Lines are means over positions of the text; where there is a band it lies between their "
_LINES += "quartiles."
_X = Axis("k, tokens back")
_TITLES = (
    "norm of d loss<t> / d x<t-k> (inputs), logarithmic",
    "norm of d loss<t> / d state<t-k>, logarithmic",
)


def figures(found: "Gradients") -> list[Figure]:
    """One of inputs, one of states."""
    lines: tuple[list[Line], list[Line]] = ([], [])
    for one in found.models:
        for side, of in zip(lines, (one.inputs, one.states), strict=True):
            x = range(len(of.mean))
            columns = (of.mean, of.lower, of.upper)
            side.append(Line(one.model, x, *(column.tolist() for column in columns)))
    return [
        Figure(side, _X, Axis(title, is_log=True))
        for side, title in zip(lines, _TITLES, strict=True)
    ]


def clipped_words(model: str, clipped: "Clipping") -> str:
    """What clipping did."""
    return (
        f"{model}: {clipped.share:.0%} of {clipped.noted:,} gradients noted in training were "
        f"clipped to {clipped.limit:g} (median norm {clipped.median:.3g}, largest "
        f"{clipped.largest:.3g})"
    )


def half_life(tokens: float | None) -> str:
    """A half-life, if there is one."""
    return "-" if tokens is None else f"{tokens:,.1f}"


def view(found: "Gradients") -> View:
    """Two pictures, half-lives, and what clipping did."""
    names = ("model", "half-life, inputs", "states", "half within, inputs", "states")
    near = (f"within {NEAR}, inputs", "states")
    rows = [
        (
            one.model,
            half_life(one.inputs.half_life),
            half_life(one.states.half_life),
            str(one.inputs.half_within),
            str(one.states.half_within),
            *(f"{side.share_within(NEAR):.0%}" for side in (one.inputs, one.states)),
        )
        for one in found.models
    ]
    clipped = [
        paragraph(clipped_words(one.model, clipping) + ".")
        for one, clipping in zip(found.models, found.clipping, strict=True)
        if clipping is not None
    ]
    drawings = [drawing for figure in figures(found) if (drawing := drawn(figure)) is not None]
    return View(
        f"How far back the gradient reaches: {', '.join(one.model for one in found.models)}",
        [
            paragraph(SAID),
            *drawings,
            paragraph(_LINES),
            table((*names, *near), rows),
            *clipped,
            folded("Figures of each distance", _by_distance(found)),
        ],
    )


def _by_distance(found: "Gradients") -> str:
    """Means of each distance."""
    names = [f"{one.model}, {side}" for one in found.models for side in ("inputs", "states")]
    columns = [side.mean for one in found.models for side in (one.inputs, one.states)]
    rows: list[Sequence[str]] = []
    for k in range(max(map(len, columns))):
        cells = (f"{column[k]:.3e}" if k < len(column) else "" for column in columns)
        rows.append((str(k), *cells))
    return table(("k", *names), rows)
