"""Laws of dynamic evaluation: score first, learn after, and leave the model given as it was."""

import contextlib
import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from charlm.config import CELLS
from charlm.engines.dynamic import MOST_RATE, DynamicEvaluator
from charlm.engines.torch_passes import token_log_probs
from charlm.errors import DivergedError, UsageError
from charlm.nn.causal import RecurrentLM, from_arrays
from charlm.nn.network import to_arrays
from charlm.text.tokens import from_ids, tokenize
from charlm.tokenizers.base import EOS_ID
from tests.support.tiny import TEXTS, model_of, tokenizer_of

VOCAB_SIZE = 9
SHAPES = st.sampled_from(
    [{"cell": cell, "num_layers": layers} for cell in ("lstm", "gru-minimal") for layers in (1, 2)]
)
LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def stream_of(lengths: list[int], seed: int = 0) -> NDArray[np.int64]:
    """Random sequences of so many tokens, each closed by <EOS>, one after another."""
    rng = np.random.default_rng(seed)
    sequences = [np.append(rng.integers(2, VOCAB_SIZE, length), EOS_ID) for length in lengths]
    return np.concatenate(sequences)


def plain(model: RecurrentLM, stream: NDArray[np.int64]) -> NDArray[np.float64]:
    """log P of each token by the model as it is."""
    sequences = np.split(stream, np.flatnonzero(stream == EOS_ID) + 1)
    ids = [ids.astype(np.int32) for ids in sequences if len(ids)]
    return token_log_probs(model, from_ids(ids, model.config.vocab_size))[0]


def copy_of(evaluator: DynamicEvaluator) -> DynamicEvaluator:
    """One that has read and learned the same."""
    return copy.deepcopy(evaluator)


@pytest.mark.parametrize("cell", CELLS)
def test_without_learning_it_is_the_plain_pass(cell: str) -> None:
    """With rate 0 each token has the log P of the model as it is, however sequences lie."""
    model = model_of(VOCAB_SIZE, cell=cell, num_layers=2, output_layers=1, std=0.2)
    stream = stream_of([3, 0, 50, 2, 31, 0, 0, 7, 100, 1])
    read = DynamicEvaluator(model, rate=0.0, window=16).read(stream)
    assert read.dtype == np.float64
    np.testing.assert_allclose(read, plain(model, stream), rtol=0, atol=1e-5)


@given(lengths=LENGTHS, window=st.integers(1, 20))
@settings(max_examples=15, deadline=None)
def test_every_token_is_scored_before_it_is_learned_from(lengths: list[int], window: int) -> None:
    """Whatever has been read, the probabilities of all tokens that may come next add up to 1."""
    model = model_of(VOCAB_SIZE, hidden_size=6, embedding_size=4)
    evaluator = DynamicEvaluator(model, rate=0.5, window=window)
    evaluator.read(stream_of(lengths)[:-1])
    for token in (4, EOS_ID, 5):
        after = [float(copy_of(evaluator).read(np.array([v]))[0]) for v in range(VOCAB_SIZE)]
        assert math.fsum(map(math.exp, after)) == pytest.approx(1, abs=1e-5)
        assert float(evaluator.read(np.array([token]))[0]) == pytest.approx(after[token], abs=1e-5)


@given(lengths=LENGTHS, window=st.integers(1, 20), data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_comes_later_changes_nothing(
    lengths: list[int], window: int, data: st.DataObject
) -> None:
    """log P of a token depends on nothing after it: neither on its length nor on what it is."""
    model = model_of(VOCAB_SIZE, hidden_size=6, embedding_size=4)
    stream = stream_of(lengths)
    head = data.draw(st.integers(0, len(stream)))
    other = np.concatenate((stream[:head], stream_of([2, 0, 30], seed=1)))
    found, again, alone = (
        DynamicEvaluator(model, rate=0.5, window=window).read(ids)[:head]
        for ids in (stream, other, stream[:head])
    )
    np.testing.assert_allclose(again, found, rtol=0, atol=1e-5)
    np.testing.assert_allclose(alone, found, rtol=0, atol=1e-5)


@given(lengths=LENGTHS, cuts=st.lists(st.integers(0, 480), max_size=8), shape=SHAPES)
@settings(max_examples=20, deadline=None)
def test_it_does_not_matter_in_what_pieces_a_stream_is_read(
    lengths: list[int], cuts: list[int], shape: dict[str, Any]
) -> None:
    """Cut anywhere, the figures are those of one piece, and what is learned is bit for bit."""
    model = model_of(VOCAB_SIZE, hidden_size=6, embedding_size=4, **shape)
    stream = stream_of(lengths)
    whole, pieces = (DynamicEvaluator(model, rate=0.5, window=16) for _ in range(2))
    expected = whole.read(stream)
    found = [pieces.read(ids) for ids in np.split(stream, sorted(cuts))]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-5)
    more = stream_of([40], seed=1)
    assert np.array_equal(pieces.read(more), whole.read(more))


@pytest.mark.parametrize("std", [0.2, 2.0])
@pytest.mark.parametrize("lengths", [[15], [2, 0, 6, 4], [1] * 8])
def test_a_step_goes_down_the_gradient(lengths: list[int], std: float) -> None:
    """After a window of T tokens the weights are w - rate g, g their gradient of the mean loss.

    Here read sequence by sequence, for one long sequence and for short ones side by side; g is
    short enough to count as a whole, or too long.
    """
    first, second = stream_of(lengths), stream_of([15], seed=1)
    model = model_of(VOCAB_SIZE, std=std)
    read = DynamicEvaluator(model, rate=0.7, window=16).read(np.concatenate((first, second)))
    stepped = from_arrays(model.config, to_arrays(model)).requires_grad_(True)
    for ids in np.split(first, np.flatnonzero(first == EOS_ID)[:-1] + 1):
        inputs = torch.tensor([[VOCAB_SIZE, *ids[:-1].tolist()]])
        logits, _ = stepped(inputs, stepped.init_state(1))
        (cross_entropy(logits[0], torch.from_numpy(ids), reduction="sum") / 16).backward()
    parameters = list(stepped.parameters())
    norm = math.sqrt(math.fsum(float(p.grad.double().pow(2).sum()) for p in parameters))
    assert (norm > 2) == (std > 1)
    with torch.no_grad():
        for parameter in parameters:
            parameter -= 0.7 * parameter.grad * min(1.0, 2.0 / norm)
    np.testing.assert_allclose(read[:16], plain(model, first), rtol=0, atol=1e-5)
    np.testing.assert_allclose(read[16:], plain(stepped, second), rtol=0, atol=1e-5)


def test_the_model_given_stays_as_it_is() -> None:
    """Not a bit of it changes, it asks for no gradient, and what it gives stays the same."""
    model = model_of(VOCAB_SIZE, tie_weights=True)
    before = {name: array.copy() for name, array in to_arrays(model).items()}
    stream = stream_of([30, 30])
    scored = plain(model, stream)
    assert not np.array_equal(DynamicEvaluator(model, rate=0.4, window=8).read(stream), scored)
    assert all(np.array_equal(array, before[name]) for name, array in to_arrays(model).items())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert np.array_equal(plain(model, stream), scored)


def test_the_zero_vector_stays_zero() -> None:
    """A sequence begins from x<1> = 0 after any amount of learning."""
    model = model_of(VOCAB_SIZE, tie_weights=True)
    evaluator = DynamicEvaluator(model, rate=1.0, window=8)
    evaluator.read(stream_of([5] * 20))
    assert not to_arrays(evaluator.model)["embedding.weight"][VOCAB_SIZE].any()


def test_the_same_text_has_the_same_figures() -> None:
    """Two readings agree bit for bit."""
    model, stream = model_of(VOCAB_SIZE), stream_of([20, 3, 60])
    first, second = (DynamicEvaluator(model, rate=0.4).read(stream) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_text_that_repeats_itself_is_learned() -> None:
    """What comes again and again costs less and less, far less than by the plain pass."""
    tokenizer = tokenizer_of()
    model = model_of(tokenizer.vocab_size, std=0.1, hidden_size=32)
    stream = tokenize(tokenizer, TEXTS[:1] * 200).ids
    read = DynamicEvaluator(model, rate=1.0).read(stream)
    quarter = len(stream) // 4
    assert read.mean() > plain(model, stream).mean() + 0.5
    assert read[-quarter:].mean() > read[:quarter].mean() + 0.5


@pytest.mark.parametrize("cell", ["lstm", "rnn-relu"])
def test_a_huge_step_gives_figures_or_an_error(cell: str) -> None:
    """However large the step, no figure is ever NaN or infinite."""
    model = model_of(VOCAB_SIZE, cell=cell, num_layers=2)
    evaluator = DynamicEvaluator(model, rate=MOST_RATE, window=4)
    with contextlib.suppress(DivergedError):
        assert np.isfinite(evaluator.read(stream_of([200, 5, 5]))).all()


def test_weights_that_overflow_are_an_error() -> None:
    """Numbers that are not finite are never a figure."""
    model = model_of(VOCAB_SIZE, cell="rnn-relu", std=1e20)
    with pytest.raises(DivergedError, match="too large a step"):
        DynamicEvaluator(model, rate=0.4, window=4).read(stream_of([20]))


@pytest.mark.parametrize(
    "options", [{"rate": -0.1}, {"rate": math.nan}, {"rate": 1e9}, {"window": 0}]
)
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    """A step size or a window out of range is a UsageError."""
    with pytest.raises(UsageError):
        DynamicEvaluator(model_of(VOCAB_SIZE), **{"rate": 0.4, **options})
