"""Gates along a text, for a person: tokens in a row, a bar below each for every figure."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.cli.output.plot import bar
from charlm.display.columns import width
from charlm.display.safe_text import visible
from charlm.inspection.views.gates import means

if TYPE_CHECKING:
    from charlm.inspection.gates import GatesOfText

_COLUMNS, _NAMES = 80, 12


def report(found: "Sequence[GatesOfText]", layers: Sequence[int]) -> Iterator[str]:
    """Text after text, in lines of at most 80 columns."""
    for number, one in enumerate(found):
        if number:
            yield ""
        yield from _of_text(one, layers)


def _of_text(found: "GatesOfText", layers: Sequence[int]) -> Iterator[str]:
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
                    drawn = "".join(
                        bar(float(values[first + at, layer]), 0, 1) * width(cell)
                        for at, cell in enumerate(cells)
                    )
                    yield f"{name:<{_NAMES}}{drawn}"
            yield ""
        yield f"{'mean of all':<{_NAMES}}{'mean':>8} {'below 0.1':>10} {'above 0.9':>10}"
        for name, mean, left, right in means(found, layer):
            yield f"{name:<{_NAMES}}{mean:>8} {left:>10} {right:>10}"
        if layer != layers[-1]:
            yield ""


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
