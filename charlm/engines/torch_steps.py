"""One-step inference on weights packed once: what sampling runs on.

``torch.nn.LSTM`` called for a single step repacks its weights at every call. Here the first
layer's input product is folded into the embedding table (a step then begins with a look-up), the
biases that can be added beforehand are, and [below, previous] is one product a layer wherever
the cell only adds the two, without autograd. Letters as in causal.py; G is the number of gates of
the cell.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.engines.protocol import Ids, Logits
from charlm.engines.torch_passes import read, read_all
from charlm.equations.language_model import NUM_STATES, LayerWeights
from charlm.nn.blocks import softmax_with
from charlm.nn.causal import RecurrentLM
from charlm.nn.linear import Product
from charlm.nn.network import State

# Threads go to sleep while a token is drawn (charlm/threads.py), and one alone is done with small
# products before another is awake. To read a weight takes as long as to use it for some rows.
_FEW = 2**24
_READ = 8


class _Layer(NamedTuple):
    """The products of a layer as a step wants them.

    The input of the first layer comes multiplied already. In other layers of cells that add the
    two sides, previous is the product with [below, previous], and below is None.
    """

    first: bool
    below: Product | None  # (B, I) -> (B, G*H), bias included
    previous: tuple[Product, ...]  # (B, H) -> (B, G*H); reset-before: its gates, its candidate
    candidate_bias: Tensor | None  # (H,) of the fused GRU, added inside its reset gate
    peephole: Tensor | None  # (3, H)

    def gates(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Both sides added (B, G*H): x is the input, multiplied already in the first layer."""
        (product,) = self.previous
        if self.first:
            return product.plus(hidden, x)
        return product(torch.cat((x, hidden), 1))


class _Table:
    """The products (V+1, G*H) of embeddings (V+1, E) with the first layer's input matrix (G*H, E).

    Of many types, of which a text has few, they are made when they are read.
    """

    def __init__(self, model: RecurrentLM, weight: Tensor, bias: Tensor) -> None:
        embedding = model.embedding.weight
        self._embedding, self._weight, self._bias = embedding, weight, bias
        is_large = model.config.has_many_types
        self._made = None if is_large else F.linear(embedding, weight, bias)

    def __getitem__(self, ids: Tensor) -> Tensor:
        """The rows of these ids (B,)."""
        if self._made is not None:
            return self._made[ids]
        return F.linear(self._embedding[ids], self._weight, self._bias)


class TorchDecoder:
    """Steps a trained RecurrentLM. The model's weights must not change after."""

    @torch.inference_mode()
    def __init__(self, model: RecurrentLM) -> None:
        self.config = model.config
        self._model = model
        self.device = model.embedding.weight.device
        stack, cell = model.layer_weights(), self.config.cell
        self._layers = tuple(_pack(w, cell, first=depth == 0) for depth, w in enumerate(stack))
        # The embedding of a token is only ever read through the first layer's input matrix.
        # A conditional model's is one of its parts until a label is given.
        read = stack[0].weight_ih[:, : self.config.embedding_size]
        self._table = _Table(model, read, _bias(stack[0], cell))
        self._output = tuple(Product(weight, bias) for weight, bias in model.output_weights())
        softmax, self._projection = model.softmax_weight, None
        if model.projection is not None:
            # Two products without a nonlinearity between are one, if that reads no more weights.
            first = model.projection.weight  # (E, D)
            folded = len(softmax) * first.shape[1]
            if not self.config.has_many_types and folded <= softmax.numel() + first.numel():
                softmax = softmax @ first
            else:
                self._projection = Product(first)
        self._softmax = softmax_with(self.config, softmax, model.softmax.bias)
        self._num_scores = softmax.numel()  # weights
        self._num_others = sum(weight.numel() for weight, _ in model.output_weights())
        self._num_others += sum(weights.weight_hh.numel() for weights in stack)
        self._num_others += sum(weights.weight_ih.numel() for weights in stack[1:])
        self._step = _STEPS[self.config.cell]

    @torch.inference_mode()
    def given(self, model: RecurrentLM) -> "TorchDecoder":
        """What steps the same model given a label: it differs in the table and in a<0> alone."""
        given = copy.copy(self)
        given._model, given.config = model, model.config
        lowest = model.layer_weights()[0]
        bias = _bias(lowest, model.config.cell)
        given._table = _Table(model, lowest.weight_ih, bias)
        return given

    def init_state(self, batch_size: int) -> State:
        """a<0> for every layer: 0, unless a label set it."""
        if self._model.given is not None:
            return self._model.init_state(batch_size)
        shape = (batch_size, self.config.hidden_size)
        return tuple(
            tuple(
                torch.zeros(shape, device=self.device) for _ in range(NUM_STATES[self.config.cell])
            )
            for _ in self._layers
        )

    def read(self, ids: Ids) -> State:
        """The state of one row that has read ids (T,): the fused kernels do that faster."""
        return read(self._model, ids)

    def read_all(self, sequences: Sequence[Ids]) -> list[State]:
        """The state of each of several such rows, read side by side."""
        return read_all(self._model, sequences)

    @torch.inference_mode()
    def step(self, ids: Ids, state: State) -> tuple[Logits, State]:
        """Logits (B, V) of the token after ``ids`` (B,), and the new state."""
        at = torch.from_numpy(np.asarray(ids, dtype=np.int64)).to(self.device)
        with _few_alone(self._num_others, len(ids)):
            x = self._table[at]  # (B, G*H): the input's product, bias included
            after = []
            for layer, before in zip(self._layers, state, strict=True):
                new = self._step(x, before, layer)
                after.append(new)
                x = new[0]
            for product in self._output:
                x = F.relu(product(x))
            if self._projection is not None:
                x = self._projection(x)
        with _few_alone(self._num_scores, len(ids)):
            logits: Logits = self._softmax(x).cpu().numpy()
        return logits, tuple(after)

    def select(self, state: State, rows: Ids) -> State:
        """A state of these rows."""
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(self.device)
        return tuple(tuple(tensor[index] for tensor in layer) for layer in state)

    @torch.inference_mode()
    def restart(self, state: State, rows: Ids, start: State) -> None:
        """Set these rows to the one row of ``start``."""
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(self.device)
        for layer, initial in zip(state, start, strict=True):
            for tensor, value in zip(layer, initial, strict=True):
                tensor[index] = value


@contextlib.contextmanager
def _few_alone(weights: int, rows: int) -> Iterator[None]:
    """Products with few weights, of few rows, are done on one thread."""
    threads = torch.get_num_threads()
    if threads == 1 or weights * (rows + _READ) > _FEW:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _bias(weights: LayerWeights[Tensor], cell: str) -> Tensor:
    """All (G*H,) that can be added to the input's product."""
    if weights.bias_hh is None:
        return weights.bias_ih
    if cell != "gru":
        return weights.bias_ih + weights.bias_hh
    bias = weights.bias_ih.clone()
    reset_and_update = 2 * weights.weight_hh.shape[1]
    bias[:reset_and_update] += weights.bias_hh[:reset_and_update]
    return bias


def _pack(weights: LayerWeights[Tensor], cell: str, first: bool) -> _Layer:
    bias, size = _bias(weights, cell), weights.weight_hh.shape[1]
    adds = cell not in ("gru", "gru-reset-before")
    below = None if first or adds else Product(weights.weight_ih, bias)
    candidate_bias = None
    if cell == "gru":
        assert weights.bias_hh is not None
        candidate_bias = weights.bias_hh[2 * size :].clone()
    if cell == "gru-reset-before":
        parts = torch.split(weights.weight_hh, [2 * size, size])
        previous = tuple(Product(part) for part in parts)
    elif adds and not first:
        previous = (Product(torch.cat((weights.weight_ih, weights.weight_hh), 1), bias),)
    else:
        previous = (Product(weights.weight_hh),)
    return _Layer(first, below, previous, candidate_bias, weights.peephole)


# Each step: x, the input (B, I), in the first layer its product (B, G*H) with the bias; the state
# before; the layer.


def _lstm(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    hidden, cell = state
    gates = layer.gates(x, hidden)
    size = hidden.shape[1]
    update, forget = gates[:, : 2 * size].sigmoid_().chunk(2, 1)
    candidate = gates[:, 2 * size : 3 * size].tanh_()
    output = gates[:, 3 * size :].sigmoid_()
    cell = torch.addcmul(forget * cell, update, candidate)
    return output * cell.tanh(), cell


def _lstm_peephole(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    hidden, cell = state
    assert layer.peephole is not None
    update, forget, candidate, output = layer.gates(x, hidden).chunk(4, 1)
    update = torch.sigmoid(update + layer.peephole[0] * cell)
    forget = torch.sigmoid(forget + layer.peephole[1] * cell)
    cell = torch.addcmul(forget * cell, update, torch.tanh(candidate))
    output = torch.sigmoid(output + layer.peephole[2] * cell)
    return output * cell.tanh(), cell


def _gru(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    (hidden,) = state
    assert layer.candidate_bias is not None
    below = (x if layer.below is None else layer.below(x)).chunk(3, 1)
    previous = layer.previous[0](hidden).chunk(3, 1)
    reset = torch.sigmoid(below[0] + previous[0])
    keep = torch.sigmoid(below[1] + previous[1])
    candidate = torch.tanh(below[2] + reset * (previous[2] + layer.candidate_bias))
    return (torch.lerp(candidate, hidden, keep),)


def _gru_reset_before(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    (hidden,) = state
    below = x if layer.below is None else layer.below(x)
    size = hidden.shape[1]
    of_gates, of_candidate = layer.previous
    reset, update = of_gates(hidden).add_(below[:, : 2 * size]).sigmoid_().chunk(2, 1)
    candidate = of_candidate(reset * hidden).add_(below[:, 2 * size :])
    return (torch.lerp(hidden, candidate.tanh_(), update),)


def _gru_minimal(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    (hidden,) = state
    update, candidate = layer.gates(x, hidden).chunk(2, 1)
    return (torch.lerp(hidden, torch.tanh(candidate), torch.sigmoid(update)),)


def _rnn_tanh(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    return (layer.gates(x, state[0]).tanh_(),)


def _rnn_relu(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    return (layer.gates(x, state[0]).relu_(),)


_STEPS: dict[str, Callable[[Tensor, tuple[Tensor, ...], _Layer], tuple[Tensor, ...]]] = {
    "lstm": _lstm,
    "lstm-peephole": _lstm_peephole,
    "gru": _gru,
    "gru-reset-before": _gru_reset_before,
    "gru-minimal": _gru_minimal,
    "rnn-tanh": _rnn_tanh,
    "rnn-relu": _rnn_relu,
}
