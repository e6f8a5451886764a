"""What may come next, and what may fill gaps, the likeliest first: tables, JSON or TSV."""

import math
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli.output.formats import cell
from charlm.cli.output.terminal import cut, is_live
from charlm.display.columns import width
from charlm.display.safe_text import safe_text, visible
from charlm.fields.candidates import figures, token_fields
from charlm.metrics import UNITS, scientific

if TYPE_CHECKING:
    from charlm.inference.fill import Fillings
    from charlm.inference.next_token import NextTokens

_COLUMNS = 80
_SHORTEST_BAR, _LONGEST_BAR = 8, 30
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_LEAST_PERCENT = 0.01  # what is less is written as a power of ten


def token_lines(found: "NextTokens", unit: str) -> Iterator[str]:
    """A header and a line for each entry, all the digits of its numbers."""
    rows = [token_fields(entry, unit) for entry in found.entries]
    yield "\t".join(rows[0])
    for row in rows:
        yield "\t".join(
            cell(value) if isinstance(value, str) else repr(value) for value in row.values()
        )


def token_table(found: "NextTokens", unit: str) -> Iterator[str]:
    """A header and a line for each entry, on a terminal no wider than it is, with a bar."""
    header = f"{'rank':>6} {'P (%)':>8} {'log P (' + unit + ')':>13}  "
    tokens = [visible(entry.piece) for entry in found.entries]
    bars = [""] * len(tokens)
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - len(header)
        if is_live(sys.stdout) and room >= 2 * _SHORTEST_BAR:
            widest = max(map(width, (*tokens, "token")))
            length = max(_SHORTEST_BAR, min(_LONGEST_BAR, room - 2 - widest))
            best = found.entries[0].log_prob
            shares = [math.exp(entry.log_prob - best) for entry in found.entries]
            bars = [f"{bar(share, length):<{length}}  " for share in shares]
            header += " " * (length + 2)
            room -= length + 2
        tokens = [cut(token, max(1, room)) for token in tokens]
    yield f"{header}token"
    for entry, drawn, token in zip(found.entries, bars, tokens, strict=True):
        value = entry.log_prob / UNITS[unit]
        yield f"{entry.rank:6d} {percent(entry.log_prob):>8} {value:13.4f}  {drawn}{token}"


def bar(share: float, length: int) -> str:
    """A bar of this share (0 to 1) of so many columns, to an eighth of a column."""
    full, rest = divmod(round(share * length * len(_EIGHTHS)), len(_EIGHTHS))
    return "█" * full + _EIGHTHS[rest]


def filling_lines(found: "Fillings", unit: str, number: int) -> Iterator[str]:
    """A line for each filling of the number-th text, before the first a header; all digits."""
    if number == 1:
        yield f"number\trank\tlog_prob_{unit}\tprobability\tgaps\ttext"
    for entry in found.entries:
        values = map(repr, figures(entry, unit).values())
        gaps = " | ".join(entry.gaps)
        columns = (str(number), str(entry.rank), *values, cell(gaps), cell(entry.text))
        yield "\t".join(columns)


def filling_table(found: "Fillings", unit: str) -> Iterator[str]:
    """The text, a header and a line for each filling."""
    yield safe_text(found.text)
    gaps = [" | ".join(map(_shown, entry.gaps)) for entry in found.entries]
    header = f"{'rank':>6} {'P (%)':>8} {'log P (' + unit + ')':>13}  "
    widest = min(40, max(map(width, (*gaps, "gap"))))
    yield f"{header}{'gaps' if len(found.lengths) > 1 else 'gap':<{widest}}  text"
    room = max(10, _COLUMNS - len(header) - widest - 2)
    for entry, gap in zip(found.entries, gaps, strict=True):
        value = entry.log_prob / UNITS[unit]
        shown = cut(gap, widest)
        padding = " " * (widest - width(shown))
        text = cut(safe_text(entry.text), room) if sys.stdout.isatty() else safe_text(entry.text)
        yield (
            f"{entry.rank:6d} {percent(entry.log_prob):>8} {value:13.4f}  {shown}{padding}  {text}"
        )


def _shown(gap: str) -> str:
    """What fills a gap, such that white space at its ends, or nothing else, can be seen."""
    body = gap.strip()
    if not body:
        return "".join(map(visible, gap)) or "∅"
    begin = gap.index(body)
    before, after = gap[:begin], gap[begin + len(body) :]
    return "".join(map(visible, before)) + safe_text(body) + "".join(map(visible, after))


def percent(log_prob: float) -> str:
    """exp(log_prob) in per cent: 12.345, or 3.2e-13 where that would round to little or nothing."""
    hundredfold = log_prob + math.log(100)
    if hundredfold < math.log(_LEAST_PERCENT):
        return scientific(hundredfold)
    return f"{math.exp(hundredfold):.3f}"
