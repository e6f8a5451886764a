"""BidirectionalLM: every token of a text from all that stands before it and all that comes after.

    ŷ<t> = softmax(W_y [a→<t-1>, a←<t+1>] + b_y)

The forward stack has read y<1> … y<t-1>, the backward stack y<T> … y<t+1>, each after the zero
vector, so all positions of a text are targets of one pass and none sees itself. Where a row is cut
out of a longer sequence, each stack begins with the token that stands there, not with the zero
vector: that means an end, and nothing else.

Where more tokens than one are missing, the backward stack has read what comes after all of them:
a←<t+1+d>, unit by unit times a gate for the number d. So that it means something, some positions
of a step are also predicted over a gap: d tokens after them are passed over.

A row is read whole, in one window, and no state is carried from one to the next. Letters as in
network.py; M targets.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charlm.equations.parameters import MISSING, Arrays
from charlm.network_config import ClozeConfig
from charlm.nn.network import Network, State, with_arrays
from charlm.nn.shares import Share, share_of
from charlm.nn.skeleton import without_numbers
from charlm.nn.windows import Rows, group_rows
from charlm.text.tokens import TokenizedText

_STEPS = 16  # rows longer than that are padded to a multiple of it
_OVER_GAPS = 4  # one in so many targets is also predicted over a gap, in training


class Spans(NamedTuple):
    """Runs [begin, end) of a text that are read; of them the targets [first, last) are predicted.

    Of each (R,).
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> "Spans":
        """Those at these places."""
        return Spans(*(column[index] for column in self))


class Sides(NamedTuple):
    """Rows as the two stacks read them, and what is predicted from both.

    The backward stack reads each row from that row's own end, so that none begins with padding.
    forward and backward say where, among the T * B vectors of a stack, each target has its own.
    """

    inputs: Tensor  # (B, T) read by the forward stack
    after: Tensor  # (B, T) read by the backward stack: the last token of a row comes first
    targets: Tensor  # (M,)
    places: NDArray[np.int64]  # (M,) where the targets stand in the text
    forward: Tensor  # (M,)
    backward: Tensor  # (M,)

    @property
    def num_targets(self) -> int:
        """How many tokens are predicted."""
        return len(self.places)

    def stand_in(self, share: Share) -> Tensor:
        """Whether each target (M,) stands in one of some rows."""
        return self.forward % share.rows % share.size == share.rank

    def part(self, share: Share) -> "Sides":
        """Some of the rows."""
        own = self.stand_in(share)
        kept = (self.forward[own], self.backward[own])
        forward, backward = (
            at // share.rows * share.number + at % share.rows // share.size for at in kept
        )
        return Sides(
            inputs=self.inputs[share.index],
            after=self.after[share.index],
            targets=self.targets[own],
            places=self.places[own.numpy()],
            forward=forward,
            backward=backward,
        )


class BidirectionalLM(Network[ClozeConfig]):
    """A network with a second stack, which reads from right to left; both share the embedding."""

    def __init__(self, config: ClozeConfig) -> None:
        super().__init__(config)
        self._init_weights()
        self.backward_layers = self._stack(config.embedding_size)
        self.gap_gates = nn.Parameter(torch.ones(MISSING, config.hidden_size))

    def hidden(
        self, inputs: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """What the forward stack says after each input (B, T): (T, B, H); the state after it."""
        return self.stacked(self.layers, self.embedded(inputs, generator), state, generator)

    def hidden_after(
        self, inputs: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """The same of the backward stack, whose inputs come from right to left."""
        x = self.embedded(inputs, generator)
        return self.stacked(self.backward_layers, x, state, generator)

    def joined(
        self,
        sides: Sides,
        generator: torch.Generator | None = None,
        states: tuple[State, State] | None = None,
    ) -> tuple[Tensor, tuple[State, State]]:
        """Both directions side by side (M, 2H), of each target, and the states of both stacks.

        ``states`` are those to begin with; None is where nothing has been read.
        """
        before, after, states = self._read(sides, generator, states)
        forward, backward = sides.forward.to(before.device), sides.backward.to(before.device)
        both = (before.index_select(0, forward), after.index_select(0, backward))
        return torch.cat(both, 1), states

    def hidden_and_targets(
        self, sides: Sides, generator: torch.Generator, whole: Sides | None = None
    ) -> tuple[Tensor, Tensor, int]:
        """What a step learns from: vectors (N, 2H), and the targets (N,) to be predicted from them.

        All targets once; one in four, drawn from ``generator``, once more over a gap. No gap
        reaches the last token of a row, which may be an <EOS>. Of a share of rows the ``whole``
        tells where the gaps are; the third is the N of all rows.
        """
        before, after, _ = self._read(sides, generator, None)
        device, batch = before.device, len(sides.inputs)
        forward, backward = sides.forward.to(device), sides.backward.to(device)
        over, missing = _draw_gaps(whole or sides, generator, device)
        number = (whole or sides).num_targets + len(over)
        share = share_of(generator)
        if whole is not None and share is not None:
            own = whole.stand_in(share).to(device)
            mine = own[over]
            over, missing = (own.cumsum(0) - 1)[over[mine]], missing[mine]
        beyond = after.index_select(0, backward[over] - batch * missing)
        beyond = beyond * self.gap_gates.index_select(0, missing - 1)
        left = before.index_select(0, torch.cat((forward, forward[over])))
        right = torch.cat((after.index_select(0, backward), beyond.to(after.dtype)))
        targets = sides.targets.to(device)
        return torch.cat((left, right), 1), torch.cat((targets, targets[over])), number

    def _read(
        self, sides: Sides, generator: torch.Generator | None, states: tuple[State, State] | None
    ) -> tuple[Tensor, Tensor, tuple[State, State]]:
        """What both stacks say (T * B, H), and their states after it."""
        device = self.embedding.weight.device
        left, right = states or (self.init_state(len(sides.inputs)),) * 2
        before, left = self.hidden(sides.inputs.to(device), left, generator)  # (T, B, H)
        after, right = self.hidden_after(sides.after.to(device), right, generator)
        return before.flatten(0, 1), after.flatten(0, 1), (left, right)


def _draw_gaps(
    sides: Sides, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which targets (N,) are also predicted over a gap, and over how many tokens."""
    # Tokens between a target and the last of its row.
    most = sides.backward.to(device) // len(sides.inputs) - 1
    over = torch.nonzero(most > 0).squeeze(1)
    mixed = torch.randperm(len(over), generator=generator, device=device)
    over = over[mixed[: len(over) // _OVER_GAPS]]
    drawn = torch.randint(MISSING, (len(over),), generator=generator, device=device)
    return over, torch.minimum(drawn + 1, most[over])


def from_arrays(config: ClozeConfig, arrays: Arrays) -> BidirectionalLM:
    """A bidirectional model with these weights, for use: in evaluation mode, without gradients."""
    with without_numbers():
        model = BidirectionalLM(config)
    return with_arrays(model, arrays)


def spans_of(rows: Rows) -> Spans:
    """Rows read and predicted as wholes."""
    return Spans(rows.begin, rows.end, rows.begin, rows.end)


def whole_groups(
    text: TokenizedText, *, batch_size: int, segment_length: int, seed: int, epoch: int
) -> list[Rows]:
    """The groups of rows of one epoch of training in order, a function of (seed, epoch).

    A sequence of more than two segments is cut into segments, from a place on that is drawn for
    each epoch: so almost all are equally long, and the cuts are elsewhere every time.
    """
    rng = np.random.default_rng((seed, epoch))
    begin, end = text.starts[:-1], text.starts[1:]
    long = end - begin > 2 * segment_length
    begins, ends = [begin[~long]], [end[~long]]
    for start, stop in zip(begin[long], end[long], strict=True):
        first = start + rng.integers(1, segment_length + 1)
        cuts = np.concatenate(([start], np.arange(first, stop, segment_length), [stop]))
        begins.append(cuts[:-1])
        ends.append(cuts[1:])
    first_of_row = np.concatenate(begins)
    rows = Rows(first_of_row, np.concatenate(ends), first_of_row)
    tokens = batch_size * segment_length
    return group_rows(rows, tokens_per_window=tokens, bptt_length=2 * segment_length, rng=rng)


def with_context(rows: Rows, starts: NDArray[np.int64], reach: int) -> Spans:
    """Rows with up to so many tokens more on each side, which are read but not predicted."""
    sequence = np.searchsorted(starts, rows.begin, side="right") - 1
    begin = np.maximum(rows.begin - reach, starts[sequence])
    end = np.minimum(rows.end + reach, starts[sequence + 1])
    return Spans(begin, end, rows.begin, rows.end)


def read_sides(text: TokenizedText, spans: Spans, *, padded: bool = False) -> Sides:
    """What both stacks read of runs of a text, side by side.

    With ``padded`` long ones come in few widths, for each of which kernels prepare something; the
    states after the last of such steps mean nothing.
    """
    lengths = spans.end - spans.begin  # (B,)
    width = int(lengths.max())
    if padded and width > _STEPS:
        width = -(-width // _STEPS) * _STEPS
    step = np.arange(width)[:, None]  # (T, 1)
    at = spans.begin + step  # (T, B)
    counted = (at >= spans.first) & (at < spans.last)  # and so before the end
    steps, rows = np.nonzero(counted)
    places = at[steps, rows]
    batch = len(lengths)
    return Sides(
        inputs=torch.from_numpy(text.inputs(np.minimum(at, spans.end - 1))).t(),
        after=torch.from_numpy(text.following(np.maximum(spans.end - 1 - step, spans.begin))).t(),
        targets=torch.from_numpy(text.targets(places)),
        places=places,
        forward=torch.from_numpy(steps * batch + rows),
        backward=torch.from_numpy((lengths[rows] - 1 - steps) * batch + rows),
    )
