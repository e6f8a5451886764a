"""charlm curves."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import DRAWN, Drawn
from charlm.cli.input.option_rules import Rules
from charlm.cli.input.run_names import completed
from charlm.cli.output.rows import show
from charlm.cli.output.terminal import say

if TYPE_CHECKING:
    from charlm.inspection.curves import Curves

RULES: Rules = DRAWN


def curves_cli(
    *,
    runs: list[str] | None = typer.Argument(
        None,
        help="Names of runs, or paths.  [default: the newest run]",
        metavar="RUN",
        show_default=False,
        autocompletion=completed,
    ),
    what: Literal["loss", "learning-rate", "gradient-norm"] = option("What is plotted.", "loss"),
    against: Literal["steps", "seconds", "tokens"] = option("What stands below it.", "steps"),
    root: options.Runs,
    printed: Drawn,
) -> None:
    """Plot how trainings went.

    Of one run the losses of training and validation are plotted, of several those of validation.
    Data, a page and an SVG file hold everything that was noted.

    \b
    charlm curves
    charlm curves old new --against seconds
    charlm curves old --what gradient-norm
    charlm curves old new --html curves.html
    """
    from charlm.checkpoints import directory
    from charlm.cli.output.reports.curves import report
    from charlm.inspection.curves import curves
    from charlm.inspection.views.curves import view

    paths = [directory.find_any(name, root.root).parent for name in runs or []]
    if not paths:
        there = directory.below(root.root)
        paths = there[:1] or [directory.find_any(None, root.root).parent]
        say(f"run: {paths[0].name}")
    found = [curves(path) for path in paths]
    show(
        printed,
        objects=lambda: map(_object, found),
        rows=lambda: (row for one in found for row in _rows(one)),
        lines=lambda colours: report(found, what, against, colours),
        view=lambda: view(found, against),
        svg=printed.svg,
    )


def _object(found: "Curves") -> dict[str, Any]:
    """A run as JSON."""
    run, unit, *columns = found
    names = found._fields[2:]
    rows = [
        [_counted(name, value) for value in column.tolist()]
        for name, column in zip(names, columns, strict=True)
    ]
    return {"run": run, "unit": unit, **dict(zip(names, rows, strict=True))}


def _rows(found: "Curves") -> Iterator[dict[str, Any]]:
    """A row for each time that something was noted."""
    run, unit, *columns = found
    names = found._fields[2:]
    for values in zip(*(column.tolist() for column in columns), strict=True):
        counted = (_counted(name, value) for name, value in zip(names, values, strict=True))
        yield {"run": run, "unit": unit, **dict(zip(names, counted, strict=True))}


def _counted(name: str, value: float) -> float | int | None:
    """A number of steps or tokens as what it is."""
    if math.isnan(value):
        return None
    return int(value) if name in ("step", "tokens") else value
