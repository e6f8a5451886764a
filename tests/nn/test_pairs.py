"""Laws of the encoder and decoder: they are the equations, and padding changes nothing."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from charlm.config import ATTENTIONS, CELLS
from charlm.engines.numpy_pairs import NumpyPairs
from charlm.engines.torch_pairs import TorchPairs
from charlm.equations import pairs
from charlm.errors import UsageError
from charlm.network_config import PairsConfig
from charlm.nn.network import to_arrays
from charlm.nn.pairs import Sources, from_arrays
from tests.support.pairs import EOS, pairs_model, sequences


def side_by_side(rows: list[np.ndarray], filling: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as columns of (T, B), something behind the end of each, and their lengths."""
    lengths = [len(row) for row in rows]
    width = max(lengths)
    padded = [np.append(row, np.full(width - len(row), filling)) for row in rows]
    return torch.from_numpy(np.stack(padded, 1)), torch.tensor(lengths)


def inputs_of(targets: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """What the decoder reads: the zero vector, then all tokens but the last."""
    first = torch.full((1, targets.shape[1]), vocab_size)
    return torch.cat((first, targets[:-1]))


# Of what embedding and softmax share: with types of sources alone, and without; width and all.
SHARED: list[dict[str, Any]] = [
    {"shared_vocabulary": True},
    {"shared_vocabulary": True, "source_vocab_size": 5},
    {"tie_weights": True},
    {"shared_vocabulary": True, "tie_weights": True, "embedding_size": 4, "output_layers": 1},
]


@pytest.mark.parametrize("shape", SHARED)
def test_shared_matrices_are_the_equations(shape: dict[str, Any]) -> None:
    """Both engines give the same log-probabilities, in single precision, too."""
    sources = sequences(6, shape.get("source_vocab_size", 7), 1)
    targets = sequences(6, 5, 2)
    model = pairs_model(dtype=torch.float32, **shape)
    arrays = to_arrays(model)
    assert pairs.shapes(model.config) == {name: array.shape for name, array in arrays.items()}
    exact = NumpyPairs(model.config, arrays, np.float64)
    for engine in (NumpyPairs(model.config, arrays), TorchPairs(from_arrays(model.config, arrays))):
        found, _ = engine.token_log_probs(sources, targets)
        for one, other in zip(found, exact.token_log_probs(sources, targets)[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_what_is_shared_is_one_matrix() -> None:
    """A type is read alike on both sides; without, sources have an embedding of their own."""
    shared = pairs_model(shared_vocabulary=True, tie_weights=True)
    assert torch.equal(shared.source_vectors[:5], shared.embedding.weight[:5])
    assert len(shared.source_vectors) == 7
    names = set(pairs.shapes(shared.config))
    assert "softmax.weight" not in names
    assert pairs.shapes(shared.config)["source_embedding.weight"] == (2, 3)
    assert "source_embedding.weight" not in pairs.shapes(
        PairsConfig(vocab_size=5, source_vocab_size=5, shared_vocabulary=True)
    )
    with pytest.raises(UsageError, match="source_vocab_size"):
        PairsConfig(vocab_size=5, source_vocab_size=4, shared_vocabulary=True)


def test_what_came_later_is_written_only_where_it_is_used() -> None:
    """A config of before is the JSON that it was, and is read."""
    plain = PairsConfig(vocab_size=5, source_vocab_size=7)
    assert not {"shared_vocabulary", "tie_weights"} & plain.to_json().keys()
    used = PairsConfig(vocab_size=5, source_vocab_size=7, shared_vocabulary=True, tie_weights=True)
    for config in (plain, used):
        assert PairsConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "output_layers": 1}, {"num_layers": 3}])
def test_the_network_is_the_equations(cell: str, attention: str, shape: dict[str, int]) -> None:
    """Of pairs side by side every log-probability and share is that of each pair alone."""
    model = pairs_model(cell=cell, attention=attention, **shape)
    config = model.config
    arrays: Any = to_arrays(model)
    weights = pairs.pairs_weights(config, arrays)
    sources, targets = sequences(6, 7, 1), sequences(6, 5, 2)
    read = Sources(*side_by_side(sources, filling=3))
    wanted, _ = side_by_side(targets, filling=2)
    memory, state = model.read(read)
    hidden, _, shares = model.hidden(inputs_of(wanted, config.vocab_size), memory, state)
    log_probs = model.logits(hidden).log_softmax(2)  # (T, B, V)
    for at, (source, target) in enumerate(zip(sources, targets, strict=True)):
        expected, looked = pairs.log_probs(config, weights, source, target)
        found = log_probs[range(len(target)), at, target].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        if shares is not None:
            there = shares[at, : len(target)].numpy()
            np.testing.assert_allclose(there[:, : len(source)], looked, rtol=0, atol=1e-12)
            assert (there[:, len(source) :] == 0).all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_names_and_shapes_are_known_without_torch(cell: str, attention: str) -> None:
    """What a checkpoint may hold is told by the config alone, and a model is made of it."""
    model = pairs_model(
        dtype=torch.float32, cell=cell, attention=attention, num_layers=2, output_layers=2
    )
    arrays = to_arrays(model)
    assert pairs.shapes(model.config) == {name: array.shape for name, array in arrays.items()}
    again = to_arrays(from_arrays(model.config, arrays))
    assert all(np.array_equal(again[name], array) for name, array in arrays.items())


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_targets_share_a_probability_of_one(attention: str) -> None:
    """Summed over all targets of up to T tokens and those that go on, P(target | source) is 1."""
    model = pairs_model(attention=attention, num_layers=2, vocab_size=3)
    arrays: Any = to_arrays(model)
    weights = pairs.pairs_weights(model.config, arrays)
    source, longest = np.array([4, 2, 6, EOS]), 4
    total = 0.0
    for length in range(longest + 1):
        for ids in itertools.product((0, 2), repeat=length):
            ends = length < longest
            target = np.array([*ids, EOS] if ends else ids, dtype=np.int64)
            total += np.exp(pairs.log_probs(model.config, weights, source, target)[0].sum())
    assert total == pytest.approx(1, abs=1e-12)


def test_a_step_after_another_is_a_pass() -> None:
    """The decoder that goes on from a state says what it says in one go."""
    model = pairs_model(num_layers=2)
    sources, targets = sequences(3, 7, 3), sequences(3, 5, 4)
    inputs = inputs_of(side_by_side(targets, 2)[0], model.config.vocab_size)
    memory, state = model.read(Sources(*side_by_side(sources, 0)))
    whole, last, _ = model.hidden(inputs, memory, state)
    for t in range(len(inputs)):
        part, state, _ = model.hidden(inputs[t : t + 1], memory, state)
        torch.testing.assert_close(part[0], whole[t], atol=1e-12, rtol=0)
    for one, other in zip(sum(last, ()), sum(state, ()), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("index", [[0, 0, 2, 2], [1, 0, 2, 2, 2], [2, 2, 2], [0, 2, 0]], ids=str)
def test_rows_that_share_a_source_are_as_if_alone(attention: str, index: list[int]) -> None:
    """Taken in any order and number, twice in a row, each says what it says by itself."""
    engine = TorchPairs(pairs_model(num_layers=2, attention=attention))
    sources = sequences(3, 7, 3)
    tokens = np.array([5] * len(index))  # nothing has been written
    log_probs, rows = engine.step(engine.take(engine.begin(sources), np.array(index)), tokens)
    again = np.arange(len(index)).repeat(2)
    after, _ = engine.step(engine.take(rows, again), np.tile([0, 2], len(index)))
    for at, which in enumerate(index):
        one, row = engine.step(engine.begin(sources[which : which + 1]), tokens[:1])
        np.testing.assert_allclose(log_probs[at], one[0], atol=1e-12)
        for branch, token in enumerate((0, 2)):
            alone, _ = engine.step(row, np.array([token]))
            np.testing.assert_allclose(after[2 * at + branch], alone[0], atol=1e-12)
