"""charlm inspect pairs."""

from typing import TYPE_CHECKING, Any

import typer

from charlm.cli import options
from charlm.cli.input.beginning import whole_texts_of
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import DRAWN, Drawn, model_of
from charlm.cli.input.option_rules import Rules
from charlm.cli.output.rows import show

if TYPE_CHECKING:
    from charlm.inspection.pairs import Accuracy

RULES: Rules = DRAWN


def pairs_cli(
    *,
    file: str = typer.Argument(help="File of pairs; - is standard input."),
    worst: int = option(
        "Number of pairs to show: those it was most wrong on.", 3, "--show", least=0
    ),
    n_best: bool = option(
        "Read lines of id and text; the first text of each id is the good one.",
        False,
        "--nbest",
        heading=options.INPUT,
    ),
    decoding: options.Decoding,
    asked: options.Model,
    label: str | None = option("Condition on this label.", heading=options.MODEL),
    printed: Drawn,
) -> None:
    """Measure how often the good text of two is the likelier one.

    A line holds the good text, a tab and the bad one, and may hold a category after another tab;
    or it is a JSON object with sentence_good and sentence_bad, as in BLiMP. With --nbest a line
    holds an id, a tab and a text, or is a JSON object with id and text, and the first text of an id
    has to be likelier than all others. The intervals are 95 % (Wilson). Unigrams of the training
    text, and what the network is mixed with, stand beside.

    \b
    charlm inspect pairs minimal.tsv
    charlm inspect pairs minimal.tsv --show 10
    charlm inspect pairs --nbest hypotheses.tsv
    """
    from charlm.cli.output.reports.minimal_pairs import report
    from charlm.inspection.network import name_of
    from charlm.inspection.pairs import judge, parse, parse_groups
    from charlm.inspection.views.pairs import view

    lm = model_of(asked, label)
    lines = whole_texts_of(file, "line", decoding)
    found = judge(lm, (parse_groups if n_best else parse)(lines))
    show(
        printed,
        objects=lambda: map(_row, found.accuracies),
        rows=lambda: map(_row, found.accuracies),
        lines=lambda _: report(found, worst),
        view=lambda: view(found, worst).by(name_of(lm)),
        svg=printed.svg,
    )


def _row(one: "Accuracy") -> dict[str, Any]:
    low, high = one.interval
    return {
        "category": one.category,
        "model": one.model,
        "pairs": one.pairs,
        "accuracy": one.accuracy,
        "interval_low": low,
        "interval_high": high,
    }
