"""The readable reference of every equation, in NumPy and nothing else.

One small pure function per cell computes one time step, and tells its gates; ``forward`` is the
whole model. The tests hold every faster path (fused kernels, own kernels, packed weights) against
this file, and docs/equations.md quotes it. All of it works in the dtype of the weights: float64 as
an oracle, float32 to serve.

Letters: B batch, T time, V vocabulary, E embedding, I layer input, H hidden, G gates of a cell.

A layer's ``state`` is a tuple of (B, H) arrays, and its first entry is what goes up to the next
layer: (h, c) for the LSTMs, (h,) for the others. The literature calls h "a", and in the GRU,
where a and c are one thing, "c".
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Ids: TypeAlias = npt.NDArray[np.integer[Any]]
LayerState: TypeAlias = tuple[Array, ...]
A = TypeVar("A")
B = TypeVar("B")
_BLOCK = 65_536  # types


class LayerWeights(NamedTuple, Generic[A]):
    """The weights of one recurrent layer, as NumPy arrays here and as tensors in cells.py.

    The rows of all gates are stacked, so [weight_hh weight_ih] is the W of W [a<t-1>, x<t>] + b
    for every gate at once. Order of the gates: lstm, lstm-peephole: update, forget, candidate,
    output (torch's i, f, g, o). gru: reset, keep, candidate (torch's r, z, n).
    gru-reset-before: relevance, update, candidate. gru-minimal: update, candidate.
    """

    weight_ih: A  # (G*H, I)
    weight_hh: A  # (G*H, H)
    bias_ih: A  # (G*H,)
    bias_hh: A | None = None  # (G*H,) in the cells that torch has fused
    peephole: A | None = None  # (3, H): the diagonals seen by update, forget, output

    def map(self, convert: Callable[[A], B]) -> "LayerWeights[B]":
        """The same weights, each one converted: tensors to arrays, one dtype to another."""
        return LayerWeights(
            convert(self.weight_ih),
            convert(self.weight_hh),
            convert(self.bias_ih),
            None if self.bias_hh is None else convert(self.bias_hh),
            None if self.peephole is None else convert(self.peephole),
        )


class LabelWeights(NamedTuple):
    """What a label does: its vector l, and the map from that to the first state of each layer.

    S is the size of the vector, K the number of states of the cell.
    """

    embedding: Array  # (N, S): one row for each label
    first: tuple[tuple[Array, Array], ...]  # (K*H, S), (K*H,) for each layer


class ModelWeights(NamedTuple):
    """The weights of a whole model. Row V of the embedding is x<1>, the zero vector.

    A conditional model has ``labels``: its first layer reads [x<t>, l], and it is to be given a
    label before it is run (``given_label``). ``first`` is then what a<0> and c<0> are.
    """

    embedding: Array  # (V+1, E)
    layers: tuple[LayerWeights[Array], ...]  # the recurrent stack, bottom first
    output: tuple[tuple[Array, Array], ...]  # hidden layers at each step: (D, D'), (D,)
    softmax_weight: Array  # (V, D)
    softmax_bias: Array  # (V,)
    backward: tuple[LayerWeights[Array], ...] = ()  # of a bidirectional model, bottom first
    gap_gates: Array | None = None  # (D, H) of a bidirectional model
    labels: LabelWeights | None = None
    first: tuple[tuple[Array, ...], ...] | None = None  # (H,) for each state of each layer
    projection: Array | None = None  # (D, H) before the softmax, where it is no part of its matrix


Gates: TypeAlias = dict[str, Array]  # of a layer at one step, by name: (B, H), each in (0, 1)
Stepped: TypeAlias = tuple[LayerState, Gates]
Cell: TypeAlias = Callable[[LayerWeights[Array], Array, LayerState], Stepped]
Step: TypeAlias = Callable[[LayerWeights[Array], Array, LayerState], LayerState]


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), written with tanh because tanh cannot overflow."""
    return (np.tanh(z / 2) + 1) / 2


def relu(z: Array) -> Array:
    """max(z, 0)."""
    return np.maximum(z, 0)


def affine(weights: LayerWeights[Array], x: Array, h: Array) -> Array:
    """W [h, x] + b for all gates of a layer: (B, G*H)."""
    z = x @ weights.weight_ih.T + h @ weights.weight_hh.T + weights.bias_ih
    return z if weights.bias_hh is None else z + weights.bias_hh


def lstm(weights: LayerWeights[Array], x: Array, state: LayerState) -> Stepped:
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997, Gers 1999)."""
    h, c = state
    z_update, z_forget, z_candidate, z_output = np.split(affine(weights, x, h), 4, axis=1)
    update, forget, output = sigmoid(z_update), sigmoid(z_forget), sigmoid(z_output)
    c = update * np.tanh(z_candidate) + forget * c
    return (output * np.tanh(c), c), {"update": update, "forget": forget, "output": output}


def lstm_peephole(weights: LayerWeights[Array], x: Array, state: LayerState) -> Stepped:
    """LSTM whose gates see the memory cell (Gers & Schmidhuber 2000)."""
    h, c = state
    assert weights.peephole is not None
    p_update, p_forget, p_output = weights.peephole
    z_update, z_forget, z_candidate, z_output = np.split(affine(weights, x, h), 4, axis=1)
    update = sigmoid(z_update + p_update * c)
    forget = sigmoid(z_forget + p_forget * c)
    c = update * np.tanh(z_candidate) + forget * c
    output = sigmoid(z_output + p_output * c)
    return (output * np.tanh(c), c), {"update": update, "forget": forget, "output": output}


def gru(weights: LayerWeights[Array], x: Array, state: LayerState) -> Stepped:
    """GRU in the form of torch and cuDNN: the reset gate acts after the recurrent product."""
    (h,) = state
    assert weights.bias_hh is not None
    x_reset, x_keep, x_candidate = np.split(x @ weights.weight_ih.T + weights.bias_ih, 3, axis=1)
    h_reset, h_keep, h_candidate = np.split(h @ weights.weight_hh.T + weights.bias_hh, 3, axis=1)
    reset = sigmoid(x_reset + h_reset)
    update = 1 - sigmoid(x_keep + h_keep)
    candidate = np.tanh(x_candidate + reset * h_candidate)
    h = update * candidate + (1 - update) * h
    return (h,), {"reset": reset, "update": update}


def gru_reset_before(weights: LayerWeights[Array], x: Array, state: LayerState) -> Stepped:
    """GRU as first published: the relevance gate acts before the product (Cho et al. 2014)."""
    (c,) = state
    w_relevance, w_update, w_candidate = np.split(weights.weight_hh, 3)
    x_relevance, x_update, x_candidate = np.split(
        x @ weights.weight_ih.T + weights.bias_ih, 3, axis=1
    )
    relevance = sigmoid(c @ w_relevance.T + x_relevance)
    update = sigmoid(c @ w_update.T + x_update)
    candidate = np.tanh((relevance * c) @ w_candidate.T + x_candidate)
    c = update * candidate + (1 - update) * c
    return (c,), {"relevance": relevance, "update": update}


def gru_minimal(weights: LayerWeights[Array], x: Array, state: LayerState) -> Stepped:
    """Simplified GRU: the update gate alone."""
    (c,) = state
    z_update, z_candidate = np.split(affine(weights, x, c), 2, axis=1)
    update, candidate = sigmoid(z_update), np.tanh(z_candidate)
    return (update * candidate + (1 - update) * c,), {"update": update}


def rnn_tanh(weights: LayerWeights[Array], x: Array, state: LayerState) -> Stepped:
    """Plain recurrence, g = tanh (Elman 1990)."""
    (h,) = state
    return (np.tanh(affine(weights, x, h)),), {}


def rnn_relu(weights: LayerWeights[Array], x: Array, state: LayerState) -> Stepped:
    """Plain recurrence, g = ReLU."""
    (h,) = state
    return (relu(affine(weights, x, h)),), {}


STEPS_WITH_GATES: dict[str, Cell] = {
    "lstm": lstm,
    "lstm-peephole": lstm_peephole,
    "gru": gru,
    "gru-reset-before": gru_reset_before,
    "gru-minimal": gru_minimal,
    "rnn-tanh": rnn_tanh,
    "rnn-relu": rnn_relu,
}


def _state_alone(cell: Cell) -> Step:
    """The step of a cell where nobody looks at its gates."""

    @functools.wraps(cell)
    def step(weights: LayerWeights[Array], x: Array, state: LayerState) -> LayerState:
        return cell(weights, x, state)[0]

    return step


STEPS: dict[str, Step] = {name: _state_alone(cell) for name, cell in STEPS_WITH_GATES.items()}
NUM_GATES = {
    "lstm": 4,
    "lstm-peephole": 4,
    "gru": 3,
    "gru-reset-before": 3,
    "gru-minimal": 2,
    "rnn-tanh": 1,
    "rnn-relu": 1,
}
NUM_STATES = {cell: 2 if cell.startswith("lstm") else 1 for cell in STEPS}


def log_softmax(logits: Array) -> Array:
    """Natural log of the softmax over the last axis; the largest logit is moved to 0 first."""
    shifted: Array = logits - np.max(logits, axis=-1, keepdims=True)
    log_total: Array = np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return shifted - log_total


def init_state(cell: str, weights: ModelWeights, batch_size: int) -> tuple[LayerState, ...]:
    """a<0>: one (B, H) array for each state of each layer, zeros unless a label set them."""
    if weights.first is not None:
        return tuple(
            tuple(np.tile(state, (batch_size, 1)) for state in layer) for layer in weights.first
        )
    return tuple(
        tuple(
            np.zeros((batch_size, layer.weight_hh.shape[1]), layer.weight_hh.dtype)
            for _ in range(NUM_STATES[cell])
        )
        for layer in weights.layers
    )


def first_state(labels: LabelWeights, depth: int, vector: Array, num_states: int) -> LayerState:
    """a<0> = tanh(W_a l + b_a), and c<0> = W_c l + b_c where a cell has both: (H,) each."""
    weight, bias = labels.first[depth]
    a, *c = np.split(weight @ vector + bias, num_states)
    return (np.tanh(a), *c)


def given_label(cell: str, weights: ModelWeights, label: int) -> ModelWeights:
    """The model of what has this label: one without labels, of another bias and first state.

    l is the same at every step, so its product is part of the bias of the first layer:
    W [a<t-1>, x<t>, l] + b = W [a<t-1>, x<t>] + (b + W_l l).
    """
    assert weights.labels is not None
    vector = weights.labels.embedding[label]  # (S,)
    size = weights.embedding.shape[1]
    below = weights.layers[0]
    lowest = below._replace(
        weight_ih=below.weight_ih[:, :size],
        bias_ih=below.bias_ih + below.weight_ih[:, size:] @ vector,
    )
    return weights._replace(
        layers=(lowest, *weights.layers[1:]),
        labels=None,
        first=tuple(
            first_state(weights.labels, depth, vector, NUM_STATES[cell])
            for depth in range(len(weights.layers))
        ),
    )


def hidden(
    cell: str, weights: ModelWeights, inputs: Ids, state: tuple[LayerState, ...] | None = None
) -> tuple[Array, tuple[LayerState, ...]]:
    """What the top layer says after each input: ids (B, T), state -> a (B, T, H), state.

    The inputs are the true tokens (teacher forcing), after id V, the zero vector, where a
    sequence begins. Without a state it starts from a<0>.
    """
    step = STEPS[cell]
    states = list(init_state(cell, weights, len(inputs)) if state is None else state)
    top = []
    for t in range(inputs.shape[1]):
        a = weights.embedding[inputs[:, t]]  # (B, E)
        for i, layer in enumerate(weights.layers):
            states[i] = step(layer, a, states[i])
            a = states[i][0]  # (B, H)
        top.append(a)
    return np.stack(top, axis=1), tuple(states)


def predict(weights: ModelWeights, a: Array) -> Array:
    """Log-probabilities of the next token: a (..., H) -> log_probs (..., V)."""
    for weight, bias in weights.output:
        a = relu(a @ weight.T + bias)  # (..., D)
    if weights.projection is not None:
        a = a @ weights.projection.T
    if weights.softmax_weight.dtype != a.dtype:
        return log_softmax(_in_blocks(a, weights.softmax_weight) + weights.softmax_bias)
    return log_softmax(a @ weights.softmax_weight.T + weights.softmax_bias)


def _in_blocks(a: Array, weight: Array) -> Array:
    """a W^T: (..., D), (V, D) -> (..., V), W made of the dtype of a, a block at a time."""
    found = np.empty((*a.shape[:-1], len(weight)), a.dtype)
    for begin in range(0, len(weight), _BLOCK):
        span = slice(begin, begin + _BLOCK)
        found[..., span] = a @ weight[span].astype(a.dtype).T
    return found


def forward(
    cell: str, weights: ModelWeights, inputs: Ids, state: tuple[LayerState, ...] | None = None
) -> tuple[Array, tuple[LayerState, ...]]:
    """Log-probabilities of every next token: ids (B, T), state -> log_probs (B, T, V), state."""
    a, state = hidden(cell, weights, inputs, state)
    return predict(weights, a), state


def hidden_after(cell: str, weights: ModelWeights, targets: Ids) -> Array:
    """What the top of the backward stack says of each target: ids (B, T) -> a (B, T, H).

    It reads from the end on, after id V, the zero vector, which stands at the right of every
    end; at a target it has read all that comes after it, not the target itself.
    """
    end = np.full((len(targets), 1), len(weights.embedding) - 1)
    inputs = np.concatenate((end, targets[:, :0:-1]), axis=1)  # V, y<T>, ..., y<2>
    a, _ = hidden(cell, weights._replace(layers=weights.backward), inputs)
    return a[:, ::-1]


def join(weights: ModelWeights, before: Array, after: Array, missing: int = 0) -> Array:
    """[a→<t-1>, Γ * a←<t+1+missing>]: both (..., H) -> (..., 2H).

    After the token that is predicted so many more are missing. The gate says how much of each
    unit still tells something over so wide a gap; without one there is no gate.
    """
    if missing:
        assert weights.gap_gates is not None
        after = after * weights.gap_gates[min(missing, len(weights.gap_gates)) - 1]
    return np.concatenate((before, after), axis=-1)


def both_sides(cell: str, weights: ModelWeights, targets: Ids) -> Array:
    """Log-probabilities of every token given all others: ids (B, T) -> log_probs (B, T, V).

    The targets are whole sequences, <EOS> among them.
    """
    begin = np.full((len(targets), 1), len(weights.embedding) - 1)
    inputs = np.concatenate((begin, targets[:, :-1]), axis=1)
    before, _ = hidden(cell, weights, inputs)
    after = hidden_after(cell, weights, targets)
    return predict(weights, join(weights, before, after))


def token_log_probs(log_probs: Array, targets: Ids) -> Array:
    """log P(y<t> given y<1..t-1>) of the tokens that came: (B, T, V), ids (B, T) -> (B, T)."""
    return np.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]


def total_log_prob(log_probs: Array, targets: Ids) -> Array:
    """Log of the product of P(y<t> given y<1..t-1>), one per sequence: (B,), nats, float64."""
    total: Array = np.sum(token_log_probs(log_probs, targets), axis=1, dtype=np.float64)
    return total


def cross_entropy(log_probs: Array, targets: Ids) -> float:
    """Mean loss in nats per target: summed in float64 over all of them and divided once."""
    return float(-np.sum(token_log_probs(log_probs, targets), dtype=np.float64) / targets.size)


def without(log_probs: Array, token_id: int) -> Array:
    """The distribution that re-drawing until the token is another samples from: (..., V)."""
    masked = np.array(log_probs)
    masked[..., token_id] = -np.inf
    return log_softmax(masked)


def clipped(gradients: Sequence[Array], max_norm: float) -> list[Array]:
    """All gradients scaled by one factor, so that their common norm is at most max_norm."""
    norm = float(np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradients)))
    scale = max_norm / max(norm, max_norm)
    return [g * scale for g in gradients]
