"""Gradients by distance, for a person: a plot, half-lives, and what they mean."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.cli.output.plot import Axis, Line, plot
from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text

if TYPE_CHECKING:
    from charlm.inspection.curves import Clipping
    from charlm.inspection.gradient import Gradient

_COLUMNS, _NEAR = 80, 10
_SAID = (
    "The gradient of a weight is the sum of these terms over all distances. That sum does not "
    "vanish: its far terms do, so what lies near decides what is learned. Half-life: tokens in "
    "which the mean halves, by a straight line through its logarithm. Half within: the distance "
    "up to which half of the sum lies."
)


def report(found: "Sequence[tuple[Gradient, Clipping | None]]") -> Iterator[str]:
    """Lines of at most 80 columns."""
    for title, of_inputs in (
        ("norm of d loss<t> / d x<t-k> (inputs), logarithmic", True),
        ("norm of d loss<t> / d state<t-k>, logarithmic", False),
    ):
        lines = []
        for one, _ in found:
            values = (one.inputs if of_inputs else one.states).mean
            lines.append(Line(one.model, range(len(values)), values.tolist()))
        yield from plot(lines, Axis("k, tokens back"), Axis(title, is_log=True))
        yield ""
    yield f"{'':<23} {'half-life':>18} {'half within':>18} {'within ' + str(_NEAR):>18}"
    yield f"{'model':<23}" + f" {'inputs':>9} {'states':>8}" * 3
    for one, _ in found:
        cells = [
            cell
            for values in (
                [_tokens(one.inputs.half_life), _tokens(one.states.half_life)],
                [str(one.inputs.half_within), str(one.states.half_within)],
                [f"{side.share_within(_NEAR):.0%}" for side in (one.inputs, one.states)],
            )
            for cell in values
        ]
        name = cut(safe_text(one.model), 23)
        yield f"{name:<23}" + "".join(
            f" {cell:>{9 if at % 2 == 0 else 8}}" for at, cell in enumerate(cells)
        )
    yield ""
    for one, clipped in found:
        if clipped is not None:
            yield from textwrap.wrap(
                f"{safe_text(one.model)}: {clipped.share:.0%} of {clipped.noted:,} gradients noted "
                f"in training were clipped to {clipped.limit:g} (median norm "
                f"{clipped.median:.3g}, largest {clipped.largest:.3g})",
                _COLUMNS,
                subsequent_indent="  ",
            )
    yield from textwrap.wrap(_SAID, _COLUMNS)


def _tokens(half_life: float | None) -> str:
    return "-" if half_life is None else f"{half_life:,.1f}"
