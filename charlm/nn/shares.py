"""Shares: which rows of a batch a process reads, where several train together.

All of them know the whole batch. Of its rows, which stand in order of length, number ``rank`` reads
rank, rank + size, rank + 2 * size, ...; so the shares are about equally long, and where rows end
early those that still run come first in each share. What is random about a row (dropout, tokens
that are lost) is drawn for all rows by every process, which then takes its own: the numbers are
those that one process alone would draw, however many there are.

Letters: B rows in all, b rows of the share, H width.
"""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Share:
    """Rows ``rank``, ``rank`` + ``size``, ... of ``rows``."""

    rank: int
    size: int
    rows: int

    @property
    def index(self) -> slice:
        """Which rows (b,) of all."""
        return slice(self.rank, None, self.size)

    @property
    def number(self) -> int:
        """b: there may be none."""
        return len(range(self.rank, self.rows, self.size))


class StepGenerator(torch.Generator):
    """The random numbers of a step: of all rows of its batch, of which ``share`` are read here."""

    share: Share | None = None


@dataclasses.dataclass(frozen=True)
class Taken:
    """What is read here of something that all processes number alike, and how much there is."""

    index: Tensor | slice  # (b,)
    number: int


def share_of(generator: torch.Generator | None) -> Share | None:
    """The share of rows that is read here; None where all of them are."""
    return generator.share if isinstance(generator, StepGenerator) else None


def dropped(
    x: Tensor, rate: float, generator: torch.Generator | None, taken: Taken | None = None
) -> Tensor:
    """Dropout over time with one mask for all steps (Gal & Ghahramani 2016): x (..., b, H).

    A mask (b, H) is as cheap as it is stronger than one drawn anew for every step. It is drawn for
    all rows, or for all of what ``taken`` is a part of.
    """
    share = share_of(generator)
    if taken is None and share is not None:
        taken = Taken(share.index, share.rows)
    number = x.shape[-2] if taken is None else taken.number
    keep = torch.empty(number, x.shape[-1], device=x.device, dtype=x.dtype)
    keep.bernoulli_(1 - rate, generator=generator)
    if taken is not None:
        keep = keep[taken.index]
    return x * keep.div_(1 - rate)
