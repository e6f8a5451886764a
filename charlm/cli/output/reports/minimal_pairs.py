"""Accuracies on minimal pairs, for a person."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text
from charlm.inspection.views.pairs import most_wrong

if TYPE_CHECKING:
    from charlm.inspection.pairs import PairsResult

_COLUMNS = 80


def report(found: "PairsResult", show: int) -> Iterator[str]:
    """A table in lines of at most 80 columns, then the pairs that were most wrong."""
    yield f"{'category':<30} {'model':<10} {'pairs':>7} {'accuracy':>9}  95 % interval"
    category = None
    for one in found.accuracies:
        low, high = one.interval
        name = "" if one.category == category else cut(safe_text(one.category), 30)
        category = one.category
        yield (
            f"{name:<30} {one.model:<10} {one.pairs:>7,} {one.accuracy:>9.1%}  "
            f"{low:.1%} to {high:.1%}"
        )
    if wrong := most_wrong(found, show):
        yield ""
        yield f"{'nats':>8}  most wrong: good, then bad"
        for pair, nats, bad in wrong:
            yield f"{nats:8.2f}  {cut(safe_text(pair.good), _COLUMNS - 10)}"
            yield f"{'':8}  {cut(safe_text(bad), _COLUMNS - 10)}"
