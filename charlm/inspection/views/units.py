"""Units of a model, to be seen."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from charlm.display.drawing.blocks import folded, paragraph, shaded, table
from charlm.display.drawing.view import View
from charlm.display.safe_text import safe_text, visible

if TYPE_CHECKING:
    from charlm.inspection.units import Following, Follows, Span, SpanUnits, Unit, UnitAlong
    from charlm.models.activations import Activations

_BEST, _OTHERS = 1_500, 500  # tokens of a text that are shown
_AROUND = 60  # characters beside a span
_MEANT = (
    "A line below a token: the unit is above zero there; a dotted line above it: below zero. The "
    "thicker the line, the farther from zero. Point at a token for its value."
)


def along(found: "UnitAlong") -> View:
    """One unit along texts."""
    blocks = [paragraph(_MEANT), *_texts(found.found, found.unit)]
    return View(f"Unit {found.unit} along the text", blocks)


def following(found: "Following") -> View:
    """The units of each feature, and the one that follows each best along the first texts."""
    if not found.ranked:
        return View("Units", [paragraph("Nothing varies in this text that units could follow.")])
    features = list(dict.fromkeys(one.feature for one in found.ranked))
    of = {name: [one for one in found.ranked if one.feature == name] for name in features}
    most = max(map(len, of.values()))
    rows = [
        (visible(name), *(f"{one.unit} {one.correlation:+.3f}" for one in ranked))
        for name, ranked in of.items()
    ]
    best = sorted((ranked[0] for ranked in of.values()), key=lambda one: -abs(one.correlation))
    return View(
        "Units that follow a feature of the text",
        [
            paragraph(
                "A unit is one number of the state: h1.37 is number 37 of h in layer 1. Beside it "
                "stands the correlation of its values with the feature, over all tokens."
            ),
            table(("feature", *(["unit"] * most)), rows),
            paragraph(_named(best[0])),
            *_texts(found.found, best[0].unit, _BEST),
            paragraph(_MEANT),
            *(
                folded(_named(one), "".join(_texts(found.found, one.unit, _OTHERS)))
                for one in best[1:]
            ),
        ],
    )


def span(found: "SpanUnits") -> View:
    """The units of a span, and the other spans where most of them are on."""
    if not found.units:
        said = "No unit is on in all of that span and off around it."
        return View("Units of a span", [paragraph(said)])
    names = ", ".join(map(str, found.units))
    rows = [(f"{one.on:.1f}", _around(found, one)) for one in (found.span, *found.others)]
    return View(
        "Units of a span",
        [
            paragraph(f"{len(found.units)} units on in the span and off around it: {names}."),
            table(("units on", "⟦the span⟧, then others where most of them are on"), rows, (1,)),
        ],
    )


def _named(one: "Follows") -> str:
    return f"{visible(one.feature)}: {one.unit} ({one.correlation:+.3f})"


def _texts(found: "Sequence[Activations]", unit: "Unit", most: int | None = None) -> Iterator[str]:
    """The first texts, up to so many tokens, shaded by the values of a unit on one scale."""
    left = sum(len(one.ids) for one in found) if most is None else most
    size = max(float(np.abs(unit.of(one)).max()) for one in found)
    for one in found:
        values = unit.of(one)[1:][: max(0, left)]  # without that of x<1>, which stands nowhere
        ranges = one.ranges[1 : 1 + len(values)]
        if len(values):
            yield shaded(one.text[: ranges[-1][1]], ranges, values.tolist(), size)
        left -= len(one.ids)


def _around(found: "SpanUnits", one: "Span") -> str:
    """A span between brackets, with what stands around it."""
    text = found.found[one.text].text
    begin, end = max(0, one.begin - _AROUND), one.end + _AROUND
    parts: Iterator[str] = (
        safe_text(part.replace("\n", "↵"))
        for part in (text[begin : one.begin], text[one.begin : one.end], text[one.end : end])
    )
    before, own, after = parts
    return f"{before}⟦{own}⟧{after}"
