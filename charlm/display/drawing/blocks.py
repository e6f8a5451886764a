"""Pieces of HTML that need no style sheet: paragraphs, tables, texts shaded by a value."""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from charlm.display.html_page import shown
from charlm.display.safe_text import safe_text, visible

_CELL = "padding:.15em .75em;text-align:right;white-space:nowrap"
_FIRST = "padding:.15em .75em .15em 0;text-align:left;min-width:5em"
_MOST = 4  # steps of a shade, in either direction
_UP, _DOWN = "224,68,18", "41,120,238"  # of values above zero and below


def paragraph(text: str) -> str:
    """Words."""
    return f'<p style="max-width:46rem">{escape(safe_text(text))}</p>\n'


def table(names: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A table that is scrolled where it is too wide; columns in ``left`` hold words."""

    def cell(kind: str, at: int, value: str) -> str:
        style = _CELL if at not in left else _FIRST
        scope = ' scope="col"' if kind == "th" else ""
        return f'<{kind}{scope} style="{style}"><bdi>{escape(safe_text(value))}</bdi></{kind}>'

    head = "".join(cell("th", at, name) for at, name in enumerate(names))
    body = "".join(
        f"<tr>{''.join(cell('td', at, value) for at, value in enumerate(row))}</tr>\n"
        for row in rows
    )
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:.875em;'
        'font-variant-numeric:tabular-nums">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def folded(summary: str, html: str) -> str:
    """What is there for who asks."""
    return f"<details>\n<summary>{escape(safe_text(summary))}</summary>\n{html}</details>\n"


def shaded(
    text: str, ranges: Sequence[tuple[int, int]], values: Sequence[float], most: float
) -> str:
    """A text whose tokens have a shade by their value, from -most to most.

    What is above zero has a line below it, what is below zero one above it, the thicker the farther
    it is from zero: no colour is needed. Where tokens share a character the last one counts.
    """
    parts, at = [], 0
    for begin, end, value in _patches(ranges, values):
        parts.append(shown(text[at:begin]))
        parts.append(_span(text[begin:end], value, most))
        at = end
    parts.append(shown(text[at:]))
    return (
        '<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:2.1">'
        f"{''.join(parts)}</div>\n"
    )


def _patches(
    ranges: Sequence[tuple[int, int]], values: Sequence[float]
) -> Iterator[tuple[int, int, float]]:
    held: tuple[int, int, float] | None = None
    for (begin, end), value in zip(ranges, values, strict=True):
        if begin == end:
            continue
        if held is not None and begin < held[1]:
            held = held[0], max(end, held[1]), value
            continue
        if held is not None:
            yield held
        held = begin, end, value
    if held is not None:
        yield held


def _span(text: str, value: float, most: float) -> str:
    share = min(1.0, abs(value) / most) if most > 0 and math.isfinite(value) else 0.0
    step = round(_MOST * share)
    told = escape(f"{visible(text)}: {value:+.3f}".replace("-", "−"))
    if not step:
        return f'<span title="{told}">{shown(text)}</span>'
    colour, side = (_UP, "bottom") if value > 0 else (_DOWN, "top")
    kind = "solid" if value > 0 else "dotted"
    return (
        f'<span title="{told}" style="background:rgba({colour},{0.6 * step / _MOST:.2f});'
        f"border-{side}:{step}px {kind} rgb({colour});print-color-adjust:exact;"
        f'-webkit-print-color-adjust:exact">{shown(text)}</span>'
    )
