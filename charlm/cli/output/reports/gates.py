"""Gates along a text, for a person: tokens in a row, a bar below each for every figure."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.cli.output.plot import bar, painted
from charlm.display.columns import width
from charlm.display.safe_text import visible
from charlm.inspection.views.gates import means

if TYPE_CHECKING:
    from charlm.inspection.gates import GatesOfText

_COLUMNS, _NAMES = 80, 12
UP, DOWN = 1, 0  # colours of what is high and low (svg.COLOURS)


def report(
    found: "Sequence[GatesOfText]", layers: Sequence[int], colours: int = 0
) -> Iterator[str]:
    """Text after text, in lines of at most 80 columns."""
    for number, one in enumerate(found):
        if number:
            yield ""
        yield from _of_text(one, layers, colours)


def _of_text(found: "GatesOfText", layers: Sequence[int], colours: int) -> Iterator[str]:
    """Layer after layer, in lines of at most 80 columns."""
    rows = list(rows_of(found.activations.pieces, _COLUMNS - _NAMES))
    several = len(found.gates) and found.gates[0].mean.shape[1] > 1
    for layer in layers:
        if several:
            yield f"layer {layer + 1}"
        for first, cells in rows:
            yield f"{'':<{_NAMES}}{''.join(cells)}".rstrip()
            for gate in found.gates:
                for name, values in (
                    (gate.name, gate.mean),
                    ("  below 0.1", gate.left),
                    ("  above 0.9", gate.right),
                ):
                    shares = values[first : first + len(cells), layer].tolist()
                    drawn = bars(shares, cells, 0, 1, colours)
                    yield f"{name:<{_NAMES}}{drawn}"
            yield ""
        yield f"{'mean of all':<{_NAMES}}{'mean':>8} {'below 0.1':>10} {'above 0.9':>10}"
        for name, mean, left, right in means(found, layer):
            yield f"{name:<{_NAMES}}{mean:>8} {left:>10} {right:>10}"
        if layer != layers[-1]:
            yield ""


def bars(
    values: Sequence[float], cells: Sequence[str], low: float, high: float, colours: int
) -> str:
    """A bar as wide as each cell; what is above the middle has another colour than what is below.

    The middle is zero where there are values on both of its sides.
    """
    middle = 0.0 if low < 0 < high else (low + high) / 2
    drawn = (
        (bar(value, low, high) * width(cell), UP if value > middle else DOWN)
        for value, cell in zip(values, cells, strict=True)
    )
    return painted(drawn, colours)


def rows_of(pieces: Sequence[str], columns: int) -> Iterator[tuple[int, list[str]]]:
    """Tokens as cells in rows of so many columns, each with the number of its first token.

    Tokens of one character stand side by side, longer ones have a space behind them.
    """
    row: list[str] = []
    begin = used = 0
    for at, piece in enumerate(pieces):
        shown = visible(piece)[:columns]
        shown += "" if width(shown) == 1 else " "
        if used + width(shown) > columns and row:
            yield begin, row
            row, begin, used = [], at, 0
        row.append(shown)
        used += width(shown)
    if row:
        yield begin, row
