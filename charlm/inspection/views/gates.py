"""Gates along a text, to be seen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlm.display.drawing.blocks import paragraph, table
from charlm.display.drawing.cells import Row, along
from charlm.display.drawing.svg import Drawing
from charlm.display.drawing.view import View
from charlm.display.safe_text import safe_text

if TYPE_CHECKING:
    from charlm.inspection.gates import GatesOfText

_LOW = 11  # pixels of what is saturated
_MEANT = (
    "Below each token stands the mean of each gate over the units of a layer, and which share of "
    "them is saturated: below 0.1 (closed) and above 0.9 (open). A full cell is 1. An update, "
    "input or relevance gate that is open takes in what comes; a forget gate that is open keeps "
    "what was."
)


def view(found: "Sequence[GatesOfText]", layers: Sequence[int] | None = None) -> View:
    """Pictures of texts, layer by layer; all layers where none is named."""
    blocks: list[Drawing | str] = [paragraph(_MEANT)]
    for one in found:
        depth = one.gates[0].mean.shape[1]
        blocks.append(paragraph(f"“{_cut(one.activations.text)}”"))
        for layer in range(depth) if layers is None else layers:
            if depth > 1:
                blocks.append(paragraph(f"layer {layer + 1}"))
            rows = [
                row
                for gate in one.gates
                for row in (
                    Row(gate.name, gate.mean[:, layer].tolist()),
                    Row("below 0.1", gate.left[:, layer].tolist(), _LOW),
                    Row("above 0.9", gate.right[:, layer].tolist(), _LOW),
                )
            ]
            blocks += along(one.activations.pieces, rows)
            blocks.append(
                table(("mean of all", "mean", "below 0.1", "above 0.9"), means(one, layer))
            )
    return View("Gates along a text", blocks)


def means(found: "GatesOfText", layer: int) -> list[tuple[str, str, str, str]]:
    """Each gate over all tokens: its mean, and the shares that are saturated."""
    return [
        (
            gate.name,
            f"{gate.mean[:, layer].mean():.3f}",
            f"{gate.left[:, layer].mean():.1%}",
            f"{gate.right[:, layer].mean():.1%}",
        )
        for gate in found.gates
    ]


def _cut(text: str) -> str:
    text = safe_text(text.replace("\n", "↵"))
    return text if len(text) <= 200 else f"{text[:199]}…"
