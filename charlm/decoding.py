"""One-step inference on weights packed once: what sampling runs on.

``torch.nn.LSTM`` called for a single step repacks its weights at every call. Here the first
layer's input product is folded into the embedding table (a step then begins with a look-up), the
biases that can be added beforehand are, and a step is one product a layer and side, without
autograd. Letters as in model.py; G is the number of gates of the cell.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.engine import Ids, Logits
from charlm.equations import NUM_STATES, LayerWeights
from charlm.model import RecurrentLM, State


class _Layer(NamedTuple):
    """The weights of a layer as a step wants them."""

    weight_ih: Tensor  # (I, G*H)
    weight_hh: Tensor  # (H, G*H)
    bias: Tensor  # (G*H,) all that can be added to the input's product
    candidate_bias: Tensor | None  # (H,) of the fused GRU, added inside its reset gate
    peephole: Tensor | None  # (3, H)


class TorchDecoder:
    """Steps a trained RecurrentLM. The model's weights are copied and must not change after."""

    @torch.inference_mode()
    def __init__(self, model: RecurrentLM) -> None:
        self.config = model.config
        self.device = model.embedding.weight.device
        self._layers = tuple(_pack(weights, self.config.cell) for weights in model.layer_weights())
        first = self._layers[0]
        # The embedding of a token is only ever read through the first layer's input matrix.
        self._table = torch.addmm(first.bias, model.embedding.weight, first.weight_ih)  # (V+1, G*H)
        self._output = tuple(
            (weight.t().contiguous(), bias.clone()) for weight, bias in model.output_weights()
        )
        softmax = model.softmax_weight
        if model.projection is not None:  # two products without a nonlinearity between are one
            softmax = softmax @ model.projection.weight
        self._softmax = softmax.t().contiguous(), model.softmax.bias.clone()
        self._step = _STEPS[self.config.cell]

    def init_state(self, batch_size: int) -> State:
        """a<0> = 0 for every layer."""
        shape = (batch_size, self.config.hidden_size)
        return tuple(
            tuple(
                torch.zeros(shape, device=self.device) for _ in range(NUM_STATES[self.config.cell])
            )
            for _ in self._layers
        )

    @torch.inference_mode()
    def step(self, ids: Ids, state: State) -> tuple[Logits, State]:
        """Logits (B, V) of the token after ``ids`` (B,), and the new state."""
        at = torch.from_numpy(np.asarray(ids, dtype=np.int64)).to(self.device)
        x = self._table[at]  # (B, G*H): the input's product, bias included
        after = []
        for depth, (layer, before) in enumerate(zip(self._layers, state, strict=True)):
            if depth:
                x = torch.addmm(layer.bias, x, layer.weight_ih)
            new = self._step(x, before, layer)
            after.append(new)
            x = new[0]
        for weight, bias in self._output:
            x = F.relu(torch.addmm(bias, x, weight))
        weight, bias = self._softmax
        logits: Logits = torch.addmm(bias, x, weight).cpu().numpy()
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


def _pack(weights: LayerWeights[Tensor], cell: str) -> _Layer:
    bias, candidate_bias = weights.bias_ih, None
    if cell == "gru":
        assert weights.bias_hh is not None
        reset_and_update = 2 * weights.weight_hh.shape[1]
        bias = bias.clone()
        bias[:reset_and_update] += weights.bias_hh[:reset_and_update]
        candidate_bias = weights.bias_hh[reset_and_update:].clone()
    elif weights.bias_hh is not None:
        bias = bias + weights.bias_hh
    return _Layer(
        weights.weight_ih.t().contiguous(),
        weights.weight_hh.t().contiguous(),
        bias,
        candidate_bias,
        weights.peephole,
    )


# Each step: x (B, G*H), the product of the input with its bias; the state before; the weights.


def _lstm(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    hidden, cell = state
    gates = torch.addmm(x, hidden, layer.weight_hh)
    size = hidden.shape[1]
    update, forget = gates[:, : 2 * size].sigmoid_().chunk(2, 1)
    candidate = gates[:, 2 * size : 3 * size].tanh_()
    output = gates[:, 3 * size :].sigmoid_()
    cell = torch.addcmul(forget * cell, update, candidate)
    return output * cell.tanh(), cell


def _lstm_peephole(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    hidden, cell = state
    assert layer.peephole is not None
    update, forget, candidate, output = torch.addmm(x, hidden, layer.weight_hh).chunk(4, 1)
    update = torch.sigmoid(update + layer.peephole[0] * cell)
    forget = torch.sigmoid(forget + layer.peephole[1] * cell)
    cell = torch.addcmul(forget * cell, update, torch.tanh(candidate))
    output = torch.sigmoid(output + layer.peephole[2] * cell)
    return output * cell.tanh(), cell


def _gru(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    (hidden,) = state
    assert layer.candidate_bias is not None
    below = x.chunk(3, 1)
    previous = torch.mm(hidden, layer.weight_hh).chunk(3, 1)
    reset = torch.sigmoid(below[0] + previous[0])
    keep = torch.sigmoid(below[1] + previous[1])
    candidate = torch.tanh(below[2] + reset * (previous[2] + layer.candidate_bias))
    return (torch.lerp(candidate, hidden, keep),)


def _gru_reset_before(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    (hidden,) = state
    size = hidden.shape[1]
    gates = torch.addmm(x[:, : 2 * size], hidden, layer.weight_hh[:, : 2 * size]).sigmoid_()
    reset, update = gates.chunk(2, 1)
    candidate = torch.addmm(x[:, 2 * size :], reset * hidden, layer.weight_hh[:, 2 * size :])
    return (torch.lerp(hidden, candidate.tanh_(), update),)


def _gru_minimal(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    (hidden,) = state
    update, candidate = torch.addmm(x, hidden, layer.weight_hh).chunk(2, 1)
    return (torch.lerp(hidden, torch.tanh(candidate), torch.sigmoid(update)),)


def _rnn_tanh(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    return (torch.addmm(x, state[0], layer.weight_hh).tanh_(),)


def _rnn_relu(x: Tensor, state: tuple[Tensor, ...], layer: _Layer) -> tuple[Tensor, ...]:
    return (torch.addmm(x, state[0], layer.weight_hh).relu_(),)


_STEPS: dict[str, Callable[[Tensor, tuple[Tensor, ...], _Layer], tuple[Tensor, ...]]] = {
    "lstm": _lstm,
    "lstm-peephole": _lstm_peephole,
    "gru": _gru,
    "gru-reset-before": _gru_reset_before,
    "gru-minimal": _gru_minimal,
    "rnn-tanh": _rnn_tanh,
    "rnn-relu": _rnn_relu,
}
