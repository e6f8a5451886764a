"""Translators as two graphs: what reads the source, and what writes the target.

Letters: B batch, S source, T time, V vocabulary, H hidden, L layers.
"""

import numpy as np

from charlm.equations.language_model import NUM_STATES
from charlm.equations.pairs import AttentionWeights, PairsWeights, pairs_weights
from charlm.equations.parameters import Arrays
from charlm.exchange.graphs import layers, parts
from charlm.exchange.graphs.graph import Graph, Port
from charlm.exchange.graphs.parts import IDS, LENGTHS, LOW, Made
from charlm.network_config import PairsConfig


def translator(config: PairsConfig, arrays: Arrays) -> dict[str, Made]:
    """encoder.onnx: source (B, S) of lengths (B,) to what the decoder looks at, and its state.

    decoder.onnx: that, ids (B, T) and a state to log P (B, T, V) of what is written after each,
    and the state; the first id of a target is V, and one step is T = 1.
    """
    weights = pairs_weights(config, arrays, np.float32)
    return {"encoder.onnx": _encoder(config, weights), "decoder.onnx": _decoder(config, weights)}


def _names(config: PairsConfig) -> tuple[str, ...]:
    return ("h", "c")[: NUM_STATES[config.cell]]


def _seen(config: PairsConfig) -> list[Port]:
    """What attention looks at."""
    if config.attention == "none":
        return []
    return [
        Port("values", np.float32, ("batch", "source_time", 2 * config.hidden_size)),
        Port("keys", np.float32, ("batch", "source_time", config.hidden_size)),
    ]


def _states(config: PairsConfig, suffix: str = "") -> list[Port]:
    names = [f"{name}{suffix}" for name in _names(config)]
    return parts.state_ports(names, (config.num_layers, "batch", config.hidden_size))


def _encoder(config: PairsConfig, weights: PairsWeights) -> Made:
    graph, names = Graph(), _names(config)
    x = graph.turned(parts.embedded(graph, "embedding", weights.source_embedding, "source"))
    lengths, last = parts.int32_lengths(graph), ""
    for depth, pair in enumerate(weights.encoder):
        read = layers.recurrent(graph, config.cell, f"layer.{depth}", pair, x, lengths=lengths)
        x, last = layers.both_ways(graph, read.outputs), read.states[0]
    if weights.attention is not None:
        values = graph.op("Transpose", x, perm=[1, 0, 2], called="values")
        key = graph.weight("key.weight", weights.attention.key.T)
        graph.op("MatMul", values, key, called="keys")
    last = layers.last_states(graph, last)  # (B, 2H)
    firsts: dict[str, list[str]] = {name: [] for name in names}
    for depth, (weight, bias) in enumerate(weights.first):
        z = graph.op(
            "Unsqueeze", graph.affine(last, f"first.{depth}", weight, bias), graph.whole(0)
        )
        split = graph.ops("Split", z, outputs=2, axis=2) if len(names) == 2 else (z,)
        for name, state in zip(names, split, strict=True):
            firsts[name].append(graph.op("Tanh", state) if name == "h" else state)
    for name in names:
        parts.joined(graph, firsts[name], name)
    source = Port("source", np.int64, ("batch", "source_time"))
    return parts.made(graph, "encoder", [source, LENGTHS], [*_seen(config), *_states(config)])


def _decoder(config: PairsConfig, weights: PairsWeights) -> Made:
    graph, names = Graph(), _names(config)
    attention = weights.attention
    begin = {name: parts.parted(graph, name, config.num_layers) for name in names}
    ends: dict[str, list[str]] = {name: [] for name in names}
    x, context = parts.embedded(graph, "embedding", weights.embedding, "ids"), ""
    for depth, layer in enumerate(weights.layers):
        if depth and attention is not None:
            x = graph.op("Concat", x, context, axis=2)
        states = [begin[name][depth] for name in names]
        read = layers.recurrent(
            graph, config.cell, f"layer.{depth}", [layer], graph.turned(x), states=states
        )
        x = graph.turned(layers.one_way(graph, read.outputs))
        for name, state in zip(names, read.states, strict=True):
            ends[name].append(state)
        if depth == 0 and attention is not None:
            context = _attended(graph, attention, x)
    for name in names:
        parts.joined(graph, ends[name], f"{name}_out")
    if attention is not None:
        both = graph.op("Concat", x, context, axis=2)
        x = graph.op("Tanh", graph.affine(both, "joined", *attention.joined))
    softmax = weights.softmax_weight, weights.softmax_bias
    parts.scored(graph, x, weights.output, softmax)
    inputs = [IDS, *([LENGTHS, *_seen(config)] if attention is not None else ()), *_states(config)]
    outputs = [parts.log_probs("batch", "time", config.vocab_size), *_states(config, "_out")]
    return parts.made(graph, "decoder", inputs, outputs)


def _attended(graph: Graph, attention: AttentionWeights, a: str) -> str:
    """What states a (B, T, H) of the bottom layer see of the source: (B, T, 2H)."""
    if attention.query is None:
        scores = graph.op("MatMul", a, graph.op("Transpose", "keys", perm=[0, 2, 1]))
    else:
        assert attention.score is not None
        asked = graph.op("MatMul", a, graph.weight("query.weight", attention.query.T))
        asked = graph.op("Unsqueeze", asked, graph.whole(2))  # (B, T, 1, H)
        there = graph.op("Unsqueeze", "keys", graph.whole(1))  # (B, 1, S, H)
        said = graph.op("Tanh", graph.op("Add", asked, there))
        weight = graph.weight("score.weight", attention.score[:, None])
        scores = graph.op("Squeeze", graph.op("MatMul", said, weight), graph.whole(3))  # (B, T, S)
    there = graph.op("Unsqueeze", parts.is_within(graph, "keys", "lengths"), graph.whole(1))
    scores = graph.op("Where", there, scores, graph.scalar(LOW))
    return graph.op("MatMul", graph.op("Softmax", scores, axis=-1), "values")
