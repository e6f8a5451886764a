"""The long form of a text for statistics of reading times: a row for each word, or each region.

Beside the surprisal of a word stands what such models have as further predictors: the surprisal of
the word before (spillover), the entropy before it, its length, and how frequent it is. A region's
surprisal is the sum of its words', its entropy that of its first word, its log-frequency the mean
of its words'.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from charlm.metrics import UNITS

if TYPE_CHECKING:
    from charlm.inference.score import TextScore
    from charlm.inference.words import WordScore

Frequency: TypeAlias = Callable[[str], "float | None"]  # log P (nats) of a word, None if not known
Range: TypeAlias = tuple[int, int]
_FURTHER = ("previous_surprisal_bits", "entropy_bits", "characters")


def names(unit: str, *, regions: bool) -> list[str]:
    """The names of a row, the first of them what it is a row of."""
    what = ["region", "start", "end", "words", "tokens"] if regions else ["word", "start", "end"]
    counted = [] if regions else ["tokens"]
    figures = [f"log_prob_{unit}", "surprisal_bits", f"running_total_{unit}"]
    return [*what, *counted, *figures, *_FURTHER, f"log_frequency_{unit}"]


def rows(
    score: "TextScore", unit: str, frequency: Frequency, regions: Sequence[Range] | None = None
) -> Iterator[list[Any]]:
    """The values of each row: of words, or of those that begin in a region (its range).

    The last row is the end of the text, without length and frequency.
    """
    words = score.words or ()
    each: list[tuple[str, tuple[WordScore, ...]]]
    each = [(word.text, (word,)) for word in words[:-1]]
    if regions is not None:
        each = [(score.text[a:b], _within(words[:-1], a, b)) for a, b in regions]
    running, before = 0.0, None
    for text, some in [*each, ("<EOS>", words[-1:])]:
        nats = sum(word.log_prob for word in some)
        running += nats
        surprisal = sum(word.surprisal for word in some)
        is_end = some == words[-1:]
        start, end = (some[0].start, some[-1].end) if some else (0, 0)
        counted = [len(some) - is_end] if regions is not None else []
        known = [frequency(word.text) for word in some if word.text]
        per_word = [one for one in known if one is not None]
        log_frequency = sum(per_word) / len(per_word) if per_word else None
        yield [
            *(text, start, end, *counted, sum(word.num_tokens for word in some)),
            *(nats / UNITS[unit] + 0.0, surprisal, running / UNITS[unit] + 0.0),
            *(before, some[0].entropy if some else None, None if is_end else len(text)),
            None if log_frequency is None else log_frequency / UNITS[unit],
        ]
        before = surprisal


def _within(words: "Sequence[WordScore]", begin: int, end: int) -> "tuple[WordScore, ...]":
    return tuple(word for word in words if begin <= word.start < end)
