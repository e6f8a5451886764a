"""What several kinds of model have in their graphs: embeddings, lengths, places, output layers.

Letters: B batch, T time, E embedding, D what an output layer reads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.exchange.graphs.graph import Graph, Port, Shape

IDS = Port("ids", np.int64, ("batch", "time"))
LENGTHS = Port("lengths", np.int64, ("batch",))
LABEL = Port("label", np.int64, ("batch",))
LOW = -1e30  # below any number that is compared with it

Array = NDArray[np.floating]


class Made(NamedTuple):
    """A graph as a file, with what goes in and what comes out."""

    data: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def made(graph: Graph, name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> Made:
    """A graph that is whole."""
    return Made(graph.model(name, inputs, outputs), tuple(inputs), tuple(outputs))


def log_probs(*shape: int | str) -> Port:
    """The output that every kind of model has: natural logarithms."""
    return Port("log_probs", np.float32, shape)


def state_ports(names: Sequence[str], shape: Shape) -> list[Port]:
    """States that go in, or come out."""
    return [Port(name, np.float32, shape) for name in names]


def embedded(graph: Graph, name: str, table: Array, ids: str) -> str:
    """The vectors (..., E) of ids (...)."""
    return graph.op("Gather", graph.weight(name, table), ids)


def int32_lengths(graph: Graph, lengths: str = "lengths") -> str:
    """Lengths as recurrent operators take them."""
    return graph.cast(lengths, np.int32)


def places(graph: Graph, ids: str) -> str:
    """0, 1, ... along the time of ids (B, T, ...)."""
    size = graph.op("Squeeze", graph.op("Shape", ids, start=1, end=2))
    zero, one = (graph.scalar(number, np.int64) for number in (0, 1))
    return graph.op("Range", zero, size, one)


def is_within(graph: Graph, ids: str, lengths: str) -> str:
    """Whether each place of ids (B, T, ...) is before the end of its row, of lengths (B,)."""
    return graph.op("Less", places(graph, ids), graph.op("Unsqueeze", lengths, graph.whole(1)))


def parted(graph: Graph, name: str, number: int) -> tuple[str, ...]:
    """A state (L, B, H) as one (1, B, H) for each layer."""
    if number == 1:
        return (name,)
    return graph.ops("Split", name, outputs=number, axis=0)


def joined(graph: Graph, states: Sequence[str], called: str) -> None:
    """The states of all layers as one output."""
    graph.op("Concat", *states, axis=0, called=called)


def scored(
    graph: Graph,
    x: str,
    output: Sequence[tuple[Array, Array]],
    softmax: tuple[Array, Array],
    temperature: float = 1.0,
) -> None:
    """log P from what the output layers read: (..., D) -> (..., V), the output of the graph."""
    for index, (weight, bias) in enumerate(output):
        x = graph.op("Relu", graph.affine(x, f"output.{index}", weight, bias))
    scores = graph.affine(x, "softmax", *softmax)
    if temperature != 1:
        scores = graph.op("Div", scores, graph.scalar(temperature))
    graph.op("LogSoftmax", scores, axis=-1, called="log_probs")
