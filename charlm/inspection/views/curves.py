"""How trainings went, to be seen."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charlm.display.drawing.blocks import paragraph, table
from charlm.display.drawing.figure import Axis, Figure, Line
from charlm.display.drawing.lines import drawn
from charlm.display.drawing.svg import Drawing
from charlm.display.drawing.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charlm.inspection.curves import Curves

LOSS = "loss"
NAMES = (LOSS, "learning-rate", "gradient-norm")
COLUMNS = ("run", "steps", "seconds", "training", "validation", "best", "at step")


def figure(found: "Sequence[Curves]", what: str, against: str) -> Figure:
    """One picture of runs: what is one of NAMES, against is steps, seconds or tokens."""
    unit = found[0].unit
    title = f"loss (nats per {unit})" if what == LOSS else what.replace("-", " ")
    lines = [line for one in found for line in _lines(one, what, against, alone=len(found) == 1)]
    return Figure(lines, Axis(against), Axis(title))


def last_figures(one: "Curves") -> tuple[str, ...]:
    """What a run came to, as COLUMNS has it."""
    best = at = "-"
    if np.isfinite(one.validation_loss).any():
        place = int(np.nanargmin(one.validation_loss))
        best, at = f"{one.validation_loss[place]:.4f}", f"{one.step[place]:,.0f}"
    return (
        one.run,
        _last(one.step, ",.0f"),
        _last(one.seconds, ",.1f"),
        _last(one.training_loss, ".4f"),
        _last(one.validation_loss, ".4f"),
        best,
        at,
    )


def view(found: "Sequence[Curves]", against: str = "steps") -> View:
    """All that was noted of runs, and what they came to."""
    drawings = [drawn(figure(found, what, against)) for what in NAMES]
    there: list[Drawing | str] = [drawing for drawing in drawings if drawing is not None]
    return View(
        f"Training of {', '.join(one.run for one in found)}",
        [
            *(there or [paragraph("Nothing was noted.")]),
            table(COLUMNS, map(last_figures, found)),
            paragraph(f"Losses are nats per {found[0].unit}."),
        ],
    )


def _last(values: "NDArray[np.float64]", form: str) -> str:
    """The last number that was noted."""
    there = values[np.isfinite(values)]
    return f"{there[-1]:{form}}" if len(there) else "-"


def _lines(one: "Curves", what: str, against: str, *, alone: bool) -> Iterator[Line]:
    """What is plotted of a run."""
    x = {"steps": one.step, "seconds": one.seconds, "tokens": one.tokens}[against].tolist()
    if what != LOSS:
        y = one.learning_rate if what == "learning-rate" else one.gradient_norm
        yield Line(one.run, x, y.tolist())
        return
    if alone:
        yield Line("training", x, one.training_loss.tolist())
    yield Line("validation" if alone else one.run, x, one.validation_loss.tolist())
