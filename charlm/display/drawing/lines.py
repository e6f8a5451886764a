"""A figure of lines as SVG: axes with round numbers, bands, and a legend of dashes and marks."""

import math
import textwrap
from collections.abc import Sequence

from charlm.display.drawing.figure import Figure, Line, short
from charlm.display.drawing.svg import (
    COLOURS,
    LETTER,
    Drawing,
    fitting,
    mark,
    number,
    stroke,
    words,
)

_WIDTH, _LEFT, _RIGHT = 420, 54, 12
_PLOT, _BELOW, _LINE = 200, 34, 16  # pixels of height: of the plot, of its labels, of a text line
_MARKS = 7  # of a line that has more points than that
_EACH = 24  # up to so many points have a mark each

Places = list[tuple[float, float]]


def drawn(figure: Figure) -> Drawing | None:
    """The figure, or None where there is nothing to draw."""
    placed = [_placed(line.x, line.y, figure) for line in figure.lines]
    if not any(placed):
        return None
    title = textwrap.wrap(figure.y.name, int((_WIDTH - 8) / LETTER))
    top = 8 + _LINE * len(title)
    frame = _Frame.of(figure, placed, top)
    parts = [words(4, 4 + _LINE * (at + 0.7), line) for at, line in enumerate(title)]
    parts += frame.axes(figure)
    for which, line in enumerate(figure.lines):
        parts.append(_band(line, figure, frame, which))
    for which, (line, points) in enumerate(zip(figure.lines, placed, strict=True)):
        parts += _line(line, points, figure, frame, which)
    below = top + _PLOT + _BELOW
    legend, rows = _legend([line.name for line in figure.lines], below)
    names = ", ".join(line.name for line in figure.lines)
    label = f"{figure.y.name}, by {figure.x.name}: {names}"
    return Drawing(_WIDTH, below + rows * _LINE + 6, "".join((*parts, *legend)), label)


class _Frame:
    """Where values stand on the sheet."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], top: int) -> None:
        self.x, self.y, self.top = x, y, top
        self.across, self.down = _WIDTH - _LEFT - _RIGHT, _PLOT

    @classmethod
    def of(cls, figure: Figure, placed: Sequence[Places], top: int) -> "_Frame":
        points = [point for line in placed for point in line]
        upward = [b for _, b in points]
        for line in figure.lines:  # whose lower quartiles may be zero, which has no logarithm
            upward += map(figure.y.scaled, line.high)
            upward += () if figure.y.is_log else map(figure.y.scaled, line.low)
        return cls(figure.x.bounds([a for a, _ in points]), figure.y.bounds(upward), top)

    def at(self, a: float, b: float) -> tuple[float, float]:
        """The place of a point, inside the frame."""
        (left, right), (low, high) = self.x, self.y
        across = 0.5 if right == left else (a - left) / (right - left)
        up = 0.5 if high == low else min(1.0, max(0.0, (b - low) / (high - low)))
        return _LEFT + across * self.across, self.top + (1 - up) * self.down

    def axes(self, figure: Figure) -> list[str]:
        """Both axes with their numbers and the lines of these."""
        bottom = self.top + self.down
        parts = []
        for value, label in figure.y.ticks(*self.y, 6):
            _, y = self.at(self.x[0], value)
            parts.append(_rule(_LEFT, y, _WIDTH - _RIGHT, y))
            parts.append(words(_LEFT - 5, y + 4, label, anchor="end", size=10, quiet=True))
        for value, label in figure.x.ticks(*self.x, 7):
            x, _ = self.at(value, self.y[0])
            parts.append(_rule(x, bottom, x, bottom + 4, faint=False))
            parts.append(words(x, bottom + 15, label, anchor="middle", size=10, quiet=True))
        parts.append(_rule(_LEFT, bottom, _WIDTH - _RIGHT, bottom, faint=False))
        middle = _LEFT + self.across / 2
        parts.append(words(middle, bottom + 29, figure.x.name, anchor="middle"))
        return parts


def _rule(x: float, y: float, to_x: float, to_y: float, *, faint: bool = True) -> str:
    return (
        f'<path d="M{number(x)} {number(y)}L{number(to_x)} {number(to_y)}" stroke="currentColor" '
        f'stroke-opacity="{".15" if faint else ".6"}"/>'
    )


def _placed(x: Sequence[float], y: Sequence[float], figure: Figure) -> Places:
    """The points that have a place."""
    scaled = ((figure.x.scaled(a), figure.y.scaled(b)) for a, b in zip(x, y, strict=True))
    return [(a, b) for a, b in scaled if math.isfinite(a) and math.isfinite(b)]


def _band(line: Line, figure: Figure, frame: _Frame, which: int) -> str:
    """What lies between the low and the high of a line."""
    if not len(line.low):
        return ""
    upper = [frame.at(a, b) for a, b in _placed(line.x, line.high, figure)]
    lower = []
    for a, b in zip(line.x, line.low, strict=True):
        scaled = figure.y.scaled(b)
        if math.isfinite(at := figure.x.scaled(a)):
            lower.append(frame.at(at, scaled if math.isfinite(scaled) else frame.y[0]))
    path = "L".join(f"{number(x)} {number(y)}" for x, y in (*upper, *reversed(lower)))
    colour = COLOURS[which % len(COLOURS)]
    return f'<path d="M{path}z" fill="{colour}" fill-opacity=".13"/>' if path else ""


def _line(line: Line, points: Places, figure: Figure, frame: _Frame, which: int) -> list[str]:
    """A line and its marks, as far as it lies above the bottom of a logarithmic plot."""
    points = [(a, b) for a, b in points if b >= frame.y[0] or not figure.y.is_log]
    places = [frame.at(a, b) for a, b in points]
    path = "L".join(f"{number(x)} {number(y)}" for x, y in _thinned(places))
    parts = [f'<path d="M{path}" {stroke(which)}/>'] if len(places) > 1 else []
    if len(points) <= _EACH:
        chosen = list(range(len(points)))
    else:  # lines that lie upon each other have their marks in turns
        step = len(points) / _MARKS
        chosen = [int(step * (at + (which % 4 + 0.5) / 4)) for at in range(_MARKS)]
    for at in chosen:
        a, b = points[at]
        x, y = (10**a if figure.x.is_log else a), (10**b if figure.y.is_log else b)
        told = f"{line.name}: {figure.x.name} {short(x)}, {y:.4g}"
        parts.append(mark(which, *places[at], told))
    return parts


def _thinned(places: Places) -> Places:
    """The same path: of many points in one column of pixels its first, extremes and last."""
    if len(places) <= 2 * _WIDTH:
        return places
    columns: dict[int, Places] = {}
    for place in places:
        columns.setdefault(int(place[0]), []).append(place)
    found: Places = []
    for column in columns.values():
        low, high = (pick(column, key=lambda place: place[1]) for pick in (min, max))
        kept = dict.fromkeys((column[0], low, high, column[-1]))
        found += sorted(kept, key=lambda place: place[0])
    return found


def _legend(names: Sequence[str], top: int) -> tuple[list[str], int]:
    """A sample of each line beside its name, and how many rows that takes."""
    columns = 2 if len(names) > 1 and max(map(len, names)) <= 24 else 1
    wide = (_WIDTH - 8) / columns
    parts = []
    for which, name in enumerate(names):
        x, y = 8 + wide * (which % columns), top + _LINE * (which // columns) + 8
        parts.append(f'<path d="M{number(x)} {y}h30" {stroke(which)}/>')
        parts.append(mark(which, x + 15, y))
        parts.append(words(x + 36, y + 4, fitting(name, wide - 44)))
    return parts, math.ceil(len(names) / columns)
