"""Targets as they are printed: fields, rows, and a map of where the decoder looked."""

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.display.columns import width
from charlm.display.safe_text import visible

if TYPE_CHECKING:
    from charlm.inference.pairs.score import PairScore
    from charlm.models.translator import Translation

_SHADES = " ░▒▓█"  # of a share: less than an eighth, than three, five and seven eighths, more

_NAMED, _LEAST = 3, 0.05  # tokens named where there is no room for all, and their shares


def rows(source: Sequence[str], found: "Sequence[Translation]") -> Iterator[str]:
    """Source (its features, too, if it can have any), target and log P between tabs, row by row."""
    for one in found:
        cells = (*source, one.text, repr(one.log_prob))
        yield "\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in cells)


def map_of(score: "PairScore") -> Iterator[str]:
    """A line for each token of a target: how much the decoder looked at each token of the source.

    The columns are as wide as the tokens above them; the last column and line are the ends. Where
    that is too wide for the terminal, the tokens looked at most are named instead.
    """
    sources = [visible(token) for token in score.source_tokens]
    targets = [visible(one.token) for one in score.tokens]
    margin = max(map(width, targets))
    head = f"{'':{margin}}  {' '.join(sources)}"
    is_wide = width(head) > shutil.get_terminal_size().columns
    if not is_wide:
        yield head
    for token, one in zip(targets, score.tokens, strict=True):
        shown = f"{' ' * (margin - width(token))}{token}"
        if is_wide:
            yield f"{shown}  {', '.join(_most_looked_at(one.attention, sources))}".rstrip()
            continue
        cells = (
            _SHADES[min(len(_SHADES) - 1, int(share * len(_SHADES)))] * width(source)
            for share, source in zip(one.attention, sources, strict=False)
        )
        yield f"{shown}  {' '.join(cells)}".rstrip()


def _most_looked_at(attention: Sequence[float], sources: Sequence[str]) -> Iterator[str]:
    """The places of a source, from 1 on, with their tokens and shares."""
    for at in sorted(range(len(attention)), key=lambda at: -attention[at])[:_NAMED]:
        if attention[at] >= _LEAST:
            yield f"{at + 1} {sources[at]} {attention[at]:.0%}"
