"""Laws of plots: every line has its mark, points stand where they belong, nothing is too wide."""

import math

from charlm.cli.output.plot import bar
from charlm.cli.output.plot import plot as drawn_of
from charlm.display.drawing.figure import MARKS, Axis, Figure, Line

X, Y = Axis("x"), Axis("y")


def plot(lines: list[Line], x: Axis, y: Axis) -> list[str]:
    """The plot of a figure."""
    return drawn_of(Figure(lines, x, y))


def places(drawn: list[str], mark: str) -> list[tuple[int, int]]:
    """Row and column of each mark, above the axis."""
    rows = [line.partition("┤")[2] for line in drawn if "┤" in line]
    return [(r, c) for r, row in enumerate(rows) for c, char in enumerate(row) if char == mark]


def test_points_stand_where_they_belong() -> None:
    """The least is at the lower left, the greatest at the upper right; equal steps are equal."""
    drawn = plot([Line("one", [0, 1, 2], [0, 5, 10])], X, Y)
    found = sorted(places(drawn, MARKS[0]), key=lambda place: place[1])
    (bottom, left), (_, middle), (top, right) = found
    assert (top, left) == (0, 0)
    assert bottom == max(r for r, _ in found)
    assert abs(middle - (left + right) / 2) <= 1
    assert all(len(line) <= 80 for line in drawn)


def test_each_line_has_its_mark() -> None:
    """Many lines, as the legend says; what is not finite is left out."""
    lines = [Line(f"line {i}", range(60), [i + math.sin(t) for t in range(60)]) for i in range(5)]
    lines.append(Line("holes", [0, 1, 2], [math.nan, 3.0, math.inf]))
    drawn = plot(lines, X, Y)
    for mark, line in zip(MARKS, lines, strict=False):
        assert places(drawn, mark)
        assert any(f"{mark} {line.name}" in row for row in drawn[-3:])
    assert len(places(drawn, MARKS[5])) == 1
    assert all(len(line) <= 80 for line in drawn)


def test_equal_ratios_are_equal_on_a_logarithmic_axis() -> None:
    """And twelve powers of ten are the most that is shown; zero has no place."""
    drawn = plot(
        [Line("one", [1, 10, 100], [1, 1e-3, 1e-6])], Axis("x", is_log=True), Axis("y", is_log=True)
    )
    found = sorted(places(drawn, MARKS[0]), key=lambda place: place[1])
    assert [c for _, c in found] == [0, 34, 67] or [c for _, c in found] == [0, 33, 67]
    assert found[1][0] - found[0][0] in (7, 8)
    deep = plot([Line("one", [0, 1, 2, 3], [1, 1e-6, 1e-40, 0])], X, Axis("y", is_log=True))
    assert len(places(deep, MARKS[0])) == 2


def test_nothing_is_no_plot() -> None:
    """Without a point there is nothing to draw; one point, or a flat line, is drawn."""
    assert plot([Line("none", [], [])], X, Y) == []
    assert plot([Line("none", [1], [math.nan])], X, Y) == []
    assert places(plot([Line("one", [1], [1])], X, Y), MARKS[0])
    assert places(plot([Line("flat", range(100), [3] * 100)], X, Y), MARKS[0])


def test_bars_are_as_high_as_their_values() -> None:
    """From the lowest to the highest, in order; beyond the bounds as at them."""
    drawn = [bar(value / 100, 0, 1) for value in range(-10, 111)]
    assert drawn[0] == drawn[10] == "▁"
    assert drawn[-1] == drawn[110] == "█"
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 8
    assert bar(math.nan, 0, 1) == " "
