"""From token ids to batches: which pieces of the text are read side by side, window by window.

The sequences lie one after another in one flat array, each followed by <EOS>. A *row* is a run of
that array: a whole sequence, or, of a sequence longer than a segment, one of its pieces. Rows of
similar length form a *group*; a group is read in *windows* of at most bptt_length tokens with the
recurrent state carried from one to the next and dropped where a group ends. So short sequences
are batched by length with little padding, long ones run through truncated back-propagation, and
either way every token is a target exactly once an epoch.

Letters: N tokens in all, S sequences, R rows of a group, B rows still running, T time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.nn.shares import Share
from charlm.text.tokens import TokenizedText

PADDING = -100  # the target of a position that does not count


class Rows(NamedTuple):
    """Runs [begin, end) of the flat array; targets before ``counted`` are read but not scored."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    counted: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row (R,)."""
        return self.end - self.begin

    def take(self, index: NDArray[np.int64]) -> "Rows":
        """The rows at these places."""
        return Rows(self.begin[index], self.end[index], self.counted[index])


class Window(NamedTuple):
    """What the network reads in one go. The first B rows of the group are still running."""

    inputs: Tensor  # (B, T)
    targets: Tensor  # (B, T), PADDING where nothing is to be predicted
    num_targets: int
    places: Tensor  # (B, T) where in the text the targets stand
    labels: Tensor | None = None  # (B,) of each row's sequence, where sequences have labels

    def part(self, share: Share) -> "Window":
        """Some of the rows."""
        targets = self.targets[share.index]
        labels = None if self.labels is None else self.labels[share.index]
        number = int((targets != PADDING).sum())
        places = self.places[share.index]
        return Window(self.inputs[share.index], targets, number, places, labels)


def cut_rows(
    starts: NDArray[np.int64],
    *,
    segment_length: int,
    batch_size: int,
    jitter: int = 0,
    warm_up: int = 0,
    rng: np.random.Generator | None = None,
) -> Rows:
    """Whole sequences, and sequences longer than segment_length cut into pieces about as long.

    The number of pieces is a multiple of batch_size where one long text makes that possible, so
    that no group is nearly empty. ``jitter`` moves each cut by up to so many tokens, drawn from
    rng; ``warm_up`` lets a piece re-read so many tokens before its own, unscored.
    """
    begin, end = starts[:-1], starts[1:]
    lengths = end - begin
    long = np.flatnonzero(lengths > segment_length)
    if not len(long):
        return Rows(begin, end, begin)
    total = int(lengths[long].sum())
    per_piece = max(1.0, total / (batch_size * -(-total // (batch_size * segment_length))))
    begins, ends = [], []
    for start, stop in zip(begin[long], end[long], strict=True):
        num_pieces = max(1, round((stop - start) / per_piece))
        cuts = np.linspace(start, stop, num_pieces + 1).round().astype(np.int64)
        if jitter and rng is not None and num_pieces > 1:
            reach = min(jitter, max(0, int(np.diff(cuts).min()) // 2 - 1))
            cuts[1:-1] += rng.integers(-reach, reach + 1, size=num_pieces - 1)
        begins.append(cuts[:-1])
        ends.append(cuts[1:])
    whole = np.flatnonzero(lengths <= segment_length)
    counted = np.concatenate([begin[whole], *begins])
    first = np.concatenate([begin[whole], *(np.repeat(b[0], len(b)) for b in begins)])
    return Rows(np.maximum(counted - warm_up, first), np.concatenate([end[whole], *ends]), counted)


def group_rows(
    rows: Rows, *, tokens_per_window: int, bptt_length: int, rng: np.random.Generator | None
) -> list[Rows]:
    """Rows of similar length together, the longest first within a group.

    A group has so many rows that one window of it holds about tokens_per_window tokens: shorter
    sequences come in greater numbers. With an rng, rows of equal length are mixed and the order
    of the groups is random; without, everything is in order of length.
    """
    lengths = rows.lengths
    tie = rng.random(len(lengths)) if rng is not None else np.arange(len(lengths))
    order = np.lexsort((tie, -lengths))
    groups, at = [], 0
    while at < len(order):
        longest = int(lengths[order[at]])
        size = max(1, tokens_per_window // min(longest, bptt_length))
        groups.append(rows.take(order[at : at + size]))
        at += size
    if rng is not None:
        return [groups[i] for i in rng.permutation(len(groups))]
    return groups


def epoch_groups(
    text: TokenizedText,
    *,
    batch_size: int,
    bptt_length: int,
    segment_length: int,
    seed: int,
    epoch: int,
) -> list[Rows]:
    """The groups of one epoch of training in order, a function of (seed, epoch)."""
    rng = np.random.default_rng((seed, epoch))
    rows = cut_rows(
        text.starts,
        segment_length=segment_length,
        batch_size=batch_size,
        jitter=bptt_length // 2,
        rng=rng,
    )
    return group_rows(
        rows, tokens_per_window=batch_size * bptt_length, bptt_length=bptt_length, rng=rng
    )


def num_windows(group: Rows, bptt_length: int) -> int:
    """How many windows a group is read in."""
    return -(-int(group.lengths.max()) // bptt_length)


def read_window(text: TokenizedText, group: Rows, index: int, bptt_length: int) -> Window:
    """Window number ``index`` of a group, of the rows that still run in it.

    The windows of a group are about equally long, so the last is not a stub.
    """
    longest = int(group.lengths.max())
    length = -(-longest // num_windows(group, bptt_length))
    offset = index * length
    running = int(np.count_nonzero(group.lengths > offset))  # the longest come first
    width = min(length, longest - offset)
    at = (group.begin[:running, None] + offset) + np.arange(width)  # (B, T)
    live = at < group.end[:running, None]
    scored = live & (at >= group.counted[:running, None])
    places = np.minimum(at, group.end[:running, None] - 1)
    targets = torch.from_numpy(text.targets(places))
    num_targets = int(np.count_nonzero(scored))
    if num_targets < scored.size:
        targets.masked_fill_(torch.from_numpy(~scored), PADDING)
    labels = labels_of(text, group)
    return Window(
        torch.from_numpy(text.inputs(places)),
        targets,
        num_targets,
        torch.from_numpy(places),
        None if labels is None else labels[:running],
    )


def labels_of(text: TokenizedText, group: Rows) -> Tensor | None:
    """The label (R,) of the sequence that each row of a group is of; None where there are none."""
    if text.labels is None:
        return None
    sequence = np.searchsorted(text.starts, group.begin, side="right") - 1
    return torch.from_numpy(text.labels[sequence])


def read_windows(text: TokenizedText, group: Rows, bptt_length: int) -> Iterator[Window]:
    """All windows of a group from left to right."""
    for index in range(num_windows(group, bptt_length)):
        yield read_window(text, group, index, bptt_length)
