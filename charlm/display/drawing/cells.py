"""Values along a text as SVG: tokens in a row, below each a cell for every figure of it.

A cell is the fuller and the darker the greater its value is, so it is read without colour.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from charlm.display.columns import width
from charlm.display.drawing.svg import COLOURS, Drawing, fitting, hint, number, words
from charlm.display.safe_text import visible

_ROOM = 300  # pixels that tokens of one row have together
_NAMES, _GAP, _TOP = 74, 3, 20
_LETTER, _SIDE, _NARROWEST = 7.3, 4, 11  # of a token
_LONGEST = 24  # characters of a token that are shown


class Row(NamedTuple):
    """One figure of each token: its name, its values from 0 to 1, the pixels of a full cell."""

    name: str
    values: Sequence[float]
    height: int = 22


def along(pieces: Sequence[str], rows: Sequence[Row]) -> Iterator[Drawing]:
    """Tokens and their figures, as many drawings as it takes, each as wide as a telephone."""
    shown = [visible(piece)[:_LONGEST] for piece in pieces]
    sizes = [max(_NARROWEST, round(_LETTER * width(piece)) + _SIDE) for piece in shown]
    parts = math.ceil(sum(sizes) / (_ROOM - max(sizes, default=0) / 2))
    room = min(_ROOM, sum(sizes) / max(1, parts) + max(sizes, default=0))  # about equal parts
    begin = 0
    while begin < len(shown):
        end, used = begin + 1, sizes[begin]
        while end < len(shown) and used + sizes[end] <= room:
            used += sizes[end]
            end += 1
        yield _part(shown, sizes, rows, begin, end)
        begin = end


def _part(
    shown: Sequence[str], sizes: Sequence[int], rows: Sequence[Row], begin: int, end: int
) -> Drawing:
    colour, parts = COLOURS[1], []
    tops = [*accumulate((row.height + _GAP for row in rows), initial=_TOP)]
    bottom = tops.pop()
    for row, top in zip(rows, tops, strict=True):
        if row.height > 12 or row is rows[0]:
            parts.append(words(0, top + row.height / 2 + 4, fitting(row.name, _NAMES)))
        else:
            parts.append(words(0, top + row.height - 1, row.name, size=9, quiet=True))
    wide = sum(sizes[begin:end]) - 1
    for row, top in zip(rows, tops, strict=True):
        parts.append(f'<path d="M{_NAMES} {top}h{wide}v{row.height}h-{wide}z" fill-opacity=".08"/>')
    x = _NAMES
    for at in range(begin, end):
        told = [shown[at], *(f"{row.name} {row.values[at]:.3f}" for row in rows)]
        middle = x + sizes[at] / 2
        parts.append(f"<g>{hint(', '.join(told))}")
        parts.append(
            words(middle, 13, shown[at], anchor="middle").replace("<text", f"<text {_MONO}", 1)
        )
        for row, top in zip(rows, tops, strict=True):
            value = min(1.0, max(0.0, float(row.values[at])))
            wide, high = sizes[at] - 1, value * row.height
            parts.append(
                f'<path d="M{x} {top + row.height}h{wide}v-{number(high)}h-{wide}z" '
                f'fill="{colour}" fill-opacity="{0.3 + 0.7 * value:.2f}"/>'
            )
        parts.append("</g>")
        x += sizes[at]
    names = ", ".join(row.name for row in rows)
    label = f"{names} at {' '.join(shown[begin:end])}"
    return Drawing(_NAMES + _ROOM, bottom + 6, "".join(parts), label)


_MONO = 'font-family="ui-monospace,monospace"'
