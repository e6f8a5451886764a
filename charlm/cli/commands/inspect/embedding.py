"""charlm inspect embedding."""

from typing import TYPE_CHECKING, Any

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import FORMS, Printed, model_of
from charlm.cli.input.option_rules import Rules
from charlm.cli.output.rows import write_json, write_tsv
from charlm.cli.output.terminal import out
from charlm.display.safe_text import visible

if TYPE_CHECKING:
    from charlm.inspection.embedding import Map

RULES: Rules = FORMS


def embedding_cli(
    *,
    text: str = typer.Argument(help="A type: a word, or a character.", metavar="TYPE"),
    top: int = option("Number of neighbours.", 10, least=2),
    asked: options.Model,
    printed: Printed,
) -> None:
    """List the types that are nearest to one.

    Near is what has a high cosine: its vector points in the same direction. x and y are a map of
    the type and its neighbours, by their two largest principal components.

    \b
    charlm inspect embedding --model chars e
    charlm inspect embedding --model chars e --top 20 --tsv
    """
    from charlm.inspection.embedding import nearest, plane, type_of

    lm = model_of(asked)
    chosen = type_of(lm, text)
    found = nearest(lm, text, top=top)
    places = plane(lm, [chosen, *(one.id for one in found)])
    cosines = [1.0, *(one.cosine for one in found)]
    if printed.is_data:
        rows = _rows(cosines, places)
        (write_json if printed.json else write_tsv)(rows)
        return
    out(f"{'cosine':>8} {'x':>9} {'y':>9}  type\n")
    for row in _rows(cosines, places):
        out(f"{row['cosine']:8.4f} {row['x']:9.3f} {row['y']:9.3f}  {visible(row['token'])}\n")
    out(f"x and y hold {sum(places.shares):.0%} of what varies among these\n")


def _rows(cosines: list[float], places: "Map") -> list[dict[str, Any]]:
    columns = zip(places.ids, places.pieces, cosines, places.at.tolist(), strict=True)
    return [
        {"id": index, "token": piece, "cosine": cosine, "x": x, "y": y}
        for index, piece, cosine, (x, y) in columns
    ]
