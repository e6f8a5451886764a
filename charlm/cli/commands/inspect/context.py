"""charlm inspect context."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.looked_at import DRAWN_TEXTS, Drawn, Looked, model_of, texts_of
from charlm.cli.input.option_rules import Rules
from charlm.cli.output.rows import show
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.inspection.context import ContextUse

RULES: Rules = DRAWN_TEXTS
_MOST = 20_000  # tokens


def context_cli(
    *,
    texts: list[str] | None = typer.Argument(None, help="Texts to look at.", show_default=False),
    beyond: Literal["cut", "shuffle", "replace"] = option(
        "What becomes of what lies further back.", "cut"
    ),
    lengths: str = option("Numbers of tokens that are left.", "1,2,5,10,20,50,100,200,500,1000"),
    positions: int | None = option(
        "Number of positions to average over.  [default: by the size of the network]", least=1
    ),
    seed: int = option("Random seed.", 0, least=0),
    given: Looked,
    decoding: options.Decoding,
    asked: options.Model,
    label: str | None = option("Condition on this label.", heading=options.MODEL),
    printed: Drawn,
) -> None:
    """Measure how much context a model uses.

    What lies more than n tokens back is cut, shuffled or replaced by other text, and the loss
    rises (Khandelwal et al. 2018). n-grams and a cache, where the model has them, stand beside
    the network.

    \b
    charlm inspect context --file corpus.txt
    charlm inspect context --beyond shuffle --lengths 5,50 --file corpus.txt
    charlm inspect context --html context.html --file corpus.txt
    """
    from charlm.cli.output.reports.context import report
    from charlm.inspection.context import context_use
    from charlm.inspection.network import name_of
    from charlm.inspection.views.context import view

    lm = model_of(asked, label)
    found = context_use(
        lm,
        texts_of(lm, texts, given, decoding, most_tokens=_MOST),
        beyond=beyond,
        lengths=_numbers(lengths),
        positions=positions,
        seed=seed,
    )
    show(
        printed,
        objects=lambda: [_object(found)],
        rows=lambda: _rows(found),
        lines=lambda colours: report(found, colours),
        view=lambda: view(found).by(name_of(lm)),
        svg=printed.svg,
    )


def _numbers(text: str) -> list[int]:
    """The numbers of 1,2,5. Raises UsageError."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1 or found[-1] > 100_000:
        raise UsageError(f"--lengths is numbers from 1 to 100000, such as 1,10,100, got {text!r}.")
    return found


def _object(found: "ContextUse") -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "beyond": found.beyond,
        "tokens_left": list(found.lengths),
        "positions": found.positions,
        "models": [
            {
                "model": one.model,
                "loss_nats_whole": one.whole,
                "loss_nats": one.loss.tolist(),
                "rise_nats": one.rise.tolist(),
                "standard_error_nats": one.error.tolist(),
            }
            for one in found.models
        ],
    }


def _rows(found: "ContextUse") -> Iterator[dict[str, Any]]:
    """A row for each number of tokens and each model."""
    for one in found.models:
        columns = (found.lengths, one.loss.tolist(), one.rise.tolist(), one.error.tolist())
        for n, loss, rise, error in zip(*columns, strict=True):
            yield {
                "model": one.model,
                "beyond": found.beyond,
                "tokens_left": n,
                "loss_nats": loss,
                "rise_nats": rise,
                "standard_error_nats": error,
            }
