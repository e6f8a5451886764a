"""Whether a graph says what the equations say: onnxruntime against NumPy in double precision.

Three lengths and two batches, rows of several lengths where a kind of model has them. Letters: B
batch, T time, S source.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charlm.equations import heads, language_model, pairs
from charlm.equations.parameters import Arrays, model_weights
from charlm.errors import CharlmError
from charlm.exchange.graphs.parts import Made
from charlm.network_config import (
    CausalConfig,
    ClassifierConfig,
    ClozeConfig,
    HeadConfig,
    PairsConfig,
    TaggerConfig,
)

TIMES, BATCHES = (1, 3, 8), (1, 3)
MOST = 1e-5  # nats, of what is less likely than exp(-1) times its logarithm

Values: TypeAlias = Mapping[str, NDArray[Any]]
Session: TypeAlias = Callable[[Values], dict[str, NDArray[Any]]]


def sessions(graphs: Mapping[str, Made]) -> dict[str, Session]:
    """What runs the graphs, by their names: named arrays in, named arrays out."""
    import onnxruntime

    def session(made: Made) -> Session:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        runs = onnxruntime.InferenceSession(made.data, options, providers=["CPUExecutionProvider"])
        names = [port.name for port in made.outputs]
        return lambda given: dict(zip(names, runs.run(names, dict(given)), strict=True))

    return {name: session(made) for name, made in graphs.items()}


def worst(found: NDArray[Any], right: NDArray[Any]) -> float:
    """The largest difference, of numbers beyond 1 as a share of them."""
    if found.shape != right.shape:
        return float("inf")
    return float(np.max(np.abs(found - right) / np.maximum(1, np.abs(right)), initial=0.0))


def check(deviation: float) -> float:
    """The same, if it is small enough. Raises CharlmError."""
    if not deviation <= MOST:
        raise CharlmError(
            f"the graph is not exact: it is {deviation:.1e} off the equations, more than {MOST:g}. "
            "Nothing is written; this is a fault of charlm, or of the onnxruntime installed."
        )
    return deviation


def sizes() -> list[tuple[int, int]]:
    """The batches and lengths that are tried."""
    return [(batch, time) for batch in BATCHES for time in TIMES]


def _lengths(rng: np.random.Generator, batch: int, time: int) -> NDArray[np.int64]:
    """How long each row is, the first as long as can be."""
    lengths: NDArray[np.int64] = rng.integers(1, time + 1, size=batch)
    lengths[0] = time
    return lengths


def causal(config: CausalConfig, arrays: Arrays, runs: Mapping[str, Session]) -> float:
    """A language model: whole passes, and the state handed on to another."""
    weights = model_weights(config, arrays)
    rng, far = np.random.default_rng(0), 0.0
    names = ("h", "c")[: language_model.NUM_STATES[config.cell]]
    for batch, time in sizes():
        ids = rng.integers(0, config.vocab_size + 1, size=(batch, 2 * time))
        ids[:, 0] = config.vocab_size
        label: dict[str, NDArray[Any]] = {}
        shape = (config.num_layers, batch, config.hidden_size)
        state: dict[str, NDArray[Any]] = {name: np.zeros(shape, np.float32) for name in names}
        rows = [weights] * batch
        if weights.labels is not None:
            label = {"label": rng.integers(0, config.num_labels, size=batch)}
            state = runs["start.onnx"](label)
            rows = [
                language_model.given_label(config.cell, weights, int(one)) for one in label["label"]
            ]
        parts = []
        for part in (ids[:, :time], ids[:, time:]):
            found = runs["model.onnx"]({"ids": part, **label, **state})
            parts.append(found["log_probs"])
            state = {name: found[f"{name}_out"] for name in names}
        right = [
            language_model.forward(config.cell, given, row[None])[0][0]
            for given, row in zip(rows, ids, strict=True)
        ]
        far = max(far, worst(np.concatenate(parts, axis=1), np.stack(right)))
    return check(far)


def cloze(config: ClozeConfig, arrays: Arrays, runs: Mapping[str, Session]) -> float:
    """A cloze model: rows of several lengths, each as if it were alone."""
    weights = model_weights(config, arrays)
    rng, far = np.random.default_rng(0), 0.0
    for batch, time in sizes():
        lengths = _lengths(rng, batch, time)
        ids = rng.integers(0, config.vocab_size, size=(batch, time))
        found = runs["model.onnx"]({"ids": ids, "lengths": lengths})["log_probs"]
        for row, length in enumerate(lengths):
            right = language_model.both_sides(config.cell, weights, ids[row : row + 1, :length])
            far = max(far, worst(found[row, :length], right[0]))
    return check(far)


def head(
    config: HeadConfig, arrays: Arrays, temperature: float, runs: Mapping[str, Session]
) -> float:
    """A classifier or tagger: the same."""
    weights = heads.head_weights(config, arrays)
    rng, far = np.random.default_rng(0), 0.0
    for batch, time in sizes():
        lengths = _lengths(rng, batch, time)
        given = {"ids": rng.integers(0, config.vocab_size, size=(batch, time)), "lengths": lengths}
        if isinstance(config, TaggerConfig):
            letters = rng.integers(0, config.num_letters, size=(batch, time, 5))
            given |= {"letters": letters, "letter_lengths": rng.integers(1, 6, size=(batch, time))}
        found = runs["model.onnx"](given)["log_probs"]
        for row, length in enumerate(lengths):
            ids = given["ids"][row, :length]
            if isinstance(config, TaggerConfig):
                words = _words(given["letters"][row], given["letter_lengths"][row, :length])
                scores = heads.tag(config, weights, ids, words)
                told = found[row, :length]
            else:
                assert isinstance(config, ClassifierConfig)
                scores = heads.classify(config, weights, ids)[None]
                told = found[row : row + 1]
            far = max(far, worst(told, heads.log_softmax(scores, temperature)))
    return check(far)


def _words(letters: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [word[:length] for word, length in zip(letters, lengths.tolist(), strict=False)]


def translator(config: PairsConfig, arrays: Arrays, runs: Mapping[str, Session]) -> float:
    """A translator: sources of several lengths, whole targets and then another step."""
    weights = pairs.pairs_weights(config, arrays)
    rng, far = np.random.default_rng(0), 0.0
    names = ("h", "c")[: language_model.NUM_STATES[config.cell]]
    for batch, time in sizes():
        lengths = _lengths(rng, batch, time + 1)
        sources = rng.integers(0, config.source_vocab_size, size=(batch, time + 1))
        ids = rng.integers(0, config.vocab_size, size=(batch, time + 1))
        ids[:, 0] = config.vocab_size
        given = runs["encoder.onnx"]({"source": sources, "lengths": lengths})
        if config.attention != "none":
            given |= {"lengths": lengths}
        found = []
        for part in (ids[:, :time], ids[:, time:]):
            told = runs["decoder.onnx"]({"ids": part, **given})
            found.append(told["log_probs"])
            given |= {name: told[f"{name}_out"] for name in names}
        for row, length in enumerate(lengths):
            read = pairs.read(config, weights, sources[row, :length])
            state, right = read.state, []
            for token in ids[row].tolist():
                log_p, state, _ = pairs.step(config, weights, read, state, token)
                right.append(log_p)
            far = max(far, worst(np.concatenate([one[row] for one in found]), np.stack(right)))
    return check(far)
