"""Language models and cloze models as graphs.

Letters: B batch, T time, V vocabulary, H hidden, L layers.
"""

import numpy as np

from charlm.equations.language_model import NUM_STATES, ModelWeights, first_state
from charlm.equations.parameters import Arrays, model_weights
from charlm.exchange.graphs import layers, parts
from charlm.exchange.graphs.graph import Graph, Shape
from charlm.exchange.graphs.parts import IDS, LABEL, LENGTHS, Made
from charlm.network_config import CausalConfig, ClozeConfig


def causal(config: CausalConfig, arrays: Arrays) -> dict[str, Made]:
    """ids (B, T) and a state to log P (B, T, V) of what comes after each, and the state.

    One step is T = 1. The first id of a sequence is V; its state is zeros, or what start.onnx
    gives where there are labels.
    """
    weights = model_weights(config, arrays, np.float32, folded=True)
    graph, names = Graph(), ("h", "c")[: NUM_STATES[config.cell]]
    x = parts.embedded(graph, "embedding", weights.embedding, "ids")
    inputs = [IDS]
    if weights.labels is not None:
        inputs.append(LABEL)
        x = _with_label(graph, weights, x)
    begin = {name: parts.parted(graph, name, config.num_layers) for name in names}
    ends: dict[str, list[str]] = {name: [] for name in names}
    x = graph.turned(x)
    for depth, layer in enumerate(weights.layers):
        states = [begin[name][depth] for name in names]
        read = layers.recurrent(graph, config.cell, f"layer.{depth}", [layer], x, states=states)
        x = layers.one_way(graph, read.outputs)
        for name, state in zip(names, read.states, strict=True):
            ends[name].append(state)
    for name in names:
        parts.joined(graph, ends[name], f"{name}_out")
    softmax = weights.softmax_weight, weights.softmax_bias
    parts.scored(graph, graph.turned(x), weights.output, softmax)
    shape = (config.num_layers, "batch", config.hidden_size)
    inputs += parts.state_ports(names, shape)
    outputs = [parts.log_probs("batch", "time", config.vocab_size)]
    outputs += parts.state_ports([f"{name}_out" for name in names], shape)
    found = {"model.onnx": parts.made(graph, "language model", inputs, outputs)}
    if weights.labels is not None:
        found["start.onnx"] = _start(weights, names, shape)
    return found


def _with_label(graph: Graph, weights: ModelWeights, x: str) -> str:
    """x (B, T, E) with the vector of the label (B,) behind it at every step."""
    assert weights.labels is not None
    table = weights.labels.embedding
    vector = parts.embedded(graph, "label_embedding", table, "label")  # (B, S)
    size = graph.op("Shape", x, start=0, end=2)
    shape = graph.op("Concat", size, graph.whole(table.shape[1]), axis=0)
    spread = graph.op("Expand", graph.op("Unsqueeze", vector, graph.whole(1)), shape)
    return graph.op("Concat", x, spread, axis=2)


def _start(weights: ModelWeights, names: tuple[str, ...], shape: Shape) -> Made:
    """The first state of a sequence, by its label."""
    labels = weights.labels
    assert labels is not None
    graph = Graph()
    states = [
        [first_state(labels, depth, vector, len(names)) for vector in labels.embedding]
        for depth in range(len(weights.layers))
    ]
    for at, name in enumerate(names):
        table = np.array([[of_label[at] for of_label in layer] for layer in states])  # (L, N, H)
        graph.op("Gather", graph.weight(f"first.{name}", table), "label", axis=1, called=name)
    return parts.made(graph, "start", [LABEL], parts.state_ports(names, shape))


def cloze(config: ClozeConfig, arrays: Arrays) -> dict[str, Made]:
    """Whole sequences, ids (B, T) of lengths (B,), to log P (B, T, V) of each given all others.

    Each ends in <EOS>; what stands behind its end is not read.
    """
    weights = model_weights(config, arrays, np.float32, folded=True)
    graph = Graph()
    begun, ended = _shifted(graph, config.vocab_size)
    lengths = parts.int32_lengths(graph)
    table = graph.weight("embedding", weights.embedding)
    sides = []
    for name, ids, stack in (("ahead", begun, weights.layers), ("back", ended, weights.backward)):
        x = graph.turned(graph.op("Gather", table, ids))
        for depth, layer in enumerate(stack):
            read = layers.recurrent(
                graph,
                config.cell,
                f"{name}.{depth}",
                [layer],
                x,
                lengths=lengths,
                reverse=name == "back",
            )
            x = layers.one_way(graph, read.outputs)
        sides.append(graph.turned(x))
    softmax = weights.softmax_weight, weights.softmax_bias
    parts.scored(graph, graph.op("Concat", *sides, axis=2), weights.output, softmax)
    outputs = [parts.log_probs("batch", "time", config.vocab_size)]
    return {"model.onnx": parts.made(graph, "cloze model", [IDS, LENGTHS], outputs)}


def _shifted(graph: Graph, mark: int) -> tuple[str, str]:
    """What is read before and after each token: the ids moved by one, the mark at either end."""
    size = graph.op("Concat", graph.op("Shape", "ids", start=0, end=1), graph.whole(1), axis=0)
    marks = graph.op("Expand", graph.scalar(mark, np.int64), size)
    most, along = graph.whole(2**31 - 1), graph.whole(1)
    left = graph.op("Slice", "ids", graph.whole(0), graph.whole(-1), along)
    right = graph.op("Slice", "ids", graph.whole(1), most, along)
    ended = graph.op("Concat", right, marks, axis=1)
    last = graph.op("Unsqueeze", graph.op("Sub", "lengths", graph.whole(1)), graph.whole(1))
    is_last = graph.op("Equal", parts.places(graph, "ids"), last)
    ended = graph.op("Where", is_last, graph.scalar(mark, np.int64), ended)
    return graph.op("Concat", marks, left, axis=1), ended
