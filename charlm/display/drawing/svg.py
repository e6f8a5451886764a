"""SVG: a drawing that stands in a page or a notebook, or is a file of its own.

What is drawn takes the colour of the text around it, and lines have colours of one lightness in
the middle, so that a drawing is read on white paper and on a dark screen. No colour is needed:
lines differ in dashes and marks.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from charlm.display.safe_text import safe_text

# Of a relative luminance of 0.2: 4.2 to white and more than 4 to a dark screen (WCAG 2).
COLOURS = ("#2978ee", "#e04412", "#108f33", "#a05cd6", "#0b8a8a", "#d63e99", "#8f7b10", "#747c88")
DASHES = ("", "6 3", "2 3", "9 3 2 3", "12 4", "4 2 1 2", "1 4", "9 2 2 2 2 2")
FONT = "system-ui,sans-serif"
_EDGE = 8  # pixels around the drawings of a file
LETTER = 5.6  # pixels of a letter of 11 pixels, about


class Drawing(NamedTuple):
    """Elements of SVG on a sheet of so many pixels, and what it shows in words."""

    width: int
    height: int
    body: str
    label: str


def inline(drawing: Drawing) -> str:
    """A drawing as a piece of HTML: as wide as there is room, up to half as wide again."""
    width, height = drawing.width, drawing.height
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{_safe(drawing.label)}" '
        f'style="width:100%;max-width:{width * 3 // 2}px;height:auto" font-family="{FONT}" '
        f'font-size="11" fill="currentColor">{drawing.body}</svg>\n'
    )


def standalone(drawings: Sequence[Drawing]) -> str:
    """Drawings below one another as a file of SVG, on paper of the scheme that is preferred."""
    width = max((one.width for one in drawings), default=1)
    parts, at = [], 0
    for one in drawings:
        parts.append(f'<g transform="translate(0,{at})">{one.body}</g>\n')
        at += one.height
    width, at = width + 2 * _EDGE, at + 2 * _EDGE
    label = _safe(". ".join(one.label for one in drawings))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-_EDGE} {-_EDGE} {width} {at}" '
        f'width="{width * 3 // 2}" height="{at * 3 // 2}" role="img" aria-label="{label}" '
        f'font-family="{FONT}" font-size="11" fill="currentColor">\n'
        "<style>svg{color:#121212}.paper{fill:#fff}@media screen and (prefers-color-scheme:dark)"
        "{svg{color:#eee}.paper{fill:#1c1c1c}}</style>\n"
        f'<rect class="paper" x="{-_EDGE}" y="{-_EDGE}" width="{width}" height="{at}"/>\n'
        f"{''.join(parts)}</svg>\n"
    )


def words(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 0, quiet: bool = False
) -> str:
    """A text, escaped, whose line begins (or ends, or has its middle) at a place."""
    more = f' text-anchor="{anchor}"' if anchor != "start" else ""
    more += f' font-size="{size}"' if size else ""
    more += ' fill-opacity=".75"' if quiet else ""
    return f'<text x="{number(x)}" y="{number(y)}"{more}>{_safe(text)}</text>'


def hint(text: str) -> str:
    """What is told where somebody points at the element that this stands in."""
    return f"<title>{_safe(text)}</title>"


def mark(which: int, x: float, y: float, told: str = "") -> str:
    """The mark of a line, one of MARKS as a shape, and what it tells who points at it."""
    colour = COLOURS[which % len(COLOURS)]
    paint = (
        f'fill="{colour}"'
        if which % 2 == 0
        else f'fill="none" stroke="{colour}" stroke-width="1.5"'
    )
    inner = hint(told) if told else ""
    form = which // 2 % 4
    if form == 0:
        shape = f'<circle cx="{number(x)}" cy="{number(y)}" r="3.2" {paint}>{inner}</circle>'
    else:
        path = ("M0-4l4 7h-8z", "M-3-3h6v6h-6z", "M0-4.5l4 4.5l-4 4.5l-4-4.5z")[form - 1]
        shape = (
            f'<path transform="translate({number(x)},{number(y)})" d="{path}" {paint}>'
            f"{inner}</path>"
        )
    return shape


def stroke(which: int) -> str:
    """The attributes of a line: its colour and dashes."""
    dashes = DASHES[which % len(DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    colour = COLOURS[which % len(COLOURS)]
    return f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"{dashed}'


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def fitting(text: str, pixels: float) -> str:
    """A name that has so many pixels: what is longer loses its end."""
    text = safe_text(text)
    most = max(1, int(pixels / LETTER))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _safe(text: str) -> str:
    return escape(safe_text(text))
