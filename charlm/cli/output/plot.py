"""Plots of lines in characters, readable without colour: each line has its own mark."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from charlm.cli.output.heatmap import BARS
from charlm.cli.output.terminal import cut
from charlm.display.columns import width
from charlm.display.drawing.figure import MARKS, Figure, short
from charlm.display.drawing.svg import COLOURS
from charlm.display.safe_text import safe_text

_COLUMNS, _ROWS = 68, 16  # of the plot itself
_GUTTER = 10  # columns of the labels on the left
_FEW = (33, 166, 28, 134, 30, 169, 100, 102)  # the nearest to COLOURS of 256
_MANY = 40  # points of a line from which its mark stands in every column


def painted(cells: Iterable[tuple[str, int | None]], colours: int) -> str:
    """Texts in a row, each in the colour of this number (svg.COLOURS), on a screen of so many.

    None is no colour, and so is all where there are 0.
    """
    parts = []
    for which, group in groupby(cells, key=lambda cell: cell[1]):
        text = "".join(part for part, _ in group)
        if colours and which is not None and text.strip():
            text = f"\x1b[38;{_code(which, colours)}m{text}\x1b[0m"
        parts.append(text)
    return "".join(parts)


def _code(which: int, colours: int) -> str:
    if colours <= 256:
        return f"5;{_FEW[which % len(_FEW)]}"
    return "2;" + ";".join(map(str, bytes.fromhex(COLOURS[which % len(COLOURS)][1:])))


def plot(figure: Figure, colours: int = 0) -> list[str]:
    """The lines of a plot, at most 80 columns wide, the legend below; of nothing, nothing."""
    lines, x, y = figure
    placed = [
        [
            (a, b)
            for a, b in ((x.scaled(a), y.scaled(b)) for a, b in zip(line.x, line.y, strict=True))
            if math.isfinite(a) and math.isfinite(b)
        ]
        for line in lines
    ]
    points = [point for line in placed for point in line]
    if not points:
        return []
    left, right = x.bounds([a for a, _ in points])
    low, high = y.bounds([b for _, b in points])
    placed = [[(a, b) for a, b in line if a >= left and b >= low] for line in placed]
    grid = [[" "] * _COLUMNS for _ in range(_ROWS)]
    for mark, line in zip(_marks(len(lines)), placed, strict=True):
        for column, value in _columns(line, left, right):
            share = 0.5 if high == low else (value - low) / (high - low)
            grid[_ROWS - 1 - round(share * (_ROWS - 1))][column] = mark
    rows = []
    whose = {mark: which for which, mark in enumerate(MARKS)}
    for number, cells in enumerate(grid):
        label = ""
        if number % 5 == 0:
            value = high - (high - low) * number / (_ROWS - 1)
            if not y.is_log and abs(value) < 1e-3 * (high - low):
                value = 0.0
            label = short(10**value if y.is_log else value)
        drawn = painted(((cell, whose.get(cell)) for cell in "".join(cells).rstrip()), colours)
        rows.append(f"{label:>{_GUTTER}} ┤{drawn}")
    ends = [short(10**end if x.is_log else end) for end in (left, right)]
    rows.append(f"{'':>{_GUTTER}} └{'─' * _COLUMNS}")
    middle = x.name.center(_COLUMNS - len(ends[0]) - len(ends[1]))
    rows.append(f"{'':>{_GUTTER + 2}}{ends[0]}{middle}{ends[1]}"[:80])
    names = [f" {cut(safe_text(line.name), 30)}" for line in lines]
    legend = zip(_marks(len(lines)), names, strict=True)
    return [y.name, *rows, *_wrapped(legend, colours)]


def bar(value: float, low: float, high: float) -> str:
    """A bar as high as a value is between two others."""
    if not math.isfinite(value):
        return " "
    share = 0.0 if high <= low else (value - low) / (high - low)
    return BARS[min(len(BARS) - 1, max(0, int(share * len(BARS))))]


def _marks(number: int) -> str:
    return (MARKS * (number // len(MARKS) + 1))[:number]


def _columns(
    points: Sequence[tuple[float, float]], left: float, right: float
) -> list[tuple[int, float]]:
    """The height of a line in the columns that it crosses, straight between its points."""
    scale = (_COLUMNS - 1) / (right - left) if right > left else 0.0
    columns = [((a - left) * scale, b) for a, b in points]
    if len(columns) < _MANY:
        return [(round(a), b) for a, b in columns]
    found, at = [], 0
    for column in range(math.ceil(columns[0][0]), int(columns[-1][0]) + 1):
        while at + 1 < len(columns) - 1 and columns[at + 1][0] < column:
            at += 1
        (a, one), (b, other) = columns[at], columns[at + 1]
        share = 0.0 if b == a else (column - a) / (b - a)
        found.append((column, one + (other - one) * min(1.0, max(0.0, share))))
    return found


def _wrapped(parts: Iterable[tuple[str, str]], colours: int) -> list[str]:
    """A legend in lines: marks and names."""
    lines, used = [""], 0
    for which, (mark, name) in enumerate(parts):
        size = width(mark + name)
        if used and used + 3 + size > 80 - _GUTTER:
            lines.append("")
            used = 0
        lines[-1] += ("   " if used else "") + painted([(mark, which)], colours) + name
        used += size + (3 if used else 0)
    return [" " * (_GUTTER + 2) + line for line in lines]
