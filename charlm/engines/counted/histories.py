"""Histories: the last tokens of sequences, which are all that counts look at.

A history (B, L) ends at the right with the token just read and has the mark of its sequence (the
id vocab_size), left of it -1, or ``reach`` tokens.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from charlm.counts.backoff import marked_stream
from charlm.engines.protocol import Ids

NOTHING = -1  # stands left of the mark
_TOKENS = 2**21  # of histories that are looked through at a time

Histories = npt.NDArray[np.int32]


class Before:
    """What stands before each token of sequences."""

    def __init__(self, sequences: Sequence[Ids], vocab_size: int, reach: int) -> None:
        stream, depth = marked_stream(sequences, vocab_size)
        self._spots = np.flatnonzero(depth > 0)  # (N,) where each token stands in the stream
        self._depth = depth
        padded = np.concatenate((np.full(reach, NOTHING), stream))
        self._windows = sliding_window_view(padded, reach)  # window i ends before place i
        self._left = np.arange(reach, 0, -1)  # how far back each column is
        self.portion = max(1, _TOKENS // reach)

    def at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The histories (M, reach) before tokens, by their places (M,) in the sequences."""
        spot = self._spots[places]
        within = self._left <= self._depth[spot][:, None]
        return np.where(within, self._windows[spot], NOTHING)


def begun(ids: Ids, reach: int) -> Histories:
    """The history (1, L) of one row that has read ids (T,), its mark among them."""
    return np.asarray(ids, dtype=np.int32)[None, max(0, len(ids) - reach) :]


def extended(histories: Histories, ids: Ids, reach: int) -> Histories:
    """Histories after ids (B,), too."""
    longer = np.column_stack((histories, ids)).astype(np.int32, copy=False)
    return longer[:, -reach:]


def restarted(histories: Histories, rows: Ids, start: Histories) -> Histories:
    """Histories with these rows set, in place if there is room, to the one row of ``start``."""
    width = start.shape[1]
    lacking = width - histories.shape[1]
    if lacking > 0:
        nothing = np.full((len(histories), lacking), NOTHING, dtype=np.int32)
        histories = np.concatenate((nothing, histories), axis=1)
    histories[rows] = NOTHING
    if width:
        histories[rows, -width:] = start[0]
    return histories


def side_by_side(befores: Sequence[Ids]) -> npt.NDArray[np.int64]:
    """The last tokens of several sequences as histories (B, L)."""
    width = max(len(before) for before in befores)
    histories = np.full((len(befores), width), NOTHING)
    for row, before in enumerate(befores):
        histories[row, width - len(before) :] = before
    return histories
