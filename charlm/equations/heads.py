"""What a head computes, in NumPy: the reference of nn/head.py, and the engine of small jobs.

A head reads a text from both sides, ŷ = g(W_y [a→<t>, a←<t>] + b_y): a tagger at every token t, a
classifier once, on the mean and the maximum over all t or on the last state of each direction.
One text at a time and nothing padded; all of it works in the dtype of the weights.

Letters: T tokens of a text, N letters of a word, E embedding, I layer input, H hidden units of one
direction, D what an output layer reads, C labels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.equations.language_model import (
    NUM_GATES,
    NUM_STATES,
    STEPS,
    Array,
    Ids,
    LayerWeights,
    relu,
)
from charlm.equations.parameters import Arrays, layer_names
from charlm.network_config import ClassifierConfig, HeadConfig, TaggerConfig

_TEMPERATURES = (0.5, 10.0)  # the least and the greatest that is fitted


class Pair(NamedTuple):
    """The two directions of one bidirectional layer."""

    ahead: LayerWeights[Array]
    back: LayerWeights[Array]


class HeadWeights(NamedTuple):
    """The weights of a head; letters and letter_pair are a tagger's alone."""

    embedding: Array  # (V, E)
    letters: Array | None  # (num_letters, E')
    letter_pair: Pair | None
    layers: tuple[Pair, ...]  # bottom first
    output: tuple[tuple[Array, Array], ...]  # (H, D), (H,)
    softmax_weight: Array  # (C, D)
    softmax_bias: Array  # (C,)


def along(cell: str, weights: LayerWeights[Array], x: Array) -> Array:
    """a<1> ... a<T> of one layer that reads x (T, I) from the zero state on: (T, H)."""
    size = weights.weight_hh.shape[1]
    state = tuple(np.zeros((1, size), x.dtype) for _ in range(NUM_STATES[cell]))
    outputs = np.empty((len(x), size), x.dtype)
    for t in range(len(x)):
        state = STEPS[cell](weights, x[t : t + 1], state)
        outputs[t] = state[0][0]
    return outputs


def both_ways(cell: str, pair: Pair, x: Array) -> Array:
    """[a→<t>, a←<t>] at every t, what was read up to t and what was read down to it: (T, 2H)."""
    ahead = along(cell, pair.ahead, x)
    back = along(cell, pair.back, x[::-1])[::-1]
    return np.concatenate((ahead, back), axis=1)


def last_states(a: Array) -> Array:
    """What each direction says having read everything: (T, 2H) -> (2H,)."""
    size = a.shape[1] // 2
    return np.concatenate((a[-1, :size], a[0, size:]))


def spelling(cell: str, weights: HeadWeights, letters: Ids) -> Array:
    """What the letters (N,) of a word tell of it: (2H',) (Ma & Hovy 2016, Lample et al. 2016)."""
    assert weights.letters is not None
    assert weights.letter_pair is not None
    return last_states(both_ways(cell, weights.letter_pair, weights.letters[letters]))


def features(weights: HeadWeights, a: Array) -> Array:
    """Scores of all labels from what the output layers read: (..., D) -> (..., C)."""
    for weight, bias in weights.output:
        a = relu(a @ weight.T + bias)
    return a @ weights.softmax_weight.T + weights.softmax_bias


def stack(config: HeadConfig, weights: HeadWeights, x: Array) -> Array:
    """The whole bidirectional stack over x (T, I): (T, 2H)."""
    for pair in weights.layers:
        x = both_ways(config.cell, pair, x)
    return x


def classify(config: ClassifierConfig, weights: HeadWeights, ids: Ids) -> Array:
    """Scores (C,) of the labels of one text, ids (T,) with <EOS> at the end."""
    a = stack(config, weights, weights.embedding[ids])  # (T, 2H)
    if config.pooling == "last":
        return features(weights, last_states(a))
    return features(weights, np.concatenate((a.mean(axis=0), a.max(axis=0))))


def tag(config: TaggerConfig, weights: HeadWeights, ids: Ids, letters: Sequence[Ids]) -> Array:
    """Scores (T, C) of the labels of each word: ids (T,) of the words, letters (N,) of each."""
    spelled = np.stack([spelling(config.cell, weights, word) for word in letters])
    return features(
        weights,
        stack(config, weights, np.concatenate((weights.embedding[ids], spelled), axis=1)),
    )


# Names and shapes


def _pairs(config: HeadConfig) -> Iterator[tuple[str, int, int]]:
    """Every bidirectional layer: its name, and the sizes of its input and of one direction."""
    width = config.embedding_size
    if isinstance(config, TaggerConfig):
        yield "letter_layer.", config.letter_embedding_size, config.letter_hidden_size
        width += 2 * config.letter_hidden_size
    for depth in range(config.num_layers):
        yield (
            f"layers.{depth}.",
            width if depth == 0 else 2 * config.hidden_size,
            (config.hidden_size),
        )


def _names(cell: str, prefix: str) -> list[str | None]:
    """The names of a layer's parameters in the order of LayerWeights."""
    first = "layers.0."
    return [
        None if name is None else prefix + name.removeprefix(first) for name in layer_names(cell, 0)
    ]


def shapes(config: HeadConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every parameter, as heads.Head.state_dict() has them."""
    found: dict[str, tuple[int, ...]] = {
        "embedding.weight": (config.vocab_size, config.embedding_size)
    }
    if isinstance(config, TaggerConfig):
        found["letters.weight"] = (config.num_letters, config.letter_embedding_size)
    for prefix, width, hidden in _pairs(config):
        gates = NUM_GATES[config.cell] * hidden
        parts = ((gates, width), (gates, hidden), (gates,), (gates,), (3, hidden))
        for way in ("ahead.", "back."):
            for name, shape in zip(_names(config.cell, prefix + way), parts, strict=True):
                if name is not None:
                    found[name] = shape
    width = output_width(config)
    for index in range(config.output_layers):
        found[f"output.{index}.weight"] = (config.hidden_size, width)
        found[f"output.{index}.bias"] = (config.hidden_size,)
        width = config.hidden_size
    found["softmax.weight"] = (config.num_labels, width)
    found["softmax.bias"] = (config.num_labels,)
    return found


def output_width(config: HeadConfig) -> int:
    """The size of what the first output layer reads."""
    both = 2 * config.hidden_size
    return (
        2 * both if isinstance(config, ClassifierConfig) and config.pooling == "mean-max" else both
    )


def head_weights(
    config: HeadConfig, arrays: Arrays, dtype: type[np.floating[Any]] = np.float64
) -> HeadWeights:
    """The parameters as the functions above read them, in single or double precision."""
    cast: Mapping[str, npt.NDArray[np.floating[Any]]] = {
        name: np.asarray(array, dtype=dtype) for name, array in arrays.items()
    }

    def layer(prefix: str) -> LayerWeights[Array]:
        return LayerWeights(
            *(None if name is None else cast[name] for name in _names(config.cell, prefix))  # type: ignore[arg-type]
        )

    pairs = [
        Pair(layer(f"{prefix}ahead."), layer(f"{prefix}back.")) for prefix, _, _ in _pairs(config)
    ]
    is_tagger = isinstance(config, TaggerConfig)
    return HeadWeights(
        embedding=cast["embedding.weight"],
        letters=cast["letters.weight"] if is_tagger else None,
        letter_pair=pairs.pop(0) if is_tagger else None,
        layers=tuple(pairs),
        output=tuple(
            (cast[f"output.{index}.weight"], cast[f"output.{index}.bias"])
            for index in range(config.output_layers)
        ),
        softmax_weight=cast["softmax.weight"],
        softmax_bias=cast["softmax.bias"],
    )


def log_softmax(
    scores: npt.NDArray[np.floating[Any]], temperature: float
) -> npt.NDArray[np.float64]:
    """Log-probabilities (M, C) at a temperature, in double precision."""
    z = scores.astype(np.float64) / temperature
    z -= z.max(axis=1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
    return z


def fit_temperature(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """The temperature under which the labels (M,) are likeliest, given scores (M, C).

    -log P is convex in 1 / temperature, so its slope has one sign on either side of the best
    (Guo et al. 2017, "On calibration of modern neural networks"). Stays within 0.5 and 10: if
    every label were right it would fall for ever.
    """
    if not len(labels):
        return 1.0
    z = scores.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    chosen = z[np.arange(len(z)), labels].sum()
    low, high = (math.log(1 / t) for t in reversed(_TEMPERATURES))
    for _ in range(30):
        middle = (low + high) / 2
        weights = np.exp(z * math.exp(middle))
        expected = ((weights * z).sum(axis=1) / weights.sum(axis=1)).sum()
        low, high = (low, middle) if expected > chosen else (middle, high)
    return math.exp(-(low + high) / 2)
