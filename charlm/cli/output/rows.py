"""What was found in the form that was asked for: JSON Lines, a table, or lines and a page."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from charlm.cli.input.records import as_cell
from charlm.cli.output.terminal import colours, out, out_json, out_painted

if TYPE_CHECKING:
    from pathlib import Path

    from charlm.cli.input.looked_at import Printed
    from charlm.display.drawing.view import View


Objects = Iterable[Mapping[str, Any]]


def show(
    printed: "Printed",
    *,
    objects: Callable[[], Objects],
    rows: Callable[[], Objects],
    lines: Callable[[int], Iterable[str]],
    view: Callable[[], "View"],
    svg: "Path | None" = None,
) -> None:
    """Write what was asked for, and make nothing else; lines know how many colours there are."""
    if printed.json:
        write_json(objects())
        return
    if printed.tsv:
        write_tsv(rows())
        return
    for line in lines(colours(sys.stdout)):
        out_painted(line)
    if printed.html is not None:
        view().write(printed.html)
    if svg is not None:
        svg.write_text(view().svg, encoding="utf-8", newline="\n")


def write_json(objects: Iterable[Mapping[str, Any]]) -> None:
    """Objects on lines of their own; a number that is none (nan) is null."""
    for one in objects:
        out_json(_finite(one))


def write_tsv(rows: Iterable[Mapping[str, Any]]) -> None:
    """A header and a line for each row; all rows have the same names."""
    for number, row in enumerate(rows):
        if not number:
            out("\t".join(row) + "\n")
        out("\t".join(as_cell(_finite(value)) for value in row.values()) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
