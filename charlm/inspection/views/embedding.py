"""The embedding of a model, to be seen."""

from typing import TYPE_CHECKING

from charlm.display.drawing.blocks import paragraph, table
from charlm.display.drawing.scatter import Point, drawn
from charlm.display.drawing.svg import Drawing
from charlm.display.drawing.view import View
from charlm.display.safe_text import visible

if TYPE_CHECKING:
    from charlm.inspection.embedding import Map, Neighbourhood

_MEANT = (
    "The maps are by the two largest principal components. A name without room is told where its "
    "point is pointed at."
)


def plane(found: "Map", title: str, chosen: int | None = None) -> Drawing:
    """A map of types, and how much of what varies it holds."""
    columns = zip(found.ids, found.pieces, found.at.tolist(), strict=True)
    points = [Point(piece, x, y, index == chosen) for index, piece, (x, y) in columns]
    return drawn(points, f"{title} ({sum(found.shares):.0%} of what varies)")


def of_map(found: "Map") -> View:
    """A map alone."""
    return View("A map of types", [plane(found, f"{len(found.ids)} types"), paragraph(_MEANT)])


def view(found: "Neighbourhood") -> View:
    """A type among its neighbours and among others, and how near they are."""
    rows = [
        (visible(piece), f"{cosine:.4f}", f"{x:.3f}", f"{y:.3f}")
        for piece, cosine, (x, y) in zip(
            found.map.pieces, found.cosines, found.map.at.tolist(), strict=True
        )
    ]
    chosen, name = found.map.ids[0], visible(found.map.pieces[0])
    return View(
        f"The types nearest to {name}",
        [
            paragraph(
                f"Near is what has a high cosine: its vector points in the same direction. {_MEANT}"
            ),
            plane(found.map, f"{name} and its neighbours", chosen),
            plane(found.wide, f"the {len(found.wide.ids)} first types", chosen),
            table(("type", "cosine", "x", "y"), rows),
        ],
    )
