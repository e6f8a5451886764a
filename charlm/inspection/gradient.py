"""How far a loss reaches back: the norm of d loss<t> / d x<t-k>, and / d state<t-k>, by k.

The terms are those of backpropagation through time (Bengio et al. 1994; Pascanu et al. 2013): the
gradient of a weight is their sum over k. That sum does not vanish, its far terms do, so what is
learned is what is near. All of it in double precision.

Letters: P positions, K distances, W = K inputs of a window, B rows, E embedding.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.inspection.curves import Clipping
from charlm.inspection.network import Ids, drawn, module_of, name_of, sequences_of
from charlm.inspection.views import gradient as views
from charlm.models.language_model import LanguageModel
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import State

DISTANCES = 200
POSITIONS = 128
_ROWS = 32  # windows whose gradients are computed side by side
_FEWEST = 8  # positions that a distance has to have

Values = NDArray[np.float64]


class ByDistance(NamedTuple):
    """A norm by distance k = 0, 1, …: its mean, its quartiles, over how many positions. (K,) each.

    ``half_life`` is the number of tokens in which the mean halves: of the straight line through
    its logarithm from k = 1 on. None where it does not fall, or where there is nothing to fit.
    ``half_within`` is the smallest k up to which the means add up to half of all.
    """

    mean: Values
    lower: Values
    median: Values
    upper: Values
    number: NDArray[np.int64]
    half_life: float | None
    half_within: int

    def share_within(self, distance: int) -> float:
        """What share of the summed means lies at this distance or nearer."""
        return float(self.mean[: distance + 1].sum() / self.mean.sum())


class Gradient(NamedTuple):
    """What a model's losses owe to inputs and states so many tokens back."""

    model: str
    positions: int
    inputs: ByDistance
    states: ByDistance

    def _repr_html_(self) -> str:
        return together(self)._repr_html_()


class Gradients(NamedTuple):
    """Several models in one picture, with what clipping did in the training of each (or None)."""

    models: tuple[Gradient, ...]
    clipping: tuple[Clipping | None, ...]

    def _repr_html_(self) -> str:
        return views.view(self).html


def together(*models: Gradient) -> Gradients:
    """Gradients of models that are to stand in one picture."""
    return Gradients(models, (None,) * len(models))


class Norms(NamedTuple):
    """Norms (P, K) of the gradient of each position's loss; nan before its sequence begins.

    ``inputs`` are of the vector read so many tokens ago; ``states`` of all states (h, c) of all
    layers after it, taken together.
    """

    inputs: Values
    states: Values


def gradient(
    lm: LanguageModel,
    texts: Sequence[str],
    *,
    distances: int = DISTANCES,
    positions: int = POSITIONS,
    seed: int = 0,
) -> Gradient:
    """The norms by distance, over positions drawn from texts. Raises TextError without a text."""
    sequences = sequences_of(lm, texts)
    module = copy.deepcopy(module_of(lm)).double()
    chosen = list(drawn(sequences, positions, seed))
    found = norms(module, sequences, chosen, distances)
    return Gradient(
        name_of(lm), len(chosen), _by_distance(found.inputs), _by_distance(found.states)
    )


def norms(
    module: RecurrentLM,
    sequences: Sequence[Ids],
    positions: Sequence[tuple[int, int]],
    distances: int,
) -> Norms:
    """The norms at some targets, each a sequence and a place in it, in the order of sequences."""
    begins = [max(0, place - distances + 1) for _, place in positions]
    states = _states_before(module, sequences, positions, begins)
    parts = []
    for first in range(0, len(positions), _ROWS):
        span = slice(first, first + _ROWS)
        rows = positions[span], begins[span], states[span]
        parts.append(_of_rows(module, sequences, *rows, distances))
    return Norms(*map(np.concatenate, zip(*parts, strict=True)))


@torch.no_grad()
def _states_before(
    module: RecurrentLM,
    sequences: Sequence[Ids],
    positions: Sequence[tuple[int, int]],
    begins: Sequence[int],
) -> list[State]:
    """The state of one row before the first input of each window, the text read up to there."""
    found, at = [], (-1, 0)
    state = module.init_state(1)
    for (which, _), begin in zip(positions, begins, strict=True):
        if which != at[0]:
            at, state = (which, 0), module.init_state(1)
        inputs = _inputs(module, sequences[which])[at[1] : begin]
        if len(inputs):
            _, state = module.hidden(torch.from_numpy(inputs)[None], state)
        at = which, begin
        found.append(state)
    return found


def _inputs(module: RecurrentLM, ids: Ids) -> Ids:
    return np.concatenate(([module.config.vocab_size], ids[:-1]))


def _of_rows(
    module: RecurrentLM,
    sequences: Sequence[Ids],
    positions: Sequence[tuple[int, int]],
    begins: Sequence[int],
    before: Sequence[State],
    width: int,
) -> Norms:
    """The norms (B, K) of some windows, which all end at the last step; short ones begin later."""
    batch = len(positions)
    lengths = np.array([at - begin + 1 for (_, at), begin in zip(positions, begins, strict=True)])
    distances, width = width, min(width, int(lengths.max()))
    inputs = np.full((batch, width), module.config.vocab_size)
    targets = np.empty(batch, dtype=np.int64)
    for row, ((which, at), begin) in enumerate(zip(positions, begins, strict=True)):
        inputs[row, width - lengths[row] :] = _inputs(module, sequences[which])[begin : at + 1]
        targets[row] = sequences[which][at]
    start: State = tuple(
        tuple(torch.cat(parts) for parts in zip(*layers, strict=True))
        for layers in zip(*before, strict=True)
    )
    x = module.embedded(torch.from_numpy(inputs)).detach().requires_grad_()  # (W, B, E)
    first = torch.from_numpy(width - lengths)[:, None]  # (B, 1)
    state, states = start, []
    for step, vectors in enumerate(x.unbind(0)):
        waiting = first >= step  # what is computed before a window begins is thrown away
        if bool(waiting.any()):
            state = tuple(
                tuple(torch.where(waiting, a, b) for a, b in zip(one, other, strict=True))
                for one, other in zip(start, state, strict=True)
            )
        state = _step(module, vectors, state)
        states.append(state)
    log_probs = module.logits(state[-1][0]).log_softmax(1)
    loss = -log_probs.gather(1, torch.from_numpy(targets)[:, None]).sum()
    flat = [tensor for step_state in states for layer in step_state for tensor in layer]
    dx, *found = torch.autograd.grad(loss, [x, *flat], allow_unused=True)
    squares = [torch.zeros(batch, dtype=x.dtype) if g is None else (g**2).sum(1) for g in found]
    of_states = torch.stack(squares).view(width, -1, batch).sum(1).sqrt()  # (W, B)
    there = np.arange(width)[::-1] < lengths[:, None]  # (B, W), as the arrays below
    columns = (dx.norm(dim=2).t().numpy(), of_states.t().numpy())
    return Norms(*(_placed(values, there, distances) for values in columns))


def _step(module: RecurrentLM, x: Tensor, state: State) -> State:
    """The state after one vector (B, E) for each row; h is what goes up and on, one tensor."""
    after = []
    for layer, before in zip(module.layers, state, strict=True):
        outputs, new = layer(x[None], before)
        x = outputs[0]
        after.append((x, *new[1:]))
    return tuple(after)


def _placed(values: Values, there: NDArray[np.bool_], distances: int) -> Values:
    """Values (B, W) by distance (B, K), the nearest first, nan where a sequence had not begun."""
    found = np.full((len(values), distances), np.nan)
    found[:, : values.shape[1]] = np.where(there, values, np.nan)[:, ::-1]
    return found


def _by_distance(values: Values) -> ByDistance:
    number = np.isfinite(values).sum(axis=0)
    kept = max(1, int((number >= min(_FEWEST, number[0])).sum()))
    values, number = values[:, :kept], number[:kept]
    mean = np.nanmean(values, axis=0)
    lower, median, upper = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
    within = int(np.searchsorted(np.cumsum(mean), mean.sum() / 2))
    return ByDistance(mean, lower, median, upper, number, _half_life(mean), within)


def _half_life(mean: Values) -> float | None:
    """Tokens in which a mean (K,) halves, from k = 1 on."""
    distances = np.flatnonzero(mean > 0)
    distances = distances[distances > 0]
    if len(distances) < 2:
        return None
    slope = float(np.polyfit(distances, np.log2(mean[distances]), 1)[0])
    return -1 / slope if slope < 0 else None
