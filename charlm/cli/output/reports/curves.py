"""Curves of trainings, for a person."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charlm.cli.output.plot import Axis, Line, plot
from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charlm.inspection.curves import Curves


def report(found: "Sequence[Curves]", what: str, against: str) -> Iterator[str]:
    """A plot and the last figures of each run, in lines of at most 80 columns."""
    lines = [line for one in found for line in _lines(one, what, against, alone=len(found) == 1)]
    unit = found[0].unit
    title = f"loss (nats per {unit})" if what == "loss" else what.replace("-", " ")
    drawn = plot(lines, Axis(against), Axis(title))
    yield from drawn or [f"no {title} was noted"]
    yield ""
    yield (
        f"{'run':<22} {'steps':>8} {'seconds':>9} {'training':>9} {'validation':>10} {'best':>8} "
        f"{'at step':>8}"
    )
    for one in found:
        best = at = "-"
        if np.isfinite(one.validation_loss).any():
            place = int(np.nanargmin(one.validation_loss))
            best, at = f"{one.validation_loss[place]:.4f}", f"{one.step[place]:,.0f}"
        yield (
            f"{cut(safe_text(one.run), 22):<22} {_last(one.step, ',.0f'):>8} "
            f"{_last(one.seconds, ',.1f'):>9} {_last(one.training_loss, '.4f'):>9} "
            f"{_last(one.validation_loss, '.4f'):>10} {best:>8} {at:>8}"
        )


def _last(values: "NDArray[np.float64]", form: str) -> str:
    """The last number that was noted."""
    there = values[np.isfinite(values)]
    return f"{there[-1]:{form}}" if len(there) else "-"


def _lines(one: "Curves", what: str, against: str, *, alone: bool) -> Iterator[Line]:
    """What is plotted of a run."""
    x = {"steps": one.step, "seconds": one.seconds, "tokens": one.tokens}[against].tolist()
    if what != "loss":
        y = one.learning_rate if what == "learning-rate" else one.gradient_norm
        yield Line(one.run, x, y.tolist())
        return
    if alone:
        yield Line("training", x, one.training_loss.tolist())
    yield Line("validation" if alone else one.run, x, one.validation_loss.tolist())
