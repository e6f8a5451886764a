"""A map of named points in the plane as SVG, equal distances equal in both directions."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charlm.display.drawing.svg import COLOURS, Drawing, hint, number, words
from charlm.display.safe_text import visible

_SIZE, _EDGE, _TITLE, _HIGH = 420, 26, 22, 12
_LETTER = 6.2
_LONGEST = 18  # characters of a name that are shown

Box = tuple[float, float, float, float]


class Point(NamedTuple):
    """A name and its place; ``chosen`` is what the map is about."""

    name: str
    x: float
    y: float
    chosen: bool = False


def drawn(points: Sequence[Point], title: str) -> Drawing:
    """A map in a frame, below its title.

    A name that has no room is told where its point is pointed at.
    """
    left, right = min(p.x for p in points), max(p.x for p in points)
    low, high = min(p.y for p in points), max(p.y for p in points)
    scale = (_SIZE - 2 * _EDGE) / (max(right - left, high - low) or 1.0)
    down = _EDGE * 2 + (high - low) * scale
    top = _TITLE + _EDGE
    placed = [
        (p, _EDGE + _slack(left, right, scale) + (p.x - left) * scale, top + (high - p.y) * scale)
        for p in points
    ]
    dots = [(x - 4, y - 4, x + 4, y + 4) for _, x, y in placed]
    taken: list[Box] = []
    frame = f"M1 {_TITLE}H{_SIZE - 1}V{number(_TITLE + down)}H1z"
    faint = 'fill="none" stroke="currentColor" stroke-opacity=".25"'
    parts = [words(4, 14, title), f'<path d="{frame}" {faint}/>']
    for point, x, y in sorted(placed, key=lambda one: not one[0].chosen):
        name = visible(point.name)[:_LONGEST]
        told = hint(f"{name}: {point.x:.3f}, {point.y:.3f}")
        if point.chosen:
            parts.append(
                f'<path transform="translate({number(x)},{number(y)})" d="M0-6l6 6l-6 6l-6-6z" '
                f'fill="{COLOURS[1]}">{told}</path>'
            )
        else:
            parts.append(
                f'<circle cx="{number(x)}" cy="{number(y)}" r="3" fill="{COLOURS[0]}">'
                f"{told}</circle>"
            )
        for anchor, a, b in _sides(x, y, point.chosen):
            box = _box(anchor, a, b, name)
            own = (x - 4, y - 4, x + 4, y + 4)
            others = (*taken, *(dot for dot in dots if dot != own))
            if box[0] >= 2 and box[2] <= _SIZE - 2 and not any(_meet(box, one) for one in others):
                taken.append(box)
                parts.append(words(a, b, name, anchor=anchor))
                break
    return Drawing(_SIZE, _TITLE + round(down) + 2, "".join(parts), title)


def _slack(left: float, right: float, scale: float) -> float:
    """What is free on the left of a map that is higher than it is wide."""
    return max(0.0, (_SIZE - 2 * _EDGE - (right - left) * scale) / 2)


def _sides(x: float, y: float, chosen: bool) -> Iterator[tuple[str, float, float]]:
    """Where the name of a point may stand."""
    away = 9 if chosen else 6
    yield "start", x + away, y + 4
    yield "end", x - away, y + 4
    yield "middle", x, y - away - 1
    yield "middle", x, y + away + 9


def _box(anchor: str, x: float, y: float, name: str) -> Box:
    wide = _LETTER * len(name)
    begin = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
    return begin, y - _HIGH + 3, begin + wide, y + 2


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
