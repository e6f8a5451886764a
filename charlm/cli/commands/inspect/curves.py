"""charlm curves."""

from typing import Literal

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import DRAWN, Drawn
from charlm.cli.input.option_rules import Rules
from charlm.cli.input.run_names import completed
from charlm.cli.output.rows import show
from charlm.cli.output.terminal import say
from charlm.fields.inside import curves_fields, curves_rows

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
        objects=lambda: map(curves_fields, found),
        rows=lambda: (row for one in found for row in curves_rows(one)),
        lines=lambda colours: report(found, what, against, colours),
        view=lambda: view(found, against),
        svg=printed.svg,
    )
