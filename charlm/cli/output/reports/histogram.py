"""How many texts have which perplexity: a row for each quarter of a doubling."""

import math
from collections.abc import Iterator, Mapping

_PER_DOUBLING = 4
_WIDTH = 50  # columns of the longest bar
_MOST = 40  # rows; more are put together


def bin_of(perplexity: float) -> int:
    """The number of the row of a perplexity; all that no number holds is in one."""
    if not perplexity < math.inf:
        return 1024 * _PER_DOUBLING
    return math.floor(math.log2(max(perplexity, 1.0)) * _PER_DOUBLING)


def lines(bins: Mapping[int, int]) -> Iterator[str]:
    """A line for each row from the first to the last: where it begins, how many, a bar."""
    first, last = min(bins), max(bins)
    step = -(-(last - first + 1) // _MOST)
    rows = [
        (at, sum(bins.get(one, 0) for one in range(at, at + step)))
        for at in range(first, last + 1, step)
    ]
    largest = max(number for _, number in rows)
    yield f"{'perplexity':>12}  {'texts':>9}"
    for at, number in rows:
        bar = "#" * math.ceil(_WIDTH * number / largest)
        begin = 2 ** (at / _PER_DOUBLING) if at < 1024 * _PER_DOUBLING else math.inf
        yield f"{begin:>12,.4g}  {number:>9,}  {bar}".rstrip()
