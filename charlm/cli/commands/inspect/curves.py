"""charlm curves."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import FORMS, Printed
from charlm.cli.input.option_rules import Rules
from charlm.cli.input.run_names import completed
from charlm.cli.output.rows import write_json, write_tsv
from charlm.cli.output.terminal import out, say

if TYPE_CHECKING:
    from charlm.inspection.curves import Curves

RULES: Rules = FORMS


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
    printed: Printed,
) -> None:
    """Plot how trainings went.

    Of one run the losses of training and validation are plotted, of several those of validation.
    The data hold everything that was noted.

    \b
    charlm curves
    charlm curves old new --against seconds
    charlm curves old --what gradient-norm
    """
    from charlm.checkpoints import directory
    from charlm.inspection.curves import curves

    paths = [directory.find_any(name, root.root).parent for name in runs or []]
    if not paths:
        there = directory.below(root.root)
        paths = there[:1] or [directory.find_any(None, root.root).parent]
        say(f"run: {paths[0].name}")
    found = [curves(path) for path in paths]
    if printed.json:
        write_json(_object(one) for one in found)
    elif printed.tsv:
        write_tsv(row for one in found for row in _rows(one))
    else:
        from charlm.cli.output.reports.curves import report

        for line in report(found, what, against):
            out(f"{line}\n")


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
