"""Classifiers and taggers as graphs.

Letters: B batch, T time, N letters of a word, C labels, H hidden, D what an output layer reads.
"""

import numpy as np

from charlm.equations import heads
from charlm.equations.heads import HeadWeights
from charlm.equations.parameters import Arrays
from charlm.exchange.graphs import layers, parts
from charlm.exchange.graphs.graph import Graph, Port
from charlm.exchange.graphs.parts import IDS, LENGTHS, LOW, Made
from charlm.network_config import ClassifierConfig, HeadConfig, TaggerConfig

LETTERS = Port("letters", np.int64, ("batch", "time", "letter"))
LETTER_LENGTHS = Port("letter_lengths", np.int64, ("batch", "time"))


def head(config: HeadConfig, arrays: Arrays, temperature: float) -> dict[str, Made]:
    """ids (B, T) of lengths (B,) to log P of labels: (B, C) of a classifier, (B, T, C) of a tagger.

    A tagger reads letters (B, T, N) of letter_lengths (B, T), too. Probabilities are calibrated.
    """
    weights = heads.head_weights(config, arrays, np.float32)
    graph, inputs = Graph(), [IDS, LENGTHS]
    x = parts.embedded(graph, "embedding", weights.embedding, "ids")
    if isinstance(config, TaggerConfig):
        inputs += [LETTERS, LETTER_LENGTHS]
        x = graph.op("Concat", x, _spelled(graph, config, weights), axis=2)
    x, lengths = graph.turned(x), parts.int32_lengths(graph)
    last = ""
    for depth, pair in enumerate(weights.layers):
        read = layers.recurrent(graph, config.cell, f"layer.{depth}", pair, x, lengths=lengths)
        x, last = layers.both_ways(graph, read.outputs), read.states[0]
    if isinstance(config, TaggerConfig):
        x = graph.turned(x)
        shape: tuple[int | str, ...] = ("batch", "time", config.num_labels)
    else:
        assert isinstance(config, ClassifierConfig)
        shape = ("batch", config.num_labels)
        x = layers.last_states(graph, last) if config.pooling == "last" else _pooled(graph, x)
    softmax = weights.softmax_weight, weights.softmax_bias
    parts.scored(graph, x, weights.output, softmax, temperature)
    outputs = [parts.log_probs(*shape)]
    return {"model.onnx": parts.made(graph, config.kind, inputs, outputs)}


def _pooled(graph: Graph, a: str) -> str:
    """Mean and maximum over the places of each row: (T, B, D) -> (B, 2D)."""
    there = graph.op("Transpose", parts.is_within(graph, "ids", "lengths"), perm=[1, 0])
    there = graph.op("Unsqueeze", there, graph.whole(2))  # (T, B, 1)
    kept = graph.op("Where", there, a, graph.scalar(0.0))
    summed = graph.op("ReduceSum", kept, graph.whole(0), keepdims=0)
    number = graph.op("Unsqueeze", graph.cast("lengths", np.float32), graph.whole(1))
    low = graph.op("Where", there, a, graph.scalar(LOW))
    most = graph.op("ReduceMax", low, axes=[0], keepdims=0)
    return graph.op("Concat", graph.op("Div", summed, number), most, axis=1)


def _spelled(graph: Graph, config: TaggerConfig, weights: HeadWeights) -> str:
    """What the letters of each word tell of it: (B, T, 2H'). A place without a word reads one."""
    assert weights.letters is not None
    assert weights.letter_pair is not None
    size = graph.op("Shape", "letters", start=2, end=3)
    words = graph.op("Reshape", "letters", graph.op("Concat", graph.whole(-1), size, axis=0))
    lengths = graph.op("Reshape", "letter_lengths", graph.whole(-1))
    lengths = graph.op("Max", lengths, graph.whole(1))
    x = graph.turned(parts.embedded(graph, "letter_embedding", weights.letters, words))
    lengths = parts.int32_lengths(graph, lengths)
    pair = weights.letter_pair
    read = layers.recurrent(graph, config.cell, "letter_layer", pair, x, lengths=lengths)
    told = layers.last_states(graph, read.states[0])  # (B*T, 2H')
    shape = graph.op("Shape", "ids")
    shape = graph.op("Concat", shape, graph.whole(2 * config.letter_hidden_size), axis=0)
    return graph.op("Reshape", told, shape)
