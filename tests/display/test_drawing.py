"""Laws of pictures: what is drawn stands where it belongs, is text where it is text, and is read
on any paper and without colour.
"""

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.display.drawing import cells, intervals, lines, scatter
from charlm.display.drawing.blocks import folded, paragraph, shaded, table
from charlm.display.drawing.figure import Axis, Figure, Line
from charlm.display.drawing.svg import COLOURS, DASHES, Drawing, mark
from charlm.display.drawing.view import View
from charlm.display.safe_text import safe_text
from tests.support.markup import HOSTILE, read, read_svg

NAMES = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=()), max_size=12)
LINEAR, LOG = Axis("x"), Axis("y", is_log=True)


def points_of(drawing: Drawing, which: int = 0) -> list[tuple[float, float]]:
    """The corners of a line, by its colour."""
    for path, rest in re.findall(r'<path d="M([^"z]*)"([^>]*)>', drawing.body):
        if "L" in path and f'stroke="{COLOURS[which]}"' in rest:
            return [tuple(map(float, p.split())) for p in path.split("L")]  # type: ignore[misc]
    raise AssertionError(which)


def drawn(lines_: Sequence[Line], x: Axis = LINEAR, y: Axis = LINEAR) -> Drawing:
    """A figure of which there is something to draw."""
    found = lines.drawn(Figure(lines_, x, y))
    assert found is not None
    return found


@given(NAMES, NAMES, NAMES)
def test_whatever_is_written_is_text(one: str, other: str, third: str) -> None:
    """Names and texts of any origin are neither markup nor control; XML and HTML stay whole."""
    view = View(
        one,
        [
            paragraph(other),
            drawn([Line(one, [0, 1], [1, 2]), Line(other, [0], [3])], Axis(one), Axis(other)),
            *cells.along([one, other], [cells.Row(third, [0.5, 2.0])]),
            scatter.drawn([scatter.Point(one, 0, 0, True), scatter.Point(other, 1, 2)], third),
            intervals.drawn([intervals.Share(one, other, 0.5, 0.4, 0.6)], third),
            table((one, other), [(other, third)]),
            folded(one, shaded(other, [(0, len(other))], [0.5], 1.0)),
        ],
    )
    html = view.by(third).html
    read(html)
    read_svg(view.svg)
    assert safe_text(other) in read(paragraph(other)).text.replace("\n", "") + "\n"
    found = read(table((one, other), [(other, third)])).rows
    assert found == [[safe_text(one), safe_text(other)], [safe_text(other), safe_text(third)]]


def test_a_page_is_whole(tmp_path: Path) -> None:
    """Self-contained, for a telephone, in both schemes; what a place refuses is an OSError."""
    view = View("a <b>", [drawn([Line("one", [0, 1], [1, 2])]), paragraph("words")])
    view.write(tmp_path / "page.html")
    found = read((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "a <b>" in found.text
    assert found.tags.count("svg") == 1
    assert View("t", [paragraph("x")]).svg == ""
    with pytest.raises(FileNotFoundError):
        view.write(tmp_path / "no" / "page.html")


def test_points_stand_where_they_belong() -> None:
    """The least at the lower left, the greatest at the upper right; equal steps are equal."""
    (left, bottom), (middle, _), (right, top) = points_of(drawn([Line("a", [0, 1, 2], [0, 5, 9])]))
    assert left < right
    assert top < bottom  # y grows downwards on the sheet
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    found = points_of(drawn([Line("a", [1, 10, 100], [1, 1e-3, 1e-6])], LOG, LOG))
    steps = [b - a for (_, a), (_, b) in itertools.pairwise(found)]
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    deep = points_of(drawn([Line("a", [0, 1, 2, 3], [1, 1e-6, 1e-40, 0])], LINEAR, LOG))
    assert len(deep) == 2  # zero has no logarithm, and twelve decades are the most that is shown
    assert deep[1][1] == pytest.approx(deep[0][1] + 100)
    assert lines.drawn(Figure([Line("none", [1, 2], [math.nan, math.inf])], LINEAR, LINEAR)) is None
    assert "circle" in drawn([Line("alone", [1], [1])]).body


def test_a_band_holds_its_line() -> None:
    """Between quartiles, of which the lower may be zero; it is no wider than the plot."""
    line = Line("a", [0, 1], [1e-2, 1e-3], [0.0, 1e-4], [1e-1, 1e-2])
    found = drawn([line], LINEAR, LOG)
    (band,) = re.findall(r'<path d="M([^"]*)z" fill="[^"]*" fill-opacity=".13"', found.body)
    ys = [float(place.split()[1]) for place in band.split("L")]
    upper, lower = ys[:2], ys[:1:-1]
    for (_, y), above, below in zip(points_of(found), upper, lower, strict=True):
        assert above < y <= below
    assert max(ys) - min(ys) <= 200


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6), st.integers(3, 9))
@example(100.125, 0.15625, 3)  # of one tick alone all decimals are told, too
def test_ticks_are_round_and_few(low: float, size: float, most: int) -> None:
    """They lie between the bounds, equally far apart, and say where they are."""
    found = LINEAR.ticks(low, low + size, most)
    values = [value for value, _ in found]
    assert 1 <= len(found) <= most + 1
    assert len({label for _, label in found}) == len(found)
    assert all(low - size * 1e-6 <= value <= low + size * (1 + 1e-6) for value in values)
    assert values == sorted(values)
    for value, label in found:
        told = float(label.replace(",", ""))
        assert told == pytest.approx(value, abs=1e-3 * size)


@given(st.floats(-9, 5), st.floats(0.01, 14), st.integers(4, 8))
def test_ticks_of_a_logarithmic_axis_are_told(low: float, size: float, most: int) -> None:
    """What a label says is where it stands."""
    found = LOG.ticks(low, low + size, most)
    assert len(found) <= most + 1
    assert found or size < 1.3  # no power of ten lies within
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    for value, label in found:
        parts = re.fullmatch(r"(?:(\d)·)?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", label)
        told = (
            float(label.replace(",", ""))
            if parts is None
            else float(parts[1] or 1) * 10.0 ** int(parts[2].translate(digits))
        )
        assert math.log10(told) == pytest.approx(value, abs=0.03)
        assert low - 0.01 <= value <= low + size + 0.01


def test_lines_are_told_apart_without_colour() -> None:
    """Each has dashes and a mark of its own, which the legend shows beside its name."""
    shapes = {re.sub(r"#\w{6}", "", mark(which, 0, 0)) for which in range(8)}
    assert len(shapes) == len(set(DASHES)) == len(COLOURS) == 8
    many = [Line(f"line {i}", range(50), [i + t / 50 for t in range(50)]) for i in range(5)]
    found = drawn(many)
    for which in range(5):
        assert found.body.count(mark(which, 0, 0)[:20].split('"')[0]) >= 1
        assert f">line {which}</text>" in found.body


def test_lines_and_words_are_seen_on_any_paper() -> None:
    """Contrast of 3 or more (WCAG 2, graphics) to white and to a dark screen."""
    for colour in COLOURS:
        for paper in ("#ffffff", "#1c1c1c"):
            darker, lighter = sorted((luminance(colour), luminance(paper)))
            assert (lighter + 0.05) / (darker + 0.05) >= 3, (colour, paper)


def luminance(colour: str) -> float:
    """The relative luminance of sRGB (WCAG 2)."""
    parts = [part / 255 for part in bytes.fromhex(colour[1:])]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_many_points_keep_their_extremes() -> None:
    """A long line is thinned, and neither a peak nor an end is lost."""
    y = [0.0] * 50_000
    y[31_234] = 1.0
    found = points_of(drawn([Line("a", range(50_000), y)]))
    assert len(found) < 2_000
    assert min(b for _, b in found) < 50
    assert found[0][0] == min(a for a, _ in found)
    assert found[-1][0] == pytest.approx(max(a for a, _ in found))


def test_cells_are_as_full_as_their_values() -> None:
    """Every token stands once, in order, in drawings of one width, and tells its values."""
    pieces = [*"The pear", "salad" * 9, "<EOS>"]
    values = [at / 10 for at in range(len(pieces))]
    found = list(cells.along(pieces, [cells.Row("gate", values)]))
    assert {drawing.width for drawing in found} == {374}
    told = re.findall(r"<g><title>(.*?), gate (.*?)</title>", "".join(d.body for d in found))
    assert [float(value) for _, value in told] == pytest.approx(values)
    heights = [
        float(high) for d in found for high in re.findall(r'v-([\d.]+)h-\d+z" fill="#', d.body)
    ]
    assert heights == pytest.approx([22 * value for value in values], abs=0.06)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12))
def test_a_map_keeps_distances(places: list[tuple[float, float]]) -> None:
    """Equal distances are equal in both directions; all is on the sheet; names do not collide."""
    points = [scatter.Point(f"p{i}", x, y) for i, (x, y) in enumerate(places)]
    found = scatter.drawn(points, "a map")
    centres = re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', found.body)
    at = [(float(x), float(y)) for x, y in centres]
    assert len(at) == len(places)
    assert all(0 <= x <= found.width and 0 <= y <= found.height for x, y in at)
    spread = max(max(p[i] for p in places) - min(p[i] for p in places) for i in (0, 1))
    if spread > 0.01:
        scale = (420 - 52) / spread
        for (x, y), (a, b) in zip(places, at, strict=True):
            assert (a - at[0][0]) == pytest.approx((x - places[0][0]) * scale, abs=0.2)
            assert (b - at[0][1]) == pytest.approx((places[0][1] - y) * scale, abs=0.2)


def test_a_share_stands_in_its_interval() -> None:
    """The mark between the ends of its line, half where half is; the figure is written out."""
    found = intervals.drawn([intervals.Share("all", "model", 0.6, 0.5, 0.9)], "shares")
    (half,) = re.findall(r'<path d="M([\d.]+) 20V[\d.]+"[^>]*stroke-dasharray', found.body)
    (low, high) = re.findall(r'<path d="M([\d.]+) [\d.]+H([\d.]+)m', found.body)[0]
    (at,) = re.findall(r'<circle cx="([\d.]+)"', found.body)
    assert low == half
    assert float(low) < float(at) < float(high)
    assert ">60.0%</text>" in found.body


def test_a_shaded_text_is_the_text() -> None:
    """All of it, spaces and lines too; above zero has a line below, below zero one above it."""
    text = "a pear\n<b> é!"
    ranges = [(0, 1), (1, 6), (6, 7), (7, 10), (11, 12), (11, 12)]
    html = shaded(text, ranges, [1.0, -1.0, 0.01, 0.5, 9.0, -0.5], 1.0)
    assert read(html).text.rstrip("\n") == text
    spans = re.findall(r"<span title=\"([^\"]*)\"([^>]*)>", html)
    told = dict(spans)
    assert "border-bottom:4px" in told["a: +1.000"]
    assert "border-top:4px dotted" in told[" pear: −1.000"]
    assert "border" not in told["\\n: +0.010"]
    assert "border-bottom:2px" in told["&lt;b&gt;: +0.500"]
    assert "border-top:2px" in told["é: −0.500"]  # the last of the tokens that share it
    assert "border" not in shaded("a", [(0, 1)], [math.nan], 1.0)
