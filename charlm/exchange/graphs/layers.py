"""Recurrent layers as operators of ONNX: LSTM, GRU and RNN are all seven cells, exactly.

Their gates stand in another order: LSTM has update, output, forget, candidate, GRU keep, reset,
candidate. Where a cell has an update gate, sigmoid(z), the operator has one that keeps, which is
sigmoid(-z): its weights change their sign. The cell without a reset gate has one that a bias holds
open. (https://onnx.ai/onnx/operators, "LSTM", "GRU", "RNN".)

Letters: T time, B batch, I layer input, H hidden, G gates, D directions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.equations.language_model import NUM_STATES, LayerWeights
from charlm.exchange.graphs.graph import Graph

_OPEN = 30.0  # sigmoid of it is 1 in single precision
Layer = LayerWeights[NDArray[np.floating]]


class Read(NamedTuple):
    """What a layer says at each step, (T, D, B, H), and its states at the end, (D, B, H) each."""

    outputs: str
    states: tuple[str, ...]


class _Operator(NamedTuple):
    """A kind of operator, its attributes, and the weights of one direction as it has them."""

    kind: str
    attributes: dict[str, Any]
    weight_ih: NDArray[np.floating]  # (G*H, I)
    weight_hh: NDArray[np.floating]  # (G*H, H)
    bias: NDArray[np.floating]  # (2*G*H,)
    peephole: NDArray[np.floating] | None  # (3*H,)


def recurrent(
    graph: Graph,
    cell: str,
    name: str,
    directions: Sequence[Layer],
    x: str,
    *,
    states: Sequence[str] = (),
    lengths: str = "",
    reverse: bool = False,
) -> Read:
    """A layer over x (T, B, I): one direction, from left or right, or both.

    states (D, B, H) are those that it begins with, zeros if there are none; lengths (B,), int32,
    where each row ends.
    """
    parts = [_operator(cell, weights) for weights in directions]
    first = parts[0]

    def stacked(what: str) -> str:
        arrays = [getattr(part, what) for part in parts]
        return graph.weight(f"{name}.{what}", np.stack(arrays))

    way = "bidirectional" if len(parts) == 2 else "reverse" if reverse else "forward"
    attributes: dict[str, Any] = {
        key: [*value] * len(parts) if key == "activations" else value
        for key, value in first.attributes.items()
    }
    has_c = NUM_STATES[cell] == 2
    begin = [*states, *[""] * (NUM_STATES[cell] - len(states))]
    peephole = [stacked("peephole")] if first.peephole is not None else []
    inputs = [x, stacked("weight_ih"), stacked("weight_hh"), stacked("bias"), lengths, *begin]
    inputs += peephole
    while not inputs[-1]:
        inputs.pop()
    outputs = graph.ops(
        first.kind,
        *inputs,
        outputs=3 if has_c else 2,
        hidden_size=directions[0].weight_hh.shape[1],
        direction=way,
        **attributes,
    )
    return Read(outputs[0], tuple(outputs[1:]))


def _operator(cell: str, weights: Layer) -> _Operator:
    """One direction of a layer."""
    size = weights.weight_hh.shape[1]
    bias_hh = np.zeros_like(weights.bias_ih) if weights.bias_hh is None else weights.bias_hh
    gates = [
        np.split(array, len(weights.weight_hh) // size)
        for array in (weights.weight_ih, weights.weight_hh, weights.bias_ih, bias_hh)
    ]

    def operator(kind: str, order: Sequence[int], **attributes: Any) -> _Operator:
        """The gates in an order; one that is counted from -1 down changes its sign."""
        of_ih, of_hh, bias_ih, bias_hh = (
            np.concatenate([array[at] if at >= 0 else -array[-1 - at] for at in order])
            for array in gates
        )
        return _Operator(kind, attributes, of_ih, of_hh, np.concatenate((bias_ih, bias_hh)), None)

    if cell == "lstm":
        return operator("LSTM", (0, 3, 1, 2))
    if cell == "lstm-peephole":
        assert weights.peephole is not None
        seen = np.concatenate(weights.peephole[[0, 2, 1]])
        return operator("LSTM", (0, 3, 1, 2))._replace(peephole=seen)
    if cell == "gru":
        return operator("GRU", (1, 0, 2), linear_before_reset=1)
    if cell == "gru-reset-before":
        return operator("GRU", (-2, 0, 2))
    if cell == "gru-minimal":
        for array, value in zip(gates, (0.0, 0.0, _OPEN, 0.0), strict=True):
            array.append(np.full_like(array[0], value))
        return operator("GRU", (-1, 2, 1))
    return operator("RNN", (0,), activations=["Tanh" if cell == "rnn-tanh" else "Relu"])


def one_way(graph: Graph, outputs: str) -> str:
    """What a layer of one direction says: (T, 1, B, H) -> (T, B, H)."""
    return graph.op("Squeeze", outputs, graph.whole(1))


def both_ways(graph: Graph, outputs: str) -> str:
    """What a layer of two directions says, side by side: (T, 2, B, H) -> (T, B, 2H)."""
    turned = graph.op("Transpose", outputs, perm=[0, 2, 1, 3])
    return graph.op("Reshape", turned, graph.whole(0, 0, -1))


def last_states(graph: Graph, h: str) -> str:
    """What both directions say having read everything: (2, B, H) -> (B, 2H)."""
    turned = graph.op("Transpose", h, perm=[1, 0, 2])
    return graph.op("Reshape", turned, graph.whole(0, -1))
