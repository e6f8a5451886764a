"""The embedding of a model, to be seen."""

from typing import TYPE_CHECKING

from charlm.display.drawing.blocks import paragraph, table
from charlm.display.drawing.scatter import Point, drawn
from charlm.display.drawing.svg import Drawing
from charlm.display.drawing.view import View
from charlm.display.safe_text import visible

if TYPE_CHECKING:
    from charlm.inspection.embedding import Map, Neighbourhood


def plane(found: "Map", chosen: int | None = None) -> Drawing:
    """A map of types."""
    columns = zip(found.ids, found.pieces, found.at.tolist(), strict=True)
    points = [Point(piece, x, y, index == chosen) for index, piece, (x, y) in columns]
    return drawn(points, f"A map of {len(points)} types by their two largest principal components")


def of_map(found: "Map") -> View:
    """A map alone."""
    return View("A map of types", [plane(found), paragraph(f"{_held(found)} these.")])


def view(found: "Neighbourhood") -> View:
    """A type among its neighbours and among others, and how near they are."""
    rows = [
        (visible(piece), f"{cosine:.4f}", f"{x:.3f}", f"{y:.3f}")
        for piece, cosine, (x, y) in zip(
            found.map.pieces, found.cosines, found.map.at.tolist(), strict=True
        )
    ]
    return View(
        f"The types nearest to {visible(found.map.pieces[0])}",
        [
            paragraph(
                "Near is what has a high cosine: its vector points in the same direction. On the "
                f"left the type (the rhomb) and its neighbours, by principal components, which "
                f"hold {sum(found.map.shares):.0%} of what varies among them; on the right the "
                f"{len(found.wide.ids)} first types of the vocabulary ({sum(found.wide.shares):.0%}"
                "). A name without room is told where its point is pointed at."
            ),
            plane(found.map, found.map.ids[0]),
            plane(found.wide, found.map.ids[0]),
            table(("type", "cosine", "x", "y"), rows),
        ],
    )


def _held(found: "Map") -> str:
    return f"x and y hold {sum(found.shares):.0%} of what varies among"
