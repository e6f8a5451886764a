"""Gradients by distance, for a person: a plot, half-lives, and what they mean."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli.output.plot import plot
from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text
from charlm.inspection.views.gradient import NEAR, SAID, clipped_words, figures, half_life

if TYPE_CHECKING:
    from charlm.inspection.gradient import Gradients

_COLUMNS = 80


def report(found: "Gradients", colours: int = 0) -> Iterator[str]:
    """Lines of at most 80 columns."""
    for figure in figures(found):
        yield from plot(figure, colours)
        yield ""
    yield f"{'':<23} {'half-life':>18} {'half within':>18} {'within ' + str(NEAR):>18}"
    yield f"{'model':<23}" + f" {'inputs':>9} {'states':>8}" * 3
    for one in found.models:
        sides = (one.inputs, one.states)
        cells = (
            *(half_life(side.half_life) for side in sides),
            *(str(side.half_within) for side in sides),
            *(f"{side.share_within(NEAR):.0%}" for side in sides),
        )
        name = cut(safe_text(one.model), 23)
        yield f"{name:<23}" + "".join(
            f" {cell:>{9 if at % 2 == 0 else 8}}" for at, cell in enumerate(cells)
        )
    yield ""
    for one, clipped in zip(found.models, found.clipping, strict=True):
        if clipped is not None:
            told = safe_text(clipped_words(one.model, clipped))
            yield from textwrap.wrap(told, _COLUMNS, subsequent_indent="  ")
    yield from textwrap.wrap(SAID, _COLUMNS)
