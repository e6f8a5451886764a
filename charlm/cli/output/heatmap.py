"""A text shaded by surprisal, for a terminal; where there is no colour, bars stand below it."""

import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Self

from charlm.cli.output.terminal import background, colours
from charlm.display.columns import width
from charlm.display.safe_text import safe_text
from charlm.display.shading import (
    DARK,
    EITHER,
    LIGHT,
    Patch,
    Scale,
    Shade,
    Shaded,
    is_mark,
    patches,
)

BARS = "▁▂▃▄▅▆▇█"
NEWLINE = "↵"
_UNKNOWN = "?"
_NARROWEST = 2  # columns: a wide character


class Cell(NamedTuple):
    """One character and the marks upon it, as shown; ``step`` is None where it has no shade."""

    text: str
    step: int | None = None
    is_text: bool = False  # of the text itself, not of what is said about it
    is_unknown: bool = False
    bar: str = " "  # below each of its columns, the first of which may have a mark instead
    mark: str = ""


class HeatMap(NamedTuple):
    """How texts are shaded: on which scale, with how many colours (0 is none), how wide.

    ``pseudo`` figures are those of tokens given what stands on both sides, and are named so. Lines
    come without their ends, at most ``columns`` (2 or more) wide, safe to write as they are.
    """

    scale: Scale
    colours: int = 0
    columns: int = 80
    background: str | None = None
    pseudo: bool = False

    @classmethod
    def of_stdout(cls, scale: Scale, *, pseudo: bool = False) -> Self:
        """The one that stdout can show: in colour on a terminal."""
        return cls(
            scale=scale,
            colours=colours(sys.stdout),
            columns=max(_NARROWEST, shutil.get_terminal_size().columns),
            background=background(),
            pseudo=pseudo,
        )

    @property
    def unit(self) -> str:
        """What surprisal is in."""
        return "pseudo-bits" if self.pseudo else "bits"

    def legend(self) -> Iterator[str]:
        """What the shades or bars mean."""
        cells = [*_cells(f"{self.unit} ")]
        for step, label in enumerate(self.scale.labels):
            if self.colours:
                cells += (Cell(char, step) for char in f" {label} ")
            else:
                cells += _cells(f" {BARS[step]} {label} ")
        return self._drawn(cells, bars=False)

    def lines(
        self, text: str, tokens: Sequence[Shaded], bits: float | None = None
    ) -> Iterator[str]:
        """The text, shaded, and its figures; ``bits`` are those of all of it (None: a sum)."""
        yield from self.rows(text, tokens)
        yield from self.figures(text, tokens, bits)

    def rows(self, text: str, tokens: Sequence[Shaded]) -> Iterator[str]:
        """The text, shaded, <EOS> behind it; without colour each row has its bars below it."""
        cells: list[Cell] = []
        for patch in patches(text, tokens):
            self._add(cells, text, patch)
        return self._drawn(cells, bars=not self.colours)

    def figures(
        self, text: str, tokens: Sequence[Shaded], bits: float | None = None
    ) -> Iterator[str]:
        """What the text's surprisal is in all."""
        total = math.fsum(token.surprisal for token in tokens) if bits is None else bits
        ends = [token.surprisal for token in tokens if token.start == token.end]
        unknown = sum(token.is_unknown for token in tokens)
        parts = [f"{total:.2f} {self.unit} in total"]
        if text:
            parts.append(f"{total / len(text):.2f} per character")
        if ends:
            parts.append(f"<EOS> {math.fsum(ends):.2f}")
        if unknown:
            marked = "underlined" if self.colours else f"marked {_UNKNOWN}"
            parts.append(f"{unknown} unknown, {marked}")
        return self._drawn(_cells(", ".join(parts)), bars=False)

    def _add(self, cells: list[Cell], text: str, patch: Patch) -> None:
        """Append the cells of a patch."""
        step = self.scale.step(patch.bits) if patch.tokens else None
        bar = " " if step is None else BARS[step]
        if patch.start == patch.end:  # <EOS>
            cells.append(Cell(" "))
            cells += (Cell(char, step, bar=bar) for char in safe_text(patch.tokens[0].piece))
            return
        mark = _UNKNOWN if patch.is_unknown else ""
        for char in text[patch.start : patch.end]:
            if is_mark(char) and cells and cells[-1].is_text and cells[-1].text != NEWLINE:
                cells[-1] = cells[-1]._replace(text=cells[-1].text + char)
                continue
            for shown in _shown(char):
                cells.append(Cell(shown, step, True, patch.is_unknown, bar, mark))
                mark = ""

    def _drawn(self, cells: Iterable[Cell], *, bars: bool) -> Iterator[str]:
        for row in _rows(cells, self.columns):
            if bars:
                yield "".join(cell.text for cell in row)
                yield "".join(map(_bar, row)).rstrip()
            else:
                yield self._painted(row)

    def _painted(self, row: list[Cell]) -> str:
        return "".join(
            self._paint(style, "".join(cell.text for cell in cells))
            for style, cells in groupby(row, key=self._style)
        )

    def _style(self, cell: Cell) -> str:
        """The parameters of the escape code that a cell is written under; "" for none."""
        if not self.colours or (cell.step is None and not cell.is_text):
            return ""
        shades = {"light": LIGHT, "dark": DARK}.get(self.background or "", EITHER)
        codes = _codes(shades[cell.step or 0], self.colours)
        return ";".join((*codes, "4")) if cell.is_unknown else ";".join(codes)

    def _paint(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style else text


def _cells(text: str) -> Iterator[Cell]:
    return map(Cell, text)


def _shown(char: str) -> str:
    """What a character of a text is shown as."""
    if char in "\n\t":
        return NEWLINE if char == "\n" else "\\t"
    return f"\\u{ord(char):04x}" if char == NEWLINE else safe_text(char)


def _rows(cells: Iterable[Cell], columns: int) -> Iterator[list[Cell]]:
    """The cells in rows: a row ends after a newline, and where it is full after a space in it."""
    row: list[Cell] = []
    used = 0
    for cell in cells:
        size = width(cell.text)
        while row and used + size > columns:
            breaks = [at for at, before in enumerate(row, 1) if before.text == " "]
            at = breaks[-1] if breaks else len(row)
            yield row[:at]
            row = row[at:]
            used = sum(width(kept.text) for kept in row)
        row.append(cell)
        used += size
        if cell.is_text and cell.text == NEWLINE:
            yield row
            row, used = [], 0
    if row:
        yield row


def _bar(cell: Cell) -> str:
    """What stands below a cell, as wide as it."""
    size = width(cell.text)
    return (cell.mark + cell.bar * size)[:size]


def _codes(shade: Shade | None, colours: int) -> tuple[str, ...]:
    """Parameters for a terminal of so many colours; none where it keeps its own."""
    if shade is None:
        return ()
    return (_many(shade) if colours > 256 else _few(shade),)


def _many(shade: Shade) -> str:
    """Parameters for a terminal of 2**24 colours."""
    ink, background = (
        ";".join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
        for colour in (shade.ink, shade.background)
    )
    return f"38;2;{ink};48;2;{background}"


def _few(shade: Shade) -> str:
    """Parameters for a terminal of 256 colours."""
    return f"38;5;{shade.ink_number};48;5;{shade.number}"
