"""Targets as they are printed: fields, rows, and a map of where the decoder looked."""

from collections.abc import Iterator, Sequence
from typing import Any

from charlm.display.safe_text import safe_text
from charlm.models.translator import PairScore, Translation

_SHADES = " ░▒▓█"  # of a share: less than an eighth, than three, five and seven eighths, more


def fields(source: Sequence[str], found: Sequence[Translation]) -> dict[str, Any]:
    """A source (with its features, if it can have any) and its targets as JSON."""
    return {
        **dict(zip(("source", "features"), source, strict=False)),
        "targets": [
            {
                "text": one.text,
                "log_prob_nats": one.log_prob,
                "score": one.score,
                "ended": one.ended,
            }
            for one in found
        ],
    }


def rows(source: Sequence[str], found: Sequence[Translation]) -> Iterator[str]:
    """Source (its features, too, if it can have any), target and log P between tabs, row by row."""
    for one in found:
        cells = (*source, one.text, repr(one.log_prob))
        yield "\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in cells)


def map_of(score: PairScore) -> Iterator[str]:
    """A line for each token of a target: how much the decoder looked at each token of the source.

    The columns are as wide as the tokens above them; the last column and line are the ends.
    """
    sources = [safe_text(token) for token in score.source_tokens]
    targets = [safe_text(one.token) for one in score.tokens]
    margin = max(map(len, targets))
    yield f"{'':{margin}}  {' '.join(sources)}"
    for token, one in zip(targets, score.tokens, strict=True):
        cells = (
            _SHADES[min(len(_SHADES) - 1, int(share * len(_SHADES)))] * len(source)
            for share, source in zip(one.attention, sources, strict=False)
        )
        yield f"{token:>{margin}}  {' '.join(cells)}".rstrip()
