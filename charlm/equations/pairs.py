"""From one sequence to another of another length, in NumPy: the reference of nn/pairs.py.

An encoder reads the source x<1> ... x<S> from both sides; a decoder writes the target
y<1> ... y<T>, T and S as they may be:

    h<s>    = [a→<s>, a←<s>]                       what the encoder says at each place of the source
    a<0>    = tanh(W_0 [a→<S>, a←<1>] + b_0)       its last states start the decoder, in each layer
    a[1]<t> = g(W [a[1]<t-1>, y<t-1>] + b)         the bottom layer reads what has been written
    e<t, s> = v · tanh(W_q a[1]<t> + W_k h<s>)     additive attention (Bahdanau et al. 2015), or
              a[1]<t> · W_k h<s>                   multiplicative attention (Luong et al. 2015)
    α<t>    = softmax over s of e<t, s>
    c<t>    = Σ_s α<t, s> h<s>                     what the decoder sees of the source
    a[l]<t> = g(W [a[l]<t-1>, a[l-1]<t>, c<t>] + b)    layers above read both
    ŷ<t>    = softmax(W_y tanh(W_c [a[L]<t>, c<t>] + b_c) + b_y)

Attention asks with the bottom layer, so while training all steps of a layer are one pass, and the
layers above remember where it has been (Wu et al. 2016, section 3, ask likewise). Without attention
there is no c<t>, and the last state of the encoder is all that the decoder knows of the source.

One pair at a time; everything works in the dtype of the weights. Letters: S source tokens, T target
tokens, V target types, E embedding, H hidden units of one direction, K states of a cell, D what the
softmax reads.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.equations.heads import Pair, both_ways, last_states
from charlm.equations.language_model import (
    NUM_GATES,
    NUM_STATES,
    STEPS,
    Array,
    Ids,
    LayerState,
    LayerWeights,
    log_softmax,
    relu,
)
from charlm.equations.parameters import Arrays, layer_names
from charlm.network_config import PairsConfig


class AttentionWeights(NamedTuple):
    """How the decoder looks back at the source; query and score belong to additive attention."""

    key: Array  # (H, 2H)
    query: Array | None  # (H, H)
    score: Array | None  # (H,)
    joined: tuple[Array, Array]  # W_c (H, 3H), b_c (H,)


class PairsWeights(NamedTuple):
    """The weights of an encoder and a decoder. Row V of the embedding is the zero vector."""

    source_embedding: Array  # (V', E)
    encoder: tuple[Pair, ...]  # bottom first
    first: tuple[tuple[Array, Array], ...]  # (K*H, 2H), (K*H,) of each layer of the decoder
    embedding: Array  # (V+1, E)
    layers: tuple[LayerWeights[Array], ...]  # of the decoder, bottom first
    attention: AttentionWeights | None
    output: tuple[tuple[Array, Array], ...]  # (H, D), (H,)
    softmax_weight: Array  # (V, D)
    softmax_bias: Array  # (V,)


class Read(NamedTuple):
    """A source that has been read: what attention looks at, and where the decoder starts."""

    values: Array  # (S, 2H): h<s>
    keys: Array | None  # (S, H): W_k h<s>
    state: tuple[LayerState, ...]  # (1, H) arrays


def read(config: PairsConfig, weights: PairsWeights, source: Ids) -> Read:
    """Run the encoder over the ids (S,) of a source, its <EOS> included."""
    a = weights.source_embedding[source]
    for pair in weights.encoder:
        a = both_ways(config.cell, pair, a)  # (S, 2H)
    last = last_states(a)  # (2H,)
    state = tuple(
        _first_state(weight @ last + bias, NUM_STATES[config.cell])
        for weight, bias in weights.first
    )
    keys = None if weights.attention is None else a @ weights.attention.key.T
    return Read(a, keys, state)


def _first_state(z: Array, num_states: int) -> LayerState:
    """a<0>, and c<0> where there is one: (K*H,) -> (1, H) arrays. c is not squashed."""
    a, *c = np.split(z[None], num_states, axis=1)
    return (np.tanh(a), *c)


def attend(weights: AttentionWeights, read: Read, a: Array) -> tuple[Array, Array]:
    """The context (2H,) that a state a (H,) of the bottom layer sees, and its shares α (S,)."""
    assert read.keys is not None
    if weights.query is None:
        scores = read.keys @ a
    else:
        scores = np.tanh(read.keys + weights.query @ a) @ weights.score
    shares = np.exp(log_softmax(scores))
    return shares @ read.values, shares


def step(
    config: PairsConfig,
    weights: PairsWeights,
    read: Read,
    state: tuple[LayerState, ...],
    token: int,
) -> tuple[Array, tuple[LayerState, ...], Array | None]:
    """Read the token that was written last (V at the beginning).

    Gives log P (V,) of the next one, the state after it, and the shares (S,) of attention.
    """
    x = weights.embedding[token][None]  # (1, E)
    context: Array | None = None
    shares: Array | None = None
    after = []
    for depth, (layer, before) in enumerate(zip(weights.layers, state, strict=True)):
        if depth and context is not None:
            x = np.concatenate((x, context[None]), axis=1)
        new = STEPS[config.cell](layer, x, before)
        after.append(new)
        x = new[0]
        if depth == 0 and weights.attention is not None:
            context, shares = attend(weights.attention, read, x[0])
    if weights.attention is not None:
        assert context is not None
        weight, bias = weights.attention.joined
        x = np.tanh(np.concatenate((x, context[None]), axis=1) @ weight.T + bias)
    for weight, bias in weights.output:
        x = relu(x @ weight.T + bias)
    logits = x @ weights.softmax_weight.T + weights.softmax_bias
    return log_softmax(logits)[0], tuple(after), shares


def log_probs(
    config: PairsConfig, weights: PairsWeights, source: Ids, target: Ids
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]:
    """log P (T,) of each token of a target, given the source and those before it.

    Both ids end with <EOS>. The second is the shares (T, S) of attention, (T, 0) without.
    """
    there = read(config, weights, source)
    state, token = there.state, config.vocab_size
    found, looked = [], []
    for y in target:
        log_p, state, shares = step(config, weights, there, state, token)
        found.append(log_p[y])
        looked.append(np.empty(0, log_p.dtype) if shares is None else shares)
        token = int(y)
    return np.array(found), np.array(looked)


# Names and shapes


def shapes(config: PairsConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every parameter, as EncoderDecoder.state_dict() has them."""
    hidden, size, cell = config.hidden_size, config.embedding_size, config.cell
    attends = config.attention != "none"
    states = NUM_STATES[cell] * hidden
    found: dict[str, tuple[int, ...]] = {"embedding.weight": (config.vocab_size + 1, size)}
    if config.source_types:
        found["source_embedding.weight"] = (config.source_types, size)
    for depth in range(config.num_layers):
        for way in ("ahead", "back"):
            width = 2 * hidden if depth else size
            found |= _layer(cell, f"encoder.{depth}.{way}.", width, hidden)
        below = size if depth == 0 else 3 * hidden if attends else hidden
        found |= _layer(cell, f"layers.{depth}.", below, hidden)
        found[f"first.{depth}.weight"] = (states, 2 * hidden)
        found[f"first.{depth}.bias"] = (states,)
    if attends:
        found["key.weight"] = (hidden, 2 * hidden)
        if config.attention == "additive":
            found["query.weight"] = (hidden, hidden)
            found["score.weight"] = (1, hidden)
        found["joined.weight"] = (hidden, 3 * hidden)
        found["joined.bias"] = (hidden,)
    for index in range(config.output_layers):
        found[f"output.{index}.weight"] = (hidden, hidden)
        found[f"output.{index}.bias"] = (hidden,)
    if not config.tie_weights:
        found["softmax.weight"] = (config.vocab_size, hidden)
    elif size != hidden:
        found["projection.weight"] = (size, hidden)
    found["softmax.bias"] = (config.vocab_size,)
    return found


def _layer(cell: str, prefix: str, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    gates = NUM_GATES[cell] * hidden
    parts = ((gates, width), (gates, hidden), (gates,), (gates,), (3, hidden))
    return {
        name: shape
        for name, shape in zip(_names(cell, prefix), parts, strict=True)
        if name is not None
    }


def _names(cell: str, prefix: str) -> list[str | None]:
    """The names of a layer's parameters in the order of LayerWeights."""
    return [
        None if name is None else prefix + name.removeprefix("layers.0.")
        for name in layer_names(cell, 0)
    ]


def pairs_weights(
    config: PairsConfig, arrays: Arrays, dtype: type[np.floating[Any]] = np.float64
) -> PairsWeights:
    """The parameters as the functions above read them, in single or double precision.

    A shared embedding serves both sides, types of sources alone behind it; a projection before a
    tied softmax is multiplied into it.
    """
    cast = {name: np.asarray(array, dtype=dtype) for name, array in arrays.items()}

    def layer(prefix: str) -> LayerWeights[Array]:
        names = _names(config.cell, prefix)
        return LayerWeights(*(None if name is None else cast[name] for name in names))  # type: ignore[arg-type]

    def linear(name: str) -> tuple[Array, Array]:
        return cast[f"{name}.weight"], cast[f"{name}.bias"]

    depths = range(config.num_layers)
    attention = None
    if config.attention != "none":
        additive = config.attention == "additive"
        attention = AttentionWeights(
            key=cast["key.weight"],
            query=cast["query.weight"] if additive else None,
            score=cast["score.weight"][0] if additive else None,
            joined=linear("joined"),
        )
    embedding = cast["embedding.weight"]
    types = (embedding[:-1],) if config.shared_vocabulary else ()
    if config.source_types:
        types = (*types, cast["source_embedding.weight"])
    softmax = embedding[:-1] if config.tie_weights else cast["softmax.weight"]
    if "projection.weight" in cast:
        softmax = softmax @ cast["projection.weight"]
    return PairsWeights(
        source_embedding=np.concatenate(types),
        encoder=tuple(
            Pair(layer(f"encoder.{depth}.ahead."), layer(f"encoder.{depth}.back."))
            for depth in depths
        ),
        first=tuple(linear(f"first.{depth}") for depth in depths),
        embedding=embedding,
        layers=tuple(layer(f"layers.{depth}.") for depth in depths),
        attention=attention,
        output=tuple(linear(f"output.{index}") for index in range(config.output_layers)),
        softmax_weight=softmax,
        softmax_bias=cast["softmax.bias"],
    )
