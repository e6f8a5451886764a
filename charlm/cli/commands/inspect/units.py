"""charlm inspect units."""

import re
from typing import TYPE_CHECKING, Any, Literal

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import TEXTS, Looked, Printed, model_of, texts_of
from charlm.cli.input.option_rules import Apart, OneOf, Rules
from charlm.cli.output.rows import show
from charlm.errors import UsageError
from charlm.fields.inside import following_rows, unit_rows

if TYPE_CHECKING:
    from charlm.inspection.features import Feature
    from charlm.inspection.units import Following, SpanUnits, Unit, UnitAlong

RULES: Rules = (
    *TEXTS,
    OneOf("--unit", "--span", "--feature"),
    Apart("--unit", ("--top", "--state", "--layer"), "the unit is chosen already"),
)
_MOST = 5_000  # tokens


def units_cli(
    *,
    texts: list[str] | None = typer.Argument(None, help="Texts to look at.", show_default=False),
    feature: list[str] | None = option(
        "Find units that follow the matches of this regular expression; may be repeated.",
        metavar="REGEX",
    ),
    span: str | None = option("Find units that are on where this first stands in the text."),
    unit: str | None = option(
        "Show this unit along the text: its state, layer and number, such as h1.37."
    ),
    top: int = option("Number of units, or of other spans, to list.", 3, least=1),
    state: Literal["h", "c"] | None = option("State whose units are looked at.  [default: all]"),
    layer: int | None = option("Layer, 1 is the lowest.  [default: all]", None, least=1),
    given: Looked,
    decoding: options.Decoding,
    asked: options.Model,
    label: str | None = option("Condition on this label.", heading=options.MODEL),
    printed: Printed,
) -> None:
    """Find units that follow a feature of the text.

    A unit is one number of the state: h1.37 is number 37 of h in layer 1. Features are quotes,
    brackets and their depth, the position in the line, newlines, capitals, digits, the ends of
    words, and regular expressions; units are ranked by the size of their correlation with each.
    With --span, units that are on (above 0.3) in it and off around it, and where else they are.

    \b
    charlm inspect units --file corpus.txt
    charlm inspect units --feature "[aeiou]" --file corpus.txt
    charlm inspect units --span "the" --file corpus.txt
    charlm inspect units --unit h1.3 "The apple and pear salad"
    charlm inspect units --html units.html --file corpus.txt
    """
    from charlm.inspection import units
    from charlm.inspection.network import name_of

    lm = model_of(asked, label)
    chosen = None if unit is None else _unit(unit)
    features = _features(feature)
    found = units.read(lm, texts_of(lm, texts, given, decoding, most_tokens=_MOST))
    where: dict[str, Any] = {"state": state, "layer": None if layer is None else layer - 1}
    if chosen is not None:
        _along(units.unit_along(found, chosen), printed, name_of(lm))
    elif span is not None:
        _span(units.of_span(found, span, top=top, **where), printed, name_of(lm))
    else:
        _following(units.following(found, features, top=top, **where), printed, name_of(lm))


def _unit(text: str) -> "Unit":
    """The unit of h1.37. Raises UsageError."""
    from charlm.inspection.units import Unit

    parts = re.fullmatch(r"([hc])([1-9][0-9]{0,3})\.([0-9]{1,6})", text)
    if parts is None:
        raise UsageError(f"--unit is a state, a layer and a number, such as h1.37, got {text!r}.")
    return Unit(parts[1], int(parts[2]) - 1, int(parts[3]))


def _features(patterns: list[str] | None) -> "dict[str, Feature]":
    from charlm.inspection.features import FEATURES, expression

    if patterns is None:
        return dict(FEATURES)
    return {pattern: expression(pattern) for pattern in patterns}


def _along(found: "UnitAlong", printed: Printed, model: str) -> None:
    """Write the values of a unit at each token."""
    from charlm.cli.output.reports.units import along
    from charlm.inspection.views import units as views

    show(
        printed,
        objects=lambda: unit_rows(found),
        rows=lambda: unit_rows(found),
        lines=lambda colours: along(found, colours),
        view=lambda: views.along(found).by(model),
    )


def _following(found: "Following", printed: Printed, model: str) -> None:
    """Write the units that follow features."""
    from charlm.cli.output.reports.units import following
    from charlm.inspection.views import units as views

    rows = following_rows(found)
    show(
        printed,
        objects=lambda: rows,
        rows=lambda: rows,
        lines=lambda colours: following(found, colours),
        view=lambda: views.following(found).by(model),
    )


def _span(found: "SpanUnits", printed: Printed, model: str) -> None:
    """Write the units of a span, and where else they are on."""
    from charlm.cli.output.reports.units import span_lines
    from charlm.inspection.views import units as views

    spans = [
        {
            "text_number": span.text + 1,
            "start": span.begin,
            "end": span.end,
            "text": found.found[span.text].text[span.begin : span.end],
            "units_on": span.on,
        }
        for span in (found.span, *found.others)
    ]
    names = [str(unit) for unit in found.units]
    show(
        printed,
        objects=lambda: [{"units": names, "span": spans[0], "others": spans[1:]}],
        rows=lambda: spans,
        lines=lambda _: span_lines(found),
        view=lambda: views.span(found).by(model),
    )
