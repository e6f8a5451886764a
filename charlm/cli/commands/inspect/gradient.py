"""charlm inspect gradient."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import DRAWN, Drawn, Looked, model_of, texts_of
from charlm.cli.input.option_rules import Rules
from charlm.cli.input.run_names import completed
from charlm.cli.output.rows import show

if TYPE_CHECKING:
    from charlm.inspection.curves import Clipping
    from charlm.inspection.gradient import ByDistance, Gradient

RULES: Rules = DRAWN
_MOST = 4_000  # tokens


def gradient_cli(
    *,
    models: list[str] | None = typer.Argument(
        None,
        help="Names of runs, or paths.  [default: the newest finished run]",
        metavar="MODEL",
        show_default=False,
        autocompletion=completed,
    ),
    distances: int = option("Look back this many tokens.", 200, least=2),
    positions: int = option("Number of positions of the text to average over.", 128, least=1),
    seed: int = option("Random seed.", 0, least=0),
    given: Looked,
    decoding: options.Decoding,
    runs: options.Runs,
    printed: Drawn,
) -> None:
    """Plot how far back the gradient of a loss reaches.

    What is plotted is the norm of d loss<t> / d x<t-k>, by the distance k, and of d loss<t> /
    d state<t-k>: means over positions of the text. Several models stand in one picture. The text
    is --file or what is piped in.

    \b
    charlm inspect gradient --file corpus.txt
    charlm inspect gradient words chars --distances 50 --file corpus.txt
    charlm inspect gradient words chars --html gradient.html --file corpus.txt
    """
    from charlm.cli.output.reports.gradient import report
    from charlm.inspection.curves import clipping
    from charlm.inspection.gradient import Gradients, gradient
    from charlm.inspection.views.gradient import view

    each: list[tuple[Gradient, Clipping | None]] = []
    texts: list[str] | None = None
    named = [options.Model(model=name, root=runs.root) for name in models or []]
    for asked in named or [options.Model(root=runs.root)]:
        lm = model_of(asked)
        if texts is None:
            texts = texts_of(lm, None, given, decoding, most_tokens=_MOST)
        one = gradient(lm, texts, distances=distances, positions=positions, seed=seed)
        each.append((one, clipping(lm.checkpoint.path.parent)))
    found = Gradients(tuple(one for one, _ in each), tuple(clipped for _, clipped in each))
    show(
        printed,
        objects=lambda: (_object(*one) for one in each),
        rows=lambda: (row for one in found.models for row in _rows(one)),
        lines=lambda colours: report(found, colours),
        view=lambda: view(found),
        svg=printed.svg,
    )


def _object(found: "Gradient", clipped: "Clipping | None") -> dict[str, Any]:
    """One model as JSON."""
    return {
        "model": found.model,
        "positions": found.positions,
        "inputs": _by_distance(found.inputs),
        "states": _by_distance(found.states),
        "clipping": None if clipped is None else clipped._asdict(),
    }


def _by_distance(found: "ByDistance") -> dict[str, Any]:
    return {
        "mean": found.mean.tolist(),
        "lower_quartile": found.lower.tolist(),
        "median": found.median.tolist(),
        "upper_quartile": found.upper.tolist(),
        "positions": found.number.tolist(),
        "half_life": found.half_life,
        "half_within": found.half_within,
    }


def _rows(found: "Gradient") -> Iterator[dict[str, Any]]:
    """A row for each distance, of inputs and of states."""
    for of, one in (("input", found.inputs), ("state", found.states)):
        columns = (one.mean, one.lower, one.median, one.upper, one.number)
        for distance, values in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            names = ("mean", "lower_quartile", "median", "upper_quartile", "positions")
            yield {
                "model": found.model,
                "of": of,
                "distance": distance,
                **dict(zip(names, values, strict=True)),
            }
