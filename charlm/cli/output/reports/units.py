"""Units of a model, for a person: what they follow, and their values below the text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli.output.plot import painted
from charlm.cli.output.reports.gates import DOWN, UP, bars, rows_of
from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text, visible

if TYPE_CHECKING:
    from charlm.inspection.units import Following, Span, SpanUnits, Unit, UnitAlong
    from charlm.models.activations import Activations

_COLUMNS, _SHOWN = 80, 230  # tokens of a text that are shown where nobody asked for a unit
_FAINT = 0.25  # of the largest value: from there on a token has a colour
_AROUND = 20  # characters beside a span


def along(found: "UnitAlong", colours: int = 0) -> Iterator[str]:
    """Each text with the values of a unit below it."""
    for one in found.found:
        yield from _along(one, found.unit, None, colours)


def _along(found: "Activations", unit: "Unit", most: int | None, colours: int) -> Iterator[str]:
    """A text with the values of a unit below it, and what the bars mean."""
    values = unit.of(found)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    size = max(-low, high)
    pieces = found.pieces if most is None else found.pieces[:most]
    for first, cells in rows_of(pieces, _COLUMNS):
        shown = values[first : first + len(cells)].tolist()
        tints = (None if abs(v) < _FAINT * size else UP if v > 0 else DOWN for v in shown)
        text = (*cells[:-1], cells[-1].rstrip())
        yield painted(zip(text, tints, strict=True), colours)
        yield bars(shown, cells, low, high, colours)
    yield f"{unit}: ▁ is {low:.2f}, █ is {high:.2f}"


def following(found: "Following", colours: int = 0) -> Iterator[str]:
    """The units of each feature, then the one that follows its feature best along a text."""
    ranked = found.ranked
    if not ranked:
        yield "nothing varies in this text that units could follow"
        return
    features = dict.fromkeys(one.feature for one in ranked)
    for feature in features:
        cells = [
            f"{one.unit!s:>8} {one.correlation:+.3f}" for one in ranked if one.feature == feature
        ]
        for first in range(0, len(cells), 3):
            name = cut(visible(feature), 22) if not first else ""
            yield f"{name:<24}" + "  ".join(cells[first : first + 3])
    best = max(ranked, key=lambda one: abs(one.correlation))
    yield ""
    yield f"{visible(best.feature)}, {best.unit} ({best.correlation:+.3f}):"
    longest = max(found.found, key=lambda one: len(one.ids))
    yield from _along(longest, best.unit, _SHOWN, colours)


def span_lines(one: "SpanUnits") -> Iterator[str]:
    """The units of a span, and the other spans where most of them are on."""
    if not one.units:
        yield "no unit is on in all of that span and off around it"
        return
    names = " ".join(map(str, one.units[:40]))
    yield f"{len(one.units)} units on in the span and off around it: {names}"[:_COLUMNS]
    yield ""
    yield f"{'on':>6}  span"
    for span in (one.span, *one.others):
        yield f"{span.on:6.1f}  {_shown(one.found[span.text].text, span)}"


def _shown(text: str, span: "Span") -> str:
    """A span between brackets, with what stands around it."""
    before = text[max(0, span.begin - _AROUND) : span.begin]
    after = text[span.end : span.end + _AROUND]
    own = cut(_line(text[span.begin : span.end]), 30)
    return cut(f"{_line(before)}⟦{own}⟧{_line(after)}", _COLUMNS - 8)


def _line(text: str) -> str:
    return safe_text(text.replace("\n", "↵"))
