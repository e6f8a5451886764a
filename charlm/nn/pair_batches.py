"""Pairs as ids, side by side in batches of similar length."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.nn.pairs import Sources
from charlm.nn.shares import Share
from charlm.nn.windows import PADDING
from charlm.text.tokens import TokenizedText

MOST_TOKENS = 16_384  # of the sources, and of the targets, of a batch, unless a pair has more


class PairTexts(NamedTuple):
    """Sources and targets as ids, each closed by <EOS>; number s of both belong together."""

    sources: TokenizedText
    targets: TokenizedText

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each source and target (S, 2), <EOS> included."""
        return np.stack([np.diff(side.starts) for side in self], axis=1)


class PairBatch(NamedTuple):
    """Pairs side by side: what the encoder reads, what the decoder reads and is to say."""

    sources: Sources
    inputs: Tensor  # (T, B): the zero vector's id, then the tokens before
    targets: Tensor  # (T, B), PADDING behind the end
    whole: "PairBatch | None" = None  # what this is a part of

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.sources.lengths)

    @property
    def num_targets(self) -> int:
        """How many tokens are predicted."""
        return int((self.targets != PADDING).sum())

    def part(self, share: Share) -> "PairBatch":
        """Some of the pairs."""
        sources = Sources(self.sources.ids[:, share.index], self.sources.lengths[share.index])
        inputs, targets = self.inputs[:, share.index], self.targets[:, share.index]
        return PairBatch(sources, inputs, targets, self)


def groups(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator | None = None
) -> list[NDArray[np.int64]]:
    """Which pairs are read together: of similar lengths (S, 2), batch_size of them at most.

    With an rng pairs of equal lengths are mixed and the groups come in any order; how many there
    are depends on the lengths alone.
    """
    tie = np.arange(len(lengths)) if rng is None else rng.random(len(lengths))
    order = np.lexsort((tie, -lengths[:, 1], -lengths[:, 0]))
    found, at = [], 0
    while at < len(order):
        index = order[at : at + batch_size]
        longest = np.maximum.accumulate(lengths[index].max(axis=1))
        fits = longest * np.arange(1, len(index) + 1) <= MOST_TOKENS
        size = max(1, int(fits.sum()))
        found.append(index[:size])
        at += size
    return found if rng is None else [found[i] for i in rng.permutation(len(found))]


def read_sources(rows: Sequence[NDArray[np.integer]]) -> Sources:
    """Sources (B,) of ids, side by side."""
    lengths = np.array([len(row) for row in rows])
    ids = np.zeros((lengths.max(), len(rows)), np.int64)
    for column, row in enumerate(rows):
        ids[: len(row), column] = row
    return Sources(torch.from_numpy(ids), torch.from_numpy(lengths))


def read(pairs: PairTexts, index: NDArray[np.int64]) -> PairBatch:
    """The pairs (B,) of an index."""
    source_at, source_lengths, _ = _places(pairs.sources, index)
    target_at, _, live = _places(pairs.targets, index)
    targets = np.where(live, pairs.targets.targets(target_at), PADDING)
    return PairBatch(
        Sources(
            torch.from_numpy(pairs.sources.targets(source_at)), torch.from_numpy(source_lengths)
        ),
        torch.from_numpy(pairs.targets.inputs(target_at)),
        torch.from_numpy(targets),
    )


def _places(
    text: TokenizedText, index: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Where the tokens of sequences (B,) stand (T, B), their lengths (B,), and which count."""
    begin, lengths = text.starts[index], np.diff(text.starts)[index]
    steps = np.arange(lengths.max())[:, None]  # (T, 1)
    return begin + np.minimum(steps, lengths - 1), lengths, steps < lengths
