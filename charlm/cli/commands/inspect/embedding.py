"""charlm inspect embedding."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import DRAWN, Drawn, model_of
from charlm.cli.input.option_rules import Rules
from charlm.cli.output.rows import show
from charlm.display.safe_text import visible

if TYPE_CHECKING:
    from charlm.inspection.embedding import Neighbourhood

RULES: Rules = DRAWN


def embedding_cli(
    *,
    text: str = typer.Argument(help="A type: a word, or a character.", metavar="TYPE"),
    top: int = option("Number of neighbours.", 10, least=2),
    asked: options.Model,
    printed: Drawn,
) -> None:
    """List the types that are nearest to one.

    Near is what has a high cosine: its vector points in the same direction. x and y are a map of
    the type and its neighbours, by their two largest principal components. A page has a map of the
    first types of the vocabulary as well.

    \b
    charlm inspect embedding --model chars e
    charlm inspect embedding --model chars e --top 20 --tsv
    charlm inspect embedding --model chars e --html map.html
    """
    from charlm.inspection.embedding import neighbourhood
    from charlm.inspection.views.embedding import view

    lm = model_of(asked)
    found = neighbourhood(lm, text, top=top)
    show(
        printed,
        objects=lambda: _rows(found),
        rows=lambda: _rows(found),
        lines=lambda _: _lines(found),
        view=lambda: view(found).by(lm.name),
        svg=printed.svg,
    )


def _lines(found: "Neighbourhood") -> Iterator[str]:
    """A table for a person."""
    yield f"{'cosine':>8} {'x':>9} {'y':>9}  type"
    for row in _rows(found):
        yield f"{row['cosine']:8.4f} {row['x']:9.3f} {row['y']:9.3f}  {visible(row['token'])}"
    yield f"x and y hold {sum(found.map.shares):.0%} of what varies among these"


def _rows(found: "Neighbourhood") -> list[dict[str, Any]]:
    places = found.map
    columns = zip(places.ids, places.pieces, found.cosines, places.at.tolist(), strict=True)
    return [
        {"id": index, "token": piece, "cosine": cosine, "x": x, "y": y}
        for index, piece, cosine, (x, y) in columns
    ]
