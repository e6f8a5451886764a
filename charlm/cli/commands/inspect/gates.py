"""charlm inspect gates."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import DRAWN_TEXTS, Drawn, Looked, model_of, texts_of
from charlm.cli.input.option_rules import Rules
from charlm.cli.output.rows import show
from charlm.errors import UsageError
from charlm.fields.inside import gates_fields

if TYPE_CHECKING:
    from charlm.inspection.gates import Gate, GatesOfText

RULES: Rules = DRAWN_TEXTS
_MOST = 2_000  # tokens


def gates_cli(
    *,
    texts: list[str] | None = typer.Argument(None, help="Texts to look at.", show_default=False),
    layer: int | None = option("Layer, 1 is the lowest.  [default: all]", None, least=1),
    given: Looked,
    decoding: options.Decoding,
    asked: options.Model,
    label: str | None = option("Condition on this label.", heading=options.MODEL),
    printed: Drawn,
) -> None:
    """Show how open the gates are at each token.

    Below each token stands the mean of each gate over the units of a layer, and which share of
    them is saturated: below 0.1 (closed) and above 0.9 (open). An update, input or relevance gate
    that is open takes in what comes; a forget gate that is open keeps what was.

    \b
    charlm inspect gates "The cat, which already ate, was full"
    charlm inspect gates --layer 1 --tsv "The cat"
    charlm inspect gates --html gates.html "The cat, which already ate, was full"
    """
    from charlm.cli.output.reports.gates import report
    from charlm.inspection.gates import gates
    from charlm.inspection.network import name_of
    from charlm.inspection.views.gates import view

    lm = model_of(asked, label)
    if layer is not None and layer > lm.shape.num_layers:
        raise UsageError(f"this model has {lm.shape.num_layers} layers, got --layer {layer}.")
    found = [gates(lm, text) for text in texts_of(lm, texts, given, decoding, most_tokens=_MOST)]
    layers = range(lm.shape.num_layers) if layer is None else [layer - 1]
    show(
        printed,
        objects=lambda: (gates_fields(one, layers) for one in found),
        rows=lambda: (row for at, one in enumerate(found, 1) for row in _rows(one, at, layers)),
        lines=lambda colours: report(found, layers, colours),
        view=lambda: view(found, layers).by(name_of(lm)),
        svg=printed.svg,
    )


def _rows(
    found: "GatesOfText", number: int, layers: "range | list[int]"
) -> Iterator[dict[str, Any]]:
    """A row for each token, layer and gate."""
    inside = found.activations
    for at, (piece, (start, end)) in enumerate(zip(inside.pieces, inside.ranges, strict=True)):
        for layer in layers:
            for gate in found.gates:
                token = {"text_number": number, "token_number": at, "token": piece}
                yield {
                    **token,
                    "start": start,
                    "end": end,
                    "layer": layer + 1,
                    "gate": gate.name,
                    **_figures(gate, at, layer),
                }


def _figures(gate: "Gate", at: int, layer: int) -> dict[str, float]:
    return {
        "mean": float(gate.mean[at, layer]),
        "share_below_0.1": float(gate.left[at, layer]),
        "share_above_0.9": float(gate.right[at, layer]),
    }
