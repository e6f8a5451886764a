"""Shares with their intervals as SVG: a mark and a line from its low to its high, row by row."""

from collections.abc import Sequence
from typing import NamedTuple

from charlm.display.drawing.svg import COLOURS, Drawing, fitting, mark, number, words

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 420, 110, 54, 17, 20


class Share(NamedTuple):
    """A share from 0 to 1 and its interval: of which group, and whose."""

    group: str
    name: str
    value: float
    low: float
    high: float


def drawn(shares: Sequence[Share], label: str) -> Drawing:
    """All of them, each group below its name; half is marked."""
    whose = list(dict.fromkeys(share.name for share in shares))
    parts: list[str] = []
    y, group = float(_TOP), None
    for share in shares:
        if share.group != group:
            group, y = share.group, y + _ROW
            parts.append(words(4, y, fitting(share.group, _WIDTH - 8)))
        y += _ROW
        which = whose.index(share.name)
        low, value, high = (_at(part) for part in (share.low, share.value, share.high))
        told = f"{share.group}, {share.name}: {share.value:.1%} ({share.low:.1%}–{share.high:.1%})"
        colour = COLOURS[which % len(COLOURS)]
        parts.append(words(14, y, fitting(share.name, _LEFT - 20), quiet=True))
        parts.append(
            f'<path d="M{number(low)} {number(y - 4)}H{number(high)}m0-3v6M{number(low)} '
            f'{number(y - 7)}v6" stroke="{colour}" stroke-width="1.5" fill="none"/>'
        )
        parts.append(mark(which, value, y - 4, told))
        parts.append(words(_WIDTH - 4, y, f"{share.value:.1%}", anchor="end"))
    bottom = y + 6
    rules = []
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _at(part)
        dashes = ' stroke-dasharray="3 3"' if part == 0.5 else ""
        rules.append(
            f'<path d="M{number(x)} {_TOP}V{number(bottom)}" stroke="currentColor" '
            f'stroke-opacity="{".5" if part == 0.5 else ".15"}"{dashes}/>'
        )
        rules.append(words(x, _TOP - 6, f"{part:.0%}", anchor="middle", size=10, quiet=True))
    return Drawing(_WIDTH, round(bottom) + 6, "".join((*rules, *parts)), label)


def _at(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
